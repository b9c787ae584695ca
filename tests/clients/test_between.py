"""What stands between: dark connections, proxies, gateways, other ports, servers that restart."""

import gzip
import json
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.serving.processes import stubs
from pragmatiq_client import (
    DeadlineExceededError,
    InvalidRecordError,
    ModelFaultError,
    ProtocolError,
    ScoringError,
    ServerUnavailableError,
)
from pragmatiq_triton.server import ServerEnvironment, TritonServer
from tests.clients.between import answering, forwarding, http_answer
from tests.clients.four import Client

pytestmark = pytest.mark.triton

http_only = pytest.mark.parametrize("client", [("sync", "http"), ("async", "http")], indirect=True, ids="-".join)


def test_dark_connection_costs_one_call(client: Client, server: TritonServer) -> None:
    with forwarding(client.address(server)) as proxy:
        client.connect(proxy.url, timeout=20.0)
        assert client.score_one({"n": 1}).scores["fraud"] == 1.0
        proxy.go_dark()
        with pytest.raises(DeadlineExceededError, match=r"no answer within 0\.5 s"):
            client.score_one({"n": 2}, timeout=0.5)
        assert [client.score_one({"n": n}, timeout=5.0).scores["fraud"] for n in range(3)] == [0.0, 1.0, 2.0]


@pytest.mark.slow
@pytest.mark.parametrize("client", [("sync", "grpc"), ("async", "grpc")], indirect=True, ids="-".join)
def test_long_call_notices_that_its_connection_is_dark(client: Client, server: TritonServer) -> None:
    with forwarding(client.address(server)) as proxy:
        client.connect(proxy.url)
        assert client.score_one({"n": 1}).scores["fraud"] == 1.0
        proxy.go_dark()
        assert client.score_one({"n": 2}, timeout=90.0).scores["fraud"] == 2.0


def test_headers_and_request_id_reach_the_model(client: Client, server: TritonServer) -> None:
    client.connect(server, headers={"X-Tenant": "retail"})
    assert [*client.score_one({"tell": "x-tenant"}).scores] == ["retail", "churn"]
    assert [*client.score_one({"tell": "x-tenant"}, headers={"x-tenant": "cards"}).scores] == ["cards", "churn"]
    answer = client.score_one({"tell": "x-request-id"}, request_id="trace-7")
    assert [*answer.scores] == ["trace-7", "churn"]
    assert answer.request_id == "trace-7"
    answers = client.score([{"tell": "x-request-id"}] * 6)
    assert {next(iter(each.scores)) for each in answers} == {answers[0].request_id}
    assert client.score_one({}).request_id != answers[0].request_id


def test_errors_carry_request_id_and_url(client: Client, server: TritonServer) -> None:
    client.connect(server)
    for record, expected in (({"error": "INTERNAL"}, ModelFaultError), ({"bad": 1}, InvalidRecordError)):
        with pytest.raises(expected) as caught:
            client.score_one(record, request_id="trace-9")
        assert caught.value.request_id == "trace-9"
        assert caught.value.url == client.opened[-1].url
    with pytest.raises(ModelFaultError, match=r"asked for \(.*trace-9"):
        client.score_one({"error": "INTERNAL"}, request_id="trace-9")
    with pytest.raises(InvalidRecordError) as caught:
        client.score_one({"n": {1}}, request_id="trace-9")
    assert (caught.value.url, caught.value.request_id) == (None, "trace-9")


def test_bad_records_cost_no_other_answer(client: Client, server: TritonServer) -> None:
    records = [{"n": n} for n in range(20)]
    records[3] = {"bad": "it"}
    records[6] = {"bad": "it", "n": 6}
    records[7] = {"bad": "that"}
    records[11] = {"n": {1}}
    records[14] = {"raise": "no such key"}
    results = client.connect(server).score(records, return_exceptions=True)
    assert len(results) == 20
    failed = {row: result for row, result in enumerate(results) if isinstance(result, ScoringError)}
    assert {row: type(error) for row, error in failed.items()} == {
        3: InvalidRecordError,
        6: InvalidRecordError,
        7: InvalidRecordError,
        11: InvalidRecordError,
        14: ModelFaultError,
    }
    assert [error.row for error in failed.values() if isinstance(error, InvalidRecordError)] == [3, 6, 7, 11]
    assert (failed[7].path, failed[7].message) == ("$.events[0].ts", "expected int, got that")
    answered = {row: result.scores["fraud"] for row, result in enumerate(results) if row not in failed}
    assert answered == {row: float(row) for row in range(20) if row not in failed}
    assert client.score([], return_exceptions=True) == []


