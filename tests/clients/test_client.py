"""Both clients over both protocols against a real server."""

import asyncio
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pragmatiq_client import (
    AsyncScoringClient,
    DeadlineExceededError,
    InvalidRecordError,
    ModelFaultError,
    ProtocolError,
    ScoringError,
    ServerUnavailableError,
)
from pragmatiq_client.wire import encode_record
from pragmatiq_triton.server import ServerEnvironment, TritonServer
from pragmatiq_triton.server.ports import reserve_ports
from tests.clients.four import Client

pytestmark = pytest.mark.triton


def test_answers_of_records_of_every_type(client: Client, server: TritonServer) -> None:
    client.connect(server)
    records = [{"n": 7, "name": "é"}, '{"n": 8, "name": "日本"}', b'{"n": 9}']
    answers = client.score(records)
    assert [answer.scores for answer in answers] == [{"fraud": n, "churn": 3.0} for n in (7.0, 8.0, 9.0)]
    embedding = np.stack([answer.embedding for answer in answers])
    assert embedding.dtype == np.float32
    assert embedding.tolist() == [[1.0, 0.25, -1.0], [2.0, 0.25, -1.0], [0.0, 0.25, -1.0]]
    assert answers[0].embedding.flags.writeable
    assert client.score_one({"n": 1}).scores == {"fraud": 1.0, "churn": 1.0}
    assert client.score([]) == []


def test_more_records_than_a_batch(client: Client, server: TritonServer) -> None:
    answers = client.connect(server).score([{"n": n} for n in range(10)])
    assert [answer.scores["fraud"] for answer in answers] == list(range(10))
    assert [answer.scores["churn"] for answer in answers] == [4.0] * 8 + [2.0] * 2
    answers = client.connect(server, max_batch_size=3).score([{}] * 4)
    assert [answer.scores["churn"] for answer in answers] == [3.0] * 3 + [1.0]


def test_model_without_tasks(client: Client, server: TritonServer) -> None:
    answer = client.connect(server).score_one({"columns": 0, "tasks": []})
    assert answer.scores == {}
    assert answer.embedding.shape == (3,)


def test_scores_are_named_by_each_answer(client: Client, server: TritonServer) -> None:
    client.connect(server)
    assert client.score_one({"n": 5}).scores == {"fraud": 5.0, "churn": 1.0}
    assert client.score_one({"n": 5, "tasks": ["churn", "fraud"]}).scores == {"churn": 5.0, "fraud": 1.0}
    assert client.score_one({"n": 5, "columns": 1, "tasks": ["loan"]}).scores == {"loan": 5.0}


def test_scores_that_do_not_fit_their_names(client: Client, server: TritonServer) -> None:
    client.connect(server)
    with pytest.raises(ProtocolError, match="3 scores per user, but 2 task names"):
        client.score_one({"columns": 3})
    with pytest.raises(ProtocolError, match="0 scores per user, but 2 task names"):
        client.score_one({"columns": 0})
    with pytest.raises(ProtocolError, match="names of the scores: expected UTF-8"):
        client.score_one({"tasks": ["fraud", "\xff"]})


def test_model_that_does_not_name_its_scores(
    client: Client, repository: Path, environment: ServerEnvironment, tmp_path: Path
) -> None:
    other = shutil.copytree(repository, tmp_path / "repository")
    config = other / "scoring" / "config.pbtxt"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('{ name: "tasks"', '{ name: "names"'), encoding="utf-8")
    with TritonServer(other, environment=environment, http_port=0, grpc_port=0, metrics_port=0) as server:
        with pytest.raises(ProtocolError, match="no output `tasks`"):
            client.connect(server).score_one({})
        client.close_all()


