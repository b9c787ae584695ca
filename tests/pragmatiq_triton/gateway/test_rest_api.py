"""The REST API as its documents say it is, and the examples in other languages."""

import asyncio
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from pragmatiq_client import ScoringClient
from pragmatiq_triton.api import OPENAPI, RECORD_SCHEMA, read_document
from pragmatiq_triton.api.documents import openapi, record_schema
from pragmatiq_triton.gateway.call import Call
from pragmatiq_triton.gateway.door import Door
from pragmatiq_triton.gateway.errors import DeadlineError, RequestError
from pragmatiq_triton.gateway.identity import Ensemble
from pragmatiq_triton.gateway.limits import Limits
from pragmatiq_triton.gateway.over_http import rest
from tests.conftest import RECORDS

CLIENTS = Path(__file__).parents[3] / "clients"
DOCUMENT = json.loads(read_document(OPENAPI))
RECORD = json.loads(RECORDS[0])


def problems(instance, schema):
    """What of ``instance`` the schema of this name in the document does not take."""
    registry = Registry().with_resource("urn:api", Resource.opaque(DOCUMENT))
    reference = {"$ref": f"urn:api#/components/schemas/{schema}"}
    return [error.message for error in Draft202012Validator(reference, registry=registry).iter_errors(instance)]


def test_the_documents_are_what_the_code_makes():
    assert json.loads(read_document(OPENAPI)) == openapi(), "run: python -m pragmatiq_triton.api"
    assert json.loads(read_document(RECORD_SCHEMA)) == record_schema(), "run: python -m pragmatiq_triton.api"


def test_the_records_schema_takes_records_and_refuses_what_decoding_refuses():
    Draft202012Validator.check_schema(json.loads(read_document(RECORD_SCHEMA)))
    validator = Draft202012Validator(json.loads(read_document(RECORD_SCHEMA)))
    for record in map(json.loads, RECORDS):
        assert validator.is_valid(record)
    for bad in ({}, {"events": 3}, {"events": [], "x": 1}, {"events": [{"ts": "1", "source": "a"}]},
                {"events": [{"ts": 2**63, "source": "a"}]}):  # fmt: skip
        assert not validator.is_valid(bad), bad


class Counting:
    """Stands for the door, and notes what it is asked."""

    def __init__(self):
        self.limits = Limits()
        self.identity = SimpleNamespace(
            ensembles={"scoring": Ensemble("scoring", ("churn",)), "scoring_loan": Ensemble("scoring_loan", ("loan",))},
            manifest=SimpleNamespace(run="r"),
            manifest_hash="h",
        )
        self.counted_records, self.deadlines = [], []

    deadline = Door.deadline

    @contextmanager
    def counted(self, call, n_records):
        self.counted_records.append(n_records)
        yield

    async def ask(self, call, ensemble, documents, outputs, deadline):
        self.deadlines.append(deadline)
        await asyncio.sleep(0.001)
        raise DeadlineError("late")


async def test_the_records_of_a_call_have_one_deadline_and_are_counted_once():
    door, call = Counting(), Call("http", "/v1/score", "1")
    body = json.dumps({"records": [RECORD] * 20, "tasks": ["churn", "loan"]}).encode()
    with pytest.raises(RequestError, match="none of 20 records") as raised:
        await rest.score(door, call, body, 2.0)
    assert (raised.value.status, raised.value.code) == (504, "deadline_exceeded")
    assert door.counted_records == [20]
    assert len(door.deadlines) == 20
    assert len(set(door.deadlines)) == 1
    assert door.deadlines[0].seconds == 2.0


