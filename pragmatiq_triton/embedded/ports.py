"""Free TCP ports for a server that cannot be told to choose its own."""

import socket
from collections.abc import Sequence
from contextlib import ExitStack

from pragmatiq_triton.errors import ServerError


def reserve_ports(host: str, ports: Sequence[int]) -> list[int]:
    """Turn every 0 in ``ports`` into a free port of ``host``; the others have to be free.

    All are held at once, so no two of the answers are the same; they are let go on return, so another process can
    still take one before the server does.

    Raises:
        ServerError: a port that was asked for is taken or not allowed, or ``host`` is not an address of this machine.
    """
    with ExitStack() as held:
        return [_bind(held, host, port) for port in ports]


def _bind(held: ExitStack, host: str, port: int) -> int:
    server = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        server.listen()
    except OSError as error:
        raise ServerError(
            f"cannot listen on {host}:{port}: {error.strerror}. Choose another port, or 0 for any"
        ) from error
    return int(server.getsockname()[1])