def test_routing_key_reaches_every_request_of_a_call(client: Client, server: TritonServer) -> None:
    client.connect(server, timeout=20.0)
    asking = {"tell": "x-user-id", "busy_until": time.time() + 0.3}
    for key in ("a b~42", "7"):
        answers = client.score([asking] * 6, routing_key=key)
        assert [[*answer.scores] for answer in answers] == [[key, "churn"]] * 6
        assert [*client.score_one(asking, routing_key=key).scores] == [key, "churn"]
    assert [*client.score_one(asking).scores] == ["nothing", "churn"]


@pytest.mark.parametrize("key", ["", "é", "a\nb", "a\r\nx-api-key: b", "a\0", " a", "a ", "a\t", "a\n"])
def test_routing_key_that_no_header_can_carry(client: Client, server: TritonServer, key: str) -> None:
    with pytest.raises(ValueError, match=r"routing_key.*hash"):
        client.connect(server).score_one({}, routing_key=key)


def test_invalid_record_is_located(client: Client, server: TritonServer) -> None:
    records = [{}] * 5 + [{"bad": "'now': no"}]
    with pytest.raises(InvalidRecordError, match=r"tokenizer: row 1: .*\(row 5 of the call\)") as caught:
        client.connect(server).score(records)
    error = caught.value
    assert (error.stage, error.row, error.path) == ("tokenizer", 5, "$.events[0].ts")
    assert error.message == "expected int, got 'now': no"
    with pytest.raises(InvalidRecordError, match="expected JSON") as caught:
        client.score_one("not json")
    assert (caught.value.row, caught.value.path) == (0, "$")


@pytest.mark.parametrize(
    ("record", "expected", "text"),
    [
        ({"raise": "no such key"}, ModelFaultError, "RuntimeError: no such key"),
        ({"error": "INTERNAL"}, ModelFaultError, "asked for"),
        ({"error": "UNSUPPORTED"}, ProtocolError, "asked for"),
        ({"error": "NOT_FOUND"}, ProtocolError, "asked for"),
        ({"error": "UNAVAILABLE"}, ServerUnavailableError, "asked for"),
    ],
)
def test_server_errors(
    client: Client, server: TritonServer, record: dict[str, str], expected: type[ScoringError], text: str
) -> None:
    with pytest.raises(expected, match=text) as caught:
        client.connect(server).score_one(record)
    assert type(caught.value) is expected


def test_unknown_model(client: Client, server: TritonServer) -> None:
    client.connect(server, model="other")
    assert not client.model_ready()
    with pytest.raises(ProtocolError, match="other"):
        client.score_one({})


def test_batch_that_the_server_refuses(client: Client, server: TritonServer) -> None:
    with pytest.raises(InvalidRecordError, match="batch-size") as caught:
        client.connect(server, max_batch_size=9).score([{}] * 9)
    assert caught.value.row is None
    assert caught.value.message == str(caught.value)


def test_server_whose_batches_became_smaller(client: Client, server: TritonServer) -> None:
    client.connect(server)
    client.opened[-1]._scoring._max_batch_size = 9  # as another server's config said
    answers = client.score([{"n": n} for n in range(20)])
    assert [answer.scores["fraud"] for answer in answers] == list(range(20))
    assert answers[0].scores["churn"] == 4.0


def test_deadline_covers_the_whole_call(client: Client, server: TritonServer) -> None:
    client.connect(server, timeout=0.3)
    with pytest.raises(DeadlineExceededError, match=r"within 0\.3 s"):
        client.score_one({"sleep": 1.0})
    with pytest.raises(DeadlineExceededError):
        client.score([{"sleep": 0.1}] * 40, timeout=1.0)
    with pytest.raises(DeadlineExceededError):
        client.score_one({}, timeout=0.0)
    assert client.score_one({"n": 3}, timeout=10.0).scores["fraud"] == 3.0


def test_busy_server_is_asked_again(client: Client, server: TritonServer) -> None:
    client.connect(server, timeout=20.0, retries=2)
    with pytest.raises(ServerUnavailableError, match="queue is full"):
        client.score_one({"busy_until": time.time() + 60})
    client.connect(server, timeout=20.0)
    assert client.score_one({"n": 6, "busy_until": time.time() + 0.3}).scores["fraud"] == 6.0


