"""Client certificates: the authorities that the file holds now and no others open, and names have their kind."""

import ssl

import pytest

from pragmatiq_triton.gateway.auth.settings import Tls
from pragmatiq_triton.gateway.tls import Certificates, names_in, names_of
from tests.pragmatiq_triton.gateway.authority import Authority

NAMES = {"dns": ("localhost",), "addresses": ("127.0.0.1",)}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("server_name", ["localhost", None])
def test_an_authority_that_was_replaced_opens_no_more(tmp_path, monkeypatch, version, server_name):
    monkeypatch.setattr("pragmatiq_triton.gateway.auth.files._LOOK_SECONDS", 0.0)
    folders = [tmp_path / name for name in ("old", "new")]
    for folder in folders:
        folder.mkdir()
    old, new = map(Authority, folders)
    certificate, key = old.write("server", "server", **NAMES)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(old.file.read_bytes())
    certificates = Certificates(Tls(certificate=str(certificate), key=str(key), client_ca=str(trusted)))

    def opens(authority):
        context = ssl.create_default_context(cafile=str(old.file))
        context.minimum_version = context.maximum_version = version
        context.check_hostname = server_name is not None
        context.load_cert_chain(*authority.write("caller", "caller"))
        return handshake(certificates.context, context, server_name)

    assert (opens(old), opens(new)) == (True, False)
    trusted.write_bytes(new.file.read_bytes())
    certificates.look()
    assert (opens(old), opens(new)) == (False, True)


def test_names_have_their_kind_and_the_same_order_over_both_protocols():
    of_ssl = {
        "subject": ((("organizationName", "bank"),), (("commonName", "x"),), (("commonName", "second"),)),
        "subjectAltName": (
            ("DNS", "x"), ("IP Address", "127.0.0.1"), ("email", "x"), ("URI", "spiffe://x"), ("DNS", "y"),
        ),
    }  # fmt: skip
    of_grpc = {
        "x509_common_name": [b"x"],
        "x509_subject_alternative_name": [b"x", b"127.0.0.1", b"x", b"spiffe://x", b"y"],
        "peer_dns": [b"x", b"y"],
        "peer_email": [b"x"],
        "peer_uri": [b"spiffe://x"],
        "peer_ip": [b"127.0.0.1"],
    }
    assert names_of(of_ssl) == names_in(of_grpc) == ("uri:spiffe://x", "dns:x", "dns:y", "email:x", "cn:x")
    assert names_of(None) == names_of({}) == names_in({}) == ()


def handshake(ours, theirs, server_name):
    """Whether a server with the context ``ours`` and a client with ``theirs`` come to an agreement."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        theirs.wrap_bio(to_client, to_server, server_hostname=server_name),
        ours.wrap_bio(to_server, to_client, server_side=True),
    ]
    left = list(sides)
    for _ in range(10):
        for side in list(left):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
            left.remove(side)
        if not left:
            return True
    return False