@pytest.mark.triton
@pytest.mark.parametrize("variant", ["bpe"], indirect=True, scope="session")
class TestServed:
    def ask(self, server, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(server.http_url, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())
        finally:
            connection.close()

    def test_documents_are_served(self, scoring_server):
        for path, name in (("/openapi.json", OPENAPI), ("/v1/record.schema.json", RECORD_SCHEMA)):
            assert self.ask(scoring_server, "GET", path)[2] == json.loads(read_document(name))

    def test_the_model_says_what_it_is(self, scoring_server):
        status, headers, model = self.ask(scoring_server, "GET", "/v1/model")
        assert status == 200
        assert problems(model, "Model") == []
        assert headers["x-model-hash"] == model["hash"]
        assert model["limits"]["record"]["max_events"] == 20_000
        assert model["versions"]["gateway"]

    @pytest.mark.parametrize(
        ("body", "answer"),
        [
            ({"record": RECORD}, "OneAnswer"),
            ({"record": RECORD, "embedding": True, "tasks": None}, "OneAnswer"),
            ({"records": [RECORD, {"events": 3}, RECORD], "embedding": True}, "ManyAnswers"),
            ({"records": [RECORD] * 12}, "ManyAnswers"),
            ({"records": []}, "ManyAnswers"),
        ],
    )
    def test_answers_are_as_described(self, scoring_server, body, answer):
        if "'events': 3" not in str(body):
            assert problems(body, "ScoreRequest") == []
        status, _, found = self.ask(scoring_server, "POST", "/v1/score", body)
        assert status == 200
        assert problems(found, answer) == []

    def test_several_records_without_one_answer_are_no_success(self, scoring_server):
        body = {"records": [{"events": 3}, {"events": [{"ts": 1}]}]}
        status, headers, found = self.ask(scoring_server, "POST", "/v1/score", body)
        assert status == 400
        assert problems(found, "Error") == []
        assert found["error"]["code"] == "refused_record"
        assert found["error"]["message"].startswith("none of 2 records has an answer; one of their errors: ")
        assert ["$.events" in each["error"]["message"] for each in found["answers"]] == [True, True]
        assert headers["x-request-id"] == found["request_id"]

    def test_heads_that_ask_for_upgrades_may_come_in_thousands(self, scoring_server):
        host, _, port = scoring_server.http_url.partition(":")
        head = b"GET /v1/record.schema.json HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            sender = threading.Thread(target=connection.sendall, args=(head * 3_000,))
            sender.start()
            read = b""
            while read.count(b"HTTP/1.1 200 OK") < 3_000 and (piece := connection.recv(1 << 20)):
                read += piece
            sender.join()
        assert read.count(b"HTTP/1.1 200 OK") == 3_000

    @pytest.mark.parametrize(
        "body", [{}, {"record": RECORD, "records": []}, {"record": {"events": 3}}, {"record": RECORD, "x": 1}, []]
    )
    def test_errors_are_as_described(self, scoring_server, body):
        status, _, found = self.ask(scoring_server, "POST", "/v1/score", body)
        assert str(status) in DOCUMENT["paths"]["/v1/score"]["post"]["responses"]
        assert status == 400
        assert problems(found, "Error") == []

    @pytest.mark.parametrize("asked", [b"h2c", b"websocket", b"TLS/1.0, HTTP/1.1"])
    @pytest.mark.parametrize("cut", [0, 20, 120])
    def test_a_caller_that_asks_for_another_protocol_is_answered_in_this_one(self, scoring_server, asked, cut):
        body = json.dumps({"record": RECORD}).encode()
        request = (
            b"POST /v1/score HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
            b"Upgrade: %b\r\nContent-Length: %d\r\n\r\n%b" % (asked, len(body), body)
        )
        host, _, port = scoring_server.http_url.partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            for _ in range(2):  # the connection goes on
                connection.sendall(request[:cut])
                time.sleep(0.05)
                connection.sendall(request[cut:])
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                assert answer.status == 200
                assert json.loads(answer.read())["scores"] is not None

    def test_tunnels_are_refused(self, scoring_server):
        host, _, port = scoring_server.http_url.partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 405 ")

    @pytest.mark.parametrize(
        ("program", "words"),
        [
            ("curl", ["sh", CLIENTS / "curl" / "score_rest.sh"]),
            ("java", ["java", CLIENTS / "java" / "Score.java"]),
            ("go", ["go", "run", CLIENTS / "go" / "score.go"]),
            ("node", ["node", CLIENTS / "node" / "score.mjs"]),
        ],
    )
    def test_the_examples_get_answers_and_say_what_is_wrong(self, scoring_server, tmp_path, program, words):
        if not shutil.which(program):
            pytest.skip(f"not run: no {program} on the PATH")
        record = tmp_path / "record.json"
        environment = os.environ | {"GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(tmp_path / "go")}

        def run():
            command = [*map(str, words), f"http://{scoring_server.http_url}", str(record)]
            return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)

        record.write_bytes(RECORDS[0])
        done = run()
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        with ScoringClient(scoring_server.grpc_url) as client:
            expected = client.score_one(RECORDS[0])
        assert found["scores"] == pytest.approx(expected.scores)
        if found.get("embedding"):
            assert found["embedding"] == pytest.approx(expected.embedding.tolist(), abs=1e-5)
        record.write_text('{"events": 3}')
        refused = run()
        assert refused.returncode not in (0, 2)
        assert "$.events" in refused.stdout + refused.stderr