def test_no_server(client: Client) -> None:
    (port,) = reserve_ports("127.0.0.1", [0])
    client.connect(f"127.0.0.1:{port}", timeout=0.5)
    with pytest.raises(ServerUnavailableError, match=f"no server listens there.*127.0.0.1:{port}"):
        client.score_one({})
    assert not client.is_ready()
    assert not client.model_ready()


def test_retries_use_the_whole_budget(client: Client) -> None:
    (port,) = reserve_ports("127.0.0.1", [0])
    begun = time.monotonic()
    with pytest.raises(ServerUnavailableError):
        client.connect(f"127.0.0.1:{port}").score_one({}, timeout=1.5)
    assert 0.75 <= time.monotonic() - begun < 1.5


def test_ready(client: Client, server: TritonServer) -> None:
    client.connect(server)
    assert client.is_ready() is True
    assert client.model_ready() is True


def test_server_that_stops_and_comes_back(client: Client, repository: Path, environment: ServerEnvironment) -> None:
    ports = reserve_ports("127.0.0.1", [0, 0, 0])
    options = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    with TritonServer(repository, environment=environment, extra_args=["--exit-timeout-secs=1"], **options) as first:
        client.connect(first, timeout=60.0)
        assert client.score_one({"n": 1}).scores["fraud"] == 1.0
    with pytest.raises(ServerUnavailableError):
        client.score_one({}, timeout=0.5)
    second = TritonServer(repository, environment=environment, **options)
    starting = threading.Thread(target=second.start)
    starting.start()
    try:
        assert client.score_one({"n": 2}).scores["fraud"] == 2.0
    finally:
        starting.join()
        client.close()
        second.stop()


def test_restricted_config(client: Client, repository: Path, environment: ServerEnvironment) -> None:
    restricted = ["--grpc-restricted-protocol=model-config:key=value", "--http-restricted-api=model-config:key=value"]
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    with TritonServer(repository, environment=environment, extra_args=restricted, **ports) as hiding:
        records = [{"n": n} for n in range(5)]
        answers = client.connect(hiding).score(records)
        assert [answer.scores for answer in answers] == [{"fraud": n, "churn": 1.0} for n in range(5)]
        with pytest.raises(InvalidRecordError) as caught:
            client.score([*records, {"bad": "it"}])
        assert caught.value.row == 5
        answers = client.connect(hiding, max_batch_size=4).score(records)
        assert [answer.scores["churn"] for answer in answers] == [4.0] * 4 + [1.0]
        client.close_all()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_async_calls_at_once(server: TritonServer, protocol: str) -> None:
    url = server.grpc_url if protocol == "grpc" else server.http_url

    async def run() -> list[float]:
        async with AsyncScoringClient(url, protocol=protocol) as client:
            answers = await asyncio.gather(*(client.score_one({"n": n}) for n in range(20)))
        return [answer.scores["fraud"] for answer in answers]

    assert asyncio.run(run()) == list(range(20))


def test_records_that_are_not_json(client: Client, server: TritonServer) -> None:
    client.connect(server)
    loop: dict[str, Any] = {}
    loop["self"] = loop
    for record in ({"n": float("inf")}, {"n": {1, 2}}, {"n": "\ud800"}, 5, loop):
        with pytest.raises(InvalidRecordError, match="client: row 1") as caught:
            client.score([{}, record])
        assert (caught.value.stage, caught.value.row) == ("client", 1)


def test_record_as_sent_is_compact_utf8() -> None:
    sent = encode_record({"a": "é", "b": [1, 2]}, 0)
    assert sent == '{"a":"é","b":[1,2]}'.encode()
    assert json.loads(sent) == {"a": "é", "b": [1, 2]}
