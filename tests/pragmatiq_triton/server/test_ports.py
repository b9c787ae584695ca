import socket

import pytest

from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.server.ports import reserve_ports


def test_zeros_become_distinct_free_ports() -> None:
    ports = reserve_ports("127.0.0.1", [0, 0, 0])
    assert len(set(ports)) == 3
    assert reserve_ports("127.0.0.1", ports) == ports


def test_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"127.0.0.1:{port}"):
            reserve_ports("127.0.0.1", [0, port])


def test_same_port_twice_is_refused() -> None:
    (port,) = reserve_ports("127.0.0.1", [0])
    with pytest.raises(ServerError, match=f"port {port} is asked for twice"):
        reserve_ports("127.0.0.1", [port, port])


def test_address_of_another_machine() -> None:
    with pytest.raises(ServerError, match=r"192\.0\.2\.1"):
        reserve_ports("192.0.2.1", [0])


@pytest.mark.parametrize("host", ["", "::1", "no.such.host.invalid", "a..b", "192.0.2.1"])
def test_what_is_no_address_of_this_machine_is_named(host: str) -> None:
    with pytest.raises(ServerError, match=rf"^host {host!r}: expected an IPv4 address of this machine"):
        reserve_ports(host, [0])


def test_a_port_for_privileged_accounts_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: socket.socket, address: tuple[str, int]) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    with pytest.raises(ServerError, match=r"cannot listen on 127\.0\.0\.1:80: .*below 1024"):
        reserve_ports("127.0.0.1", [80])