def test_server_that_is_away_gives_every_record_its_error(client: Client) -> None:
    client.connect("127.0.0.1:1", timeout=0.2, max_batch_size=2)
    results = client.score([{}] * 5, return_exceptions=True)
    assert [type(result) for result in results] == [ServerUnavailableError] * 5


def test_a_single_record_is_no_sequence_of_records(client: Client, server: TritonServer) -> None:
    client.connect(server)
    for single in ({"n": 1}, '{"n": 1}', b"{}"):
        with pytest.raises(TypeError, match="use score_one"):
            client.score(single)
    assert [answer.scores["fraud"] for answer in client.score({"n": n} for n in range(5))] == list(range(5))


def test_port_of_the_other_protocol_is_named(client: Client, server: TritonServer) -> None:
    other = server.http_url if client.protocol == "grpc" else server.grpc_url
    port = other.rpartition(":")[2]
    with pytest.raises(ScoringError, match=rf"Triton's.*usually 8000.*{port}|HTTP's is usually 8000.*{port}") as caught:
        client.connect(other, timeout=1.0).score_one({})
    assert isinstance(caught.value, ServerUnavailableError if client.protocol == "grpc" else ProtocolError)


def test_metrics_port_is_named(client: Client, server: TritonServer) -> None:
    address = server.metrics_url.removeprefix("http://").partition("/")[0]
    with pytest.raises(ScoringError, match=r"metrics"):
        client.connect(address, timeout=1.0).score_one({})


def test_proxy_variables_leave_this_machine_alone(
    client: Client, server: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert client.connect(server).score_one({"n": 1}).scores["fraud"] == 1.0
    assert client.connect(client.address(server).replace("127.0.0.1", "localhost")).is_ready()


def test_proxy_variable_is_named_when_the_connection_fails(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    for name in ("grpc_proxy", "https_proxy", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ScoringError, match=r"http_proxy=127\.0\.0\.1:1 is set.*use_proxy=False") as caught:
        client.connect("scoring.test:8001", timeout=0.5).score_one({})
    assert "secret" not in str(caught.value)
    with pytest.raises(ScoringError) as caught:
        client.connect("scoring.test:8001", timeout=0.5, use_proxy=False).score_one({})
    assert "http_proxy" not in str(caught.value)


@pytest.mark.parametrize("client", [("sync", "http"), ("async", "http")], indirect=True, ids="-".join)
def test_other_machines_are_reached_through_the_proxy(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request.partition(b" HTTP")[0])
        return http_answer(infer_json(request)) if len(asked) == 1 else http_answer(b"<html>denied", "403 Forbidden")

    with answering(answer) as proxy:
        monkeypatch.setenv("http_proxy", f"http://{proxy}")
        client.connect("scoring.test:8000")
        assert client.score_one({}).scores == {"fraud": 0.25}
        with pytest.raises(ProtocolError, match=rf"denied.*http_proxy=http://{proxy} is set"):
            client.score_one({})
    assert asked == [b"POST http://scoring.test:8000/v2/models/scoring/infer"] * 2


def infer_json(request: bytes) -> bytes:
    """An answer of plain JSON to whatever record."""
    outputs = [
        {"name": "scores", "datatype": "FP32", "shape": [1, 1], "data": [0.25]},
        {"name": "embedding", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]},
        {"name": "tasks", "datatype": "BYTES", "shape": [1, 1], "data": ["fraud"]},
    ]
    return json.dumps({"model_name": "scoring", "outputs": outputs}).encode()


@http_only
@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("identity", bytes),
        ("gzip, deflate", lambda body: zlib.compress(gzip.compress(body))),
    ],
)
def test_compressed_answers_are_read(client: Client, coding: str, compress: Callable[[bytes], bytes]) -> None:
    def answer(request: bytes) -> bytes:
        return http_answer(compress(infer_json(request)), Content_Encoding=coding, Content_Type="application/json")

    with answering(answer) as url:
        found = client.connect(url).score_one({})
        assert found.scores == {"fraud": 0.25}
        assert found.embedding.tolist() == [1.0, 2.0]


