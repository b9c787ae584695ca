"""API keys: who has one is known by name, and who has none gets nothing but health."""

import http.client
import time

import grpc
import pytest

from bench.serving.processes import memory
from pragmatiq_client import ProtocolError, ScoringClient
from pragmatiq_triton.gateway.auth.api_keys import add_key, read_keys
from pragmatiq_triton.gateway.auth.settings import Auth
from pragmatiq_triton.gateway.policy import GatewayPolicy
from tests.conftest import RECORDS

pytestmark = [pytest.mark.triton, pytest.mark.parametrize("variant", ["bpe"], indirect=True, scope="session")]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return tmp_path_factory.mktemp("keys") / "keys.yaml"


@pytest.fixture(scope="module")
def key(keys):
    return add_key(keys, "fraud-service")


@pytest.fixture(scope="module")
def guarded(start_gateway, keys, key):
    return start_gateway(GatewayPolicy(auth=Auth(api_keys=str(keys))))


def ask(gateway, path="/v1/model", headers=None, port=0, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", gateway.ports[port], timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("said", ["authorization: Bearer {}", "Authorization: bearer {}", "x-api-key: {}"])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_key_opens(guarded, key, said, protocol):
    name, _, value = said.format(key).partition(": ")
    name = name if protocol == "http" else name.lower()  # gRPC's metadata are lower case
    url = guarded.http_url if protocol == "http" else guarded.grpc_url
    with ScoringClient(url, protocol=protocol, headers={name: value}) as client:
        assert len(client.score_one(RECORDS[0]).embedding) > 0


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer "}, {"authorization": "Bearer pq_nobody"}, {"x-api-key": "\xff\xfe"},
     {"authorization": "Basic YTpi"}],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/model", "/v1/score", "/v2/models/scoring", "/v2/models/scoring/infer", "/v2"])
def test_nobody_else_gets_anything(guarded, headers, path):
    method = "POST" if path.endswith(("score", "infer")) else "GET"
    status, answered, body = ask(guarded, path, headers, method=method)
    assert status == 401
    assert answered["www-authenticate"] == "Bearer"
    assert "x-model-run" not in answered, "who is not known learns nothing of the model"
    assert "error" in body


def test_nobody_else_gets_anything_over_grpc(guarded):
    for headers in ({}, {"authorization": "Bearer pq_nobody"}):
        with (
            ScoringClient(guarded.grpc_url, headers=headers) as client,
            pytest.raises(ProtocolError, match="key") as raised,
        ):
            client.score_one(RECORDS[0])
        assert "UNAUTHENTICATED" in repr(raised.value.__cause__) or "key" in str(raised.value)


@pytest.mark.parametrize("method", ["ModelInfer", "ServerMetadata", "ServerLive"])
def test_what_callers_without_a_key_send_over_grpc_is_not_taken_in(guarded, method):
    pid, size, n_calls = guarded.process.process.pid, 60 * 2**20, 16
    before = memory(pid).rss
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(guarded.grpc_url, options=options) for _ in range(n_calls)]
    body = bytes(size)
    path = f"/inference.GRPCInferenceService/{method}"
    calls = [channel.unary_unary(path).future(body, timeout=30) for channel in channels]
    most = 0
    while not all(call.done() for call in calls):
        most = max(most, memory(pid).rss - before)
        time.sleep(0.05)
    codes = {call.code() for call in calls}
    for channel in channels:
        channel.close()
    assert codes == {grpc.StatusCode.OK if method == "ServerLive" else grpc.StatusCode.UNAUTHENTICATED}
    assert most < n_calls * size / 4


def test_whoever_restarts_a_server_need_not_be_a_caller(guarded):
    assert ask(guarded, "/v2/health/live")[0] == 200
    assert ask(guarded, "/v2/health/ready")[0] == 200
    assert ask(guarded, "/v2/health/ready", port=2)[0] == 200
    for headers in (ask(guarded, "/v2/health/live")[1], ask(guarded, "/v1/score", method="GET")[1]):
        assert "x-request-id" in headers
        assert "x-model-hash" not in headers, "who is not known learns nothing of the model"
    assert ask(guarded, "/metrics", port=2)[0] == 200


def test_a_key_that_is_taken_away_opens_no_more_and_a_new_one_does(guarded, keys, key, replaced):
    other = add_key(keys, "passing")
    opened = until(lambda: ask(guarded, headers={"x-api-key": other})[0] == 200)
    assert opened
    kept = "".join(f"{name}: {digest}\n" for digest, name in read_keys(keys).items() if name != "passing")
    replaced(keys, kept.encode())
    assert until(lambda: ask(guarded, headers={"x-api-key": other})[0] == 401)
    assert ask(guarded, headers={"x-api-key": key})[0] == 200


def test_a_file_that_cannot_be_read_leaves_the_keys_as_they_were_and_is_said(guarded, keys, key, replaced):
    good = keys.read_bytes()
    replaced(keys, b"fraud-service: not a hash\n")
    assert until(lambda: ask(guarded, headers={"x-api-key": key})[0] and "expected 64 hexadecimal" in guarded.log)
    assert ask(guarded, headers={"x-api-key": key})[0] == 200
    replaced(keys, good)


def until(condition, seconds=20):
    give_up = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < give_up:
        time.sleep(0.1)
    return found
