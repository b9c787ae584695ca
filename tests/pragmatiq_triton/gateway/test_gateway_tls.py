"""TLS for callers: client certificates name them, and new certificates are taken while serving."""

import http.client
import json
import ssl
import time

import pytest

from pragmatiq_client import TLS, ProtocolError, ScoringClient
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.auth.settings import Auth, Tls
from pragmatiq_triton.gateway.policy import GatewayPolicy
from pragmatiq_triton.gateway.seen.settings import AccessLog
from pragmatiq_triton.gateway.tls import Certificates
from tests.conftest import RECORDS
from tests.pragmatiq_triton.gateway.authority import Authority

pytestmark = [pytest.mark.triton, pytest.mark.parametrize("variant", ["bpe"], indirect=True, scope="session")]

NAMES = {"dns": ("localhost",), "addresses": ("127.0.0.1",)}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def clients(authority):
    """Files of client certificates by name."""
    return {
        "fraud": authority.write("fraud", "fraud", dns=("fraud.bank.example",)),
        "credit": authority.write("credit", "credit"),
        "batch": authority.write("batch", "batch", dns=("batch",), uris=("spiffe://bank.example/batch",)),
        "stranger": authority.write("stranger", "stranger", dns=("stranger.bank.example",)),
        # What another kind of name would open with.
        "other kind": authority.write(
            "kind", "fraud.bank.example", dns=("credit",), emails=("fraud.bank.example",), uris=("credit",)
        ),
    }


@pytest.fixture(scope="module")
def mutual(start_gateway, authority, clients):
    """Asks for client certificates, and lets three of five names in."""
    certificate, key = authority.write("server", "server", **NAMES)
    tls = Tls(certificate=str(certificate), key=str(key), client_ca=str(authority.file))
    auth = Auth(certificates=("dns:fraud.bank.example", "cn:credit", "uri:spiffe://bank.example/batch"))
    log = AccessLog(file=str(authority.folder / "access.jsonl"))
    return start_gateway(GatewayPolicy(auth=auth, tls=tls, access_log=log))


def client(gateway, authority, protocol, files=None):
    port = gateway.ports[0] if protocol == "http" else gateway.ports[1]
    scheme = "https" if protocol == "http" else "grpcs"
    certificate, key = map(str, files) if files else (None, None)
    return ScoringClient(
        f"{scheme}://localhost:{port}", tls=TLS(ca=str(authority.file), certificate=certificate, key=key), timeout=20
    )


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    ("name", "told"),
    [("fraud", "dns:fraud.bank.example"), ("credit", "cn:credit"), ("batch", "uri:spiffe://bank.example/batch")],
)
def test_a_client_certificate_of_a_known_name_opens(mutual, authority, clients, protocol, name, told):
    with client(mutual, authority, protocol, clients[name]) as caller:
        assert len(caller.score_one(RECORDS[0]).embedding) > 0
    log = authority.folder / "access.jsonl"
    assert until(lambda: (told, protocol) in {(each["caller"], each["protocol"]) for each in lines_of(log)})


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("name", ["stranger", "other kind"])
def test_one_of_another_name_or_kind_is_known_and_may_not(mutual, authority, clients, protocol, name):
    with (
        client(mutual, authority, protocol, clients[name]) as caller,
        pytest.raises(ProtocolError, match="this client certificate may not call"),
    ):
        caller.score_one(RECORDS[0])


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_without_one_there_is_no_connection(mutual, authority, protocol, tmp_path):
    other = Authority(tmp_path, "other").write("fraud", "fraud", dns=("fraud.bank.example",))
    for files in (None, other):
        with client(mutual, authority, protocol, files) as caller, pytest.raises(Exception, match=r"\S"):
            caller.score_one(RECORDS[0], timeout=3)


def test_metrics_and_health_have_a_port_of_their_own_in_plain_text(mutual):
    for path in ("/metrics", "/v2/health/ready"):
        connection = http.client.HTTPConnection("127.0.0.1", mutual.ports[2], timeout=20)
        connection.request("GET", path)
        assert connection.getresponse().status == 200
        connection.close()


def test_plain_text_gets_nothing_on_a_port_with_tls(mutual):
    connection = http.client.HTTPConnection("127.0.0.1", mutual.ports[0], timeout=20)
    connection.request("GET", "/v2/health/live")
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_of_tls_are_refused(mutual, authority, clients):
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(*clients["fraud"])
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    connection = http.client.HTTPSConnection("localhost", mutual.ports[0], context=context, timeout=20)
    with pytest.raises(ssl.SSLError):
        connection.connect()


def test_a_new_certificate_is_taken_while_serving_and_open_connections_go_on(start_gateway, authority, replaced):
    files = authority.write("rotated", "first", **NAMES)
    tls = Tls(certificate=str(files[0]), key=str(files[1]))
    gateway = start_gateway(GatewayPolicy(tls=tls))
    context = ssl.create_default_context(cafile=str(authority.file))
    opened = http.client.HTTPSConnection("localhost", gateway.ports[0], context=context, timeout=20)
    opened.request("GET", "/v1/model")
    assert json.loads(opened.getresponse().read())["run"]
    with client(gateway, authority, "grpc") as caller:
        caller.score_one(RECORDS[0])
        assert names(gateway, context) == ("first", "first")

        # A certificate without its key yet: what was read before stays.
        certificate, key = authority.sign("second", **NAMES)
        replaced(files[0], certificate)
        assert until(lambda: "what was read before stays" in gateway.log)
        assert names(gateway, context) == ("first", "first")
        replaced(files[1], key)
        assert until(lambda: names(gateway, context) == ("second", "second"))

        caller.score_one(RECORDS[0])
    opened.request("GET", "/v1/model")
    assert opened.getresponse().status == 200
    opened.close()


@pytest.mark.parametrize("missing", ["certificate", "key", "client_ca"])
def test_files_that_do_not_fit_together_are_named_at_the_start(server, authority, missing, tmp_path):
    certificate, key = authority.write("whole", "whole", **NAMES)
    _, other = authority.write("other", "other", **NAMES)
    (tmp_path / "empty.pem").write_bytes(b"")
    files = {"certificate": str(certificate), "key": str(key), "client_ca": str(authority.file)}
    for bad in (str(tmp_path / "absent.pem"), str(tmp_path / "empty.pem"), *([str(other)] if missing == "key" else [])):
        with pytest.raises(ConfigError, match="expected PEM files that fit together"):
            Certificates(Tls(**{**files, missing: bad}))


def lines_of(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def names(gateway, context):
    """Common names of the certificates that new connections get, over HTTP and gRPC."""
    found = []
    for port in gateway.ports[:2]:
        context.set_alpn_protocols(["h2", "http/1.1"])
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
        connection.connect()
        subject = connection.sock.getpeercert()["subject"]
        found.append(next(value for part in subject for kind, value in part if kind == "commonName"))
        connection.close()
    return tuple(found)


def until(condition, seconds=20):
    give_up = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < give_up:
        time.sleep(0.1)
    return found