@http_only
@pytest.mark.parametrize(
    ("answer", "expected", "text"),
    [
        (http_answer(b"<html>\n<h1>Log\x07in", Content_Type="text/html"), ProtocolError, "text/html.*Log.in.*a proxy"),
        (http_answer(b""), ProtocolError, "empty body.*not Triton"),
        (http_answer(b"\xff\xfe", Content_Encoding="gzip"), ProtocolError, "expected a body in gzip"),
        (http_answer(b"..", Content_Encoding="br"), ProtocolError, "content encoding 'br'"),
        (http_answer(b'{"outputs": {}}'), ProtocolError, "expected Triton's answer|no output"),
        (http_answer(b"[1]"), ProtocolError, "expected Triton's answer"),
        (http_answer(b'{"outputs":[{"name":"scores"}]}\x00\x01'), ProtocolError, "drops the header inference-header"),
        (http_answer(b"", "302 Found", Location="https://login/"), ProtocolError, "https://login/"),
        (http_answer(b"The plain HTTP request was sent to HTTPS port", "400 Bad"), ProtocolError, "use https"),
        (http_answer(b"<html>no", "400 Bad Request"), ProtocolError, "HTTP 400.*a proxy"),
        (http_answer(b"who?", "401 Unauthorized"), ProtocolError, "HTTP 401.*who"),
        (http_answer(b"<html>", "404 Not Found"), ProtocolError, "HTTP 404.*a proxy"),
        (http_answer(b"<html>", "413 Too Large"), ProtocolError, "limit on the size"),
        (http_answer(b"slow down", "429 Too Many Requests"), ServerUnavailableError, "HTTP 429"),
        (http_answer(b"<html>", "500 Internal Server Error"), ModelFaultError, "HTTP 500"),
        (http_answer(b"<html>bad gateway", "502 Bad Gateway"), ServerUnavailableError, "HTTP 502.*bad gateway"),
        (http_answer(b"", "503 Service Unavailable"), ServerUnavailableError, "HTTP 503"),
        (http_answer(b'{"error": {"a": 1}}', "503 Service Unavailable"), ServerUnavailableError, "HTTP 503"),
        (http_answer(b"<html>", "504 Gateway Timeout"), DeadlineExceededError, "HTTP 504.*gave up before"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ProtocolError, "does not speak HTTP"),
        (b"", ServerUnavailableError, "expects TLS"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", ServerUnavailableError, "127.0.0.1"),
    ],
)  # fmt: skip
def test_answers_that_are_not_tritons(client: Client, answer: bytes, expected: type[ScoringError], text: str) -> None:
    with answering(lambda request: answer) as url, pytest.raises(ScoringError, match=text) as caught:
        client.connect(url, timeout=0.5).score_one({})
    assert type(caught.value) is expected
    assert url in str(caught.value)


@http_only
def test_ready_is_an_empty_answer(client: Client) -> None:
    welcome = answering(lambda request: http_answer(b"<html>welcome"))
    with welcome as url, pytest.raises(ProtocolError, match="welcome"):
        client.connect(url).is_ready()
    with answering(lambda request: http_answer(b"", "503 Service Unavailable")) as url:
        assert client.connect(url).is_ready() is False


@http_only
def test_path_before_the_server(client: Client) -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request.partition(b" HTTP")[0])
        return http_answer(infer_json(request))

    with answering(answer) as url:
        client.connect(f"http://{url}/eu/scoring", model="scoring_a b").score_one({})
    assert asked == [b"POST /eu/scoring/v2/models/scoring_a%20b/infer"]


@http_only
def test_answer_that_trickles_in_ends_with_the_budget(client: Client) -> None:
    def answer(request: bytes) -> Iterator[bytes]:
        for byte in http_answer(infer_json(request)):
            yield bytes([byte])
            time.sleep(0.05)

    with answering(answer) as url:
        begun = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            client.connect(url).score_one({}, timeout=0.5)
        assert time.monotonic() - begun < 5


def test_dead_model_process_is_a_server_that_is_away(
    client: Client, repository: Path, environment: ServerEnvironment
) -> None:
    with TritonServer(repository, environment=environment, http_port=0, grpc_port=0, metrics_port=0) as server:
        client.connect(server)
        assert client.score_one({"n": 1}).scores["fraud"] == 1.0
        os.kill(stubs(server.pid)["scoring"], signal.SIGKILL)
        with pytest.raises(ServerUnavailableError, match="a model's process has died"):
            client.score_one({"n": 1}, timeout=2.0)
        client.close_all()
