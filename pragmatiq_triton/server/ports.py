"""Free TCP ports for a server that cannot be told to choose its own."""

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack

from pragmatiq_triton.errors import ServerError


def reserve_ports(host: str, ports: Sequence[int]) -> list[int]:
    """Turn every 0 in ``ports`` into a free port of ``host``; the others have to be free.

    All are held at once, so no two of the answers are the same; they are let go on return, so another process can
    still take one before the server does.

    Raises:
        ServerError: a port that was asked for is taken, asked for twice or not allowed, or ``host`` is not an IPv4
            address of this machine.
    """
    if not host:
        raise _no_address(host, "nothing is named")
    asked = [port for port in ports if port]
    if twice := next((port for port in asked if asked.count(port) > 1), None):
        raise ServerError(f"port {twice} is asked for twice: give every service its own, or 0 for any")
    with ExitStack() as held:
        return [_bind(held, host, port) for port in ports]


def _bind(held: ExitStack, host: str, port: int) -> int:
    server = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        server.listen()
    except (socket.gaierror, UnicodeError) as error:
        raise _no_address(host, str(error.args[-1])) from error
    except OSError as error:
        what = error.strerror or str(error)
        if error.errno == errno.EADDRNOTAVAIL:
            raise _no_address(host, what) from error
        why = f"{what}; ports below 1024 are for privileged accounts" if error.errno == errno.EACCES else what
        raise ServerError(f"cannot listen on {host}:{port}: {why}. Choose another port, or 0 for any") from error
    return int(server.getsockname()[1])


def _no_address(host: str, why: str) -> ServerError:
    return ServerError(
        f"host {host!r}: expected an IPv4 address of this machine ({why}). 127.0.0.1 listens here alone, 0.0.0.0 "
        "everywhere"
    )
