"""Encrypted connections, through a proxy that ends TLS before the real server."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pragmatiq_client import TLS, ProtocolError, ScoringClient, ScoringError
from pragmatiq_triton.server import TritonServer
from tests.clients.between import forwarding
from tests.clients.four import Client

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not shutil.which("openssl"), reason="the certificates are made by openssl"),
]

SECURE = {"grpc": "grpcs://", "http": "https://"}


@dataclass(frozen=True)
class Certificates:
    """An authority, and what it signed: ``server`` for localhost, ``other`` for other.test, ``client``."""

    folder: Path

    def __getattr__(self, name: str) -> str:
        stem, _, suffix = name.rpartition("_")
        return str(self.folder / f"{stem}.{suffix}")

    def server_context(self, name: str = "server", ask_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        context.set_alpn_protocols(["h2", "http/1.1"])
        if ask_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.folder / "ca.pem")
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={authority}",
                "-keyout", f"{authority}.key", "-out", f"{authority}.pem")  # fmt: skip
    names = {"server": "DNS:localhost,IP:127.0.0.1", "other": "DNS:other.test", "client": "DNS:client"}
    for name, alternatives in names.items():
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternatives}\n", encoding="utf-8")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    openssl("rsa", "-aes128", "-passout", "pass:secret", "-in", "client.key", "-out", "locked.key")
    return Certificates(folder)


@pytest.fixture
def address(client: Client, server: TritonServer, certificates: Certificates) -> Iterator[str]:
    """A TLS port before the server, with a certificate for localhost."""
    with forwarding(client.address(server), certificates.server_context()) as proxy:
        yield proxy.url


def test_own_authority_is_trusted(client: Client, address: str, certificates: Certificates) -> None:
    client.connect(address, tls=TLS(ca=certificates.ca_pem))
    assert [answer.scores["fraud"] for answer in client.score([{"n": n} for n in range(9)])] == list(range(9))
    assert client.is_ready()
    client.connect(SECURE[client.protocol] + address, tls=TLS(ca=Path(certificates.ca_pem)), protocol=None)
    assert client.score_one({"n": 4}).scores["fraud"] == 4.0
    client.connect(f"https://{address}", tls=TLS(ca=certificates.ca_pem))
    assert client.score_one({"n": 5}).scores["fraud"] == 5.0


def test_unknown_authority_is_named_at_once(client: Client, address: str, certificates: Certificates) -> None:
    for options in ({}, {"tls": TLS(ca=certificates.stranger_pem)}):
        client.connect(SECURE[client.protocol] + address, timeout=60.0, **options)
        with pytest.raises(ProtocolError, match=rf"not signed by a known authority.*TLS\(ca=.*{address}"):
            client.score_one({})


def test_certificate_of_another_host(client: Client, server: TritonServer, certificates: Certificates) -> None:
    with forwarding(client.address(server), certificates.server_context("other")) as proxy:
        client.connect(proxy.url, tls=TLS(ca=certificates.ca_pem), timeout=60.0)
        with pytest.raises(ProtocolError, match=r"not for this host name.*server_name="):
            client.score_one({})
        client.connect(proxy.url, tls=TLS(ca=certificates.ca_pem, server_name="other.test"))
        assert client.score_one({"n": 2}).scores["fraud"] == 2.0


def test_client_certificate(client: Client, server: TritonServer, certificates: Certificates) -> None:
    with forwarding(client.address(server), certificates.server_context(ask_client=True)) as proxy:
        tls = TLS(ca=certificates.ca_pem, certificate=certificates.client_pem, key=certificates.client_key)
        client.connect(proxy.url, tls=tls)
        assert client.score_one({"n": 3}).scores["fraud"] == 3.0
        client.connect(proxy.url, tls=TLS(ca=certificates.ca_pem), timeout=2.0)
        with pytest.raises(ScoringError, match=r"client certificate.*TLS\(certificate="):
            client.score_one({})


def test_port_without_tls_is_named(client: Client, server: TritonServer, certificates: Certificates) -> None:
    client.connect(client.address(server), tls=TLS(ca=certificates.ca_pem), timeout=1.0)
    with pytest.raises(ScoringError, match=r"does not speak TLS|a port without TLS"):
        client.score_one({})


def test_port_that_expects_tls_is_named(client: Client, address: str) -> None:
    client.connect(address, timeout=1.0)
    with pytest.raises(ScoringError, match="expects TLS"):
        client.score_one({})


@pytest.mark.parametrize("url", ["grpcs://localhost:1", "https://localhost:1"])
def test_certificate_files_are_read_when_the_client_is_made(url: str, certificates: Certificates) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"ca": "nowhere.pem"}, "ca: nowhere.pem: No such file"),
        ({"ca": certificates.ca_key}, r"ca: expected certificates in PEM form in .*ca\.key"),
        ({"certificate": certificates.client_pem}, r"unencrypted key in PEM form in .*client\.pem"),
        (
            {"certificate": certificates.client_pem, "key": certificates.server_key},
            r"key.*client\.pem and .*server\.key",
        ),
        ({"certificate": certificates.client_pem, "key": certificates.locked_key}, "encrypted"),
    ]
    for files, problem in wrong:
        with pytest.raises(ValueError, match=problem):
            ScoringClient(url, tls=TLS(**files))
    with pytest.raises(ValueError, match="a key without its certificate"):
        TLS(key=certificates.client_key)
