"""What is told of calls: access log, metrics and traces, with times of every stage and nothing of customers."""

import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pragmatiq_client import InvalidRecordError, ScoringClient
from pragmatiq_triton.gateway.auth.api_keys import add_key
from pragmatiq_triton.gateway.auth.settings import Auth
from pragmatiq_triton.gateway.policy import GatewayPolicy
from pragmatiq_triton.gateway.seen.settings import AccessLog, Traces
from tests.conftest import RECORDS

pytestmark = [pytest.mark.triton, pytest.mark.parametrize("variant", ["embed"], indirect=True, scope="session")]

STAGES = ["tokenizer", "text_embedder", "scorer"]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLERS_SPAN = "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Takes spans over OTLP, as a real one does; ``spans`` are those that came."""

    daemon_threads = True

    def __init__(self):
        self.spans = []
        self.resources = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers["content-length"]))
                assert handler.path == "/v1/traces"
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    self.resources.append({each.key: each.value.string_value for each in resource.resource.attributes})
                    for scope in resource.scope_spans:
                        self.spans += scope.spans
                handler.send_response(200)
                handler.send_header("content-length", "0")
                handler.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def of_trace(self, trace_id):
        return {span.name: span for span in self.spans if span.trace_id.hex() == trace_id}


@pytest.fixture(scope="module")
def collector():
    server = Collector()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    return file, add_key(file, "fraud-service")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "access.jsonl"


@pytest.fixture(scope="module")
def seen(start_gateway, collector, key, log):
    endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    return start_gateway(
        GatewayPolicy(
            auth=Auth(api_keys=str(key[0])),
            access_log=AccessLog(file=str(log)),
            traces=Traces(endpoint=endpoint, sample=0.0),
        )
    )


def lines(log, request_id):
    return [line for line in map(json.loads, log.read_text().splitlines()) if line["request_id"] == request_id]


def until(condition, seconds=20):
    give_up = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < give_up:
        time.sleep(0.05)
    return found


def client(gateway, protocol, key):
    url = gateway.http_url if protocol == "http" else gateway.grpc_url
    return ScoringClient(url, protocol=protocol, headers={"authorization": f"Bearer {key[1]}"})


@pytest.mark.parametrize(("protocol", "route"), [("http", "/v2/models/{model}/infer"), ("grpc", "ModelInfer")])
def test_a_line_tells_who_what_how_large_how_long_and_by_which_model(seen, log, key, protocol, route):
    with client(seen, protocol, key) as caller:
        caller.score(RECORDS[:3], request_id=f"mine-{protocol}")
    # The client has read the model's config before, under the same id.
    line = until(lambda: lines(log, f"mine-{protocol}")[1:])[-1]
    assert (line["caller"], line["address"]) == ("fraud-service", "127.0.0.1")
    assert (line["protocol"], line["route"], line["status"], line["code"]) == (protocol, route, 200, "")
    assert (line["model"], line["records"]) == ("scoring", 3)
    assert re.fullmatch(r"[0-9a-f]{64}", line["model_hash"])
    assert line["received_bytes"] > sum(map(len, RECORDS[:3]))
    assert line["sent_bytes"] > 3 * 4 * 16
    assert list(line["stage_seconds"]) == STAGES
    assert 0 < sum(line["stage_seconds"].values()) <= line["model_seconds"] <= line["seconds"]
    assert "trace_id" not in line, "not sampled"


def test_refusals_and_strangers_are_told_with_a_code_and_records_never(seen, log, key):
    canary = "MERCHANT THAT NOBODY MAY SEE"
    with client(seen, "grpc", key) as caller, pytest.raises(InvalidRecordError):
        caller.score_one({"events": [{"ts": 1, canary: canary}]}, request_id="refused-1")
    connection = http.client.HTTPConnection(seen.http_url, timeout=20, source_address=("127.0.0.2", 0))
    connection.request("GET", f"/v2/models/{canary.replace(' ', '%20')}", headers={"x-request-id": "stranger-1"})
    assert connection.getresponse().status == 401
    connection.close()
    [refused] = until(lambda: lines(log, "refused-1"))
    assert (refused["status"], refused["code"]) == (400, "refused_record")
    [stranger] = until(lambda: lines(log, "stranger-1"))
    assert (stranger["status"], stranger["code"], stranger["caller"]) == (401, "unauthenticated", "")
    assert (stranger["route"], stranger["address"]) == ("/v2/models/{model}", "127.0.0.2")
    assert canary not in log.read_text()
    assert key[1] not in log.read_text()


def test_looks_at_the_health_are_not_told(seen, log):
    before = len(log.read_text().splitlines())
    for path in ("/v2/health/live", "/v2/health/ready"):
        connection = http.client.HTTPConnection(seen.http_url, timeout=20)
        connection.request("GET", path)
        assert connection.getresponse().status == 200
        connection.close()
    time.sleep(0.3)
    assert not [line for line in log.read_text().splitlines()[before:] if "health" in line]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_callers_trace_goes_on_through_every_stage(seen, collector, log, key, protocol):
    trace_id = TRACE_ID[:-4] + ("0001" if protocol == "http" else "0002")
    headers = {"traceparent": f"00-{trace_id}-{CALLERS_SPAN}-01"}
    with client(seen, protocol, key) as caller:
        caller.score(RECORDS[:2], headers=headers, request_id=f"traced-{protocol}")
    spans = until(lambda: collector.of_trace(trace_id) if len(collector.of_trace(trace_id)) == 4 else None)
    assert list(spans) == [*STAGES, "score scoring"]
    whole = spans["score scoring"]
    assert whole.parent_span_id.hex() == CALLERS_SPAN
    assert abs(whole.end_time_unix_nano / 1e9 - time.time()) < 60
    for stage in STAGES:
        assert spans[stage].parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= spans[stage].start_time_unix_nano <= spans[stage].end_time_unix_nano
        assert spans[stage].end_time_unix_nano <= whole.end_time_unix_nano
    attributes = {each.key: each.value for each in whole.attributes}
    assert attributes["pragmatiq.request_id"].string_value == f"traced-{protocol}"
    assert attributes["pragmatiq.caller"].string_value == "fraud-service"
    assert attributes["pragmatiq.records"].int_value == 2
    assert collector.resources[-1]["service.name"] == "pragmatiq-triton"
    line = until(lambda: lines(log, f"traced-{protocol}")[1:])[-1]
    assert line["trace_id"] == trace_id


def test_a_caller_that_does_not_sample_is_obeyed_and_nonsense_starts_a_trace_of_its_own(seen, collector, key):
    with client(seen, "http", key) as caller:
        for parent in (f"00-{TRACE_ID}-{CALLERS_SPAN}-00", "00-nonsense", "f" * 500):
            caller.score_one(RECORDS[0], headers={"traceparent": parent})
    time.sleep(0.5)
    assert not collector.of_trace(TRACE_ID)


def test_one_page_has_the_metrics_of_gateway_models_and_triton(seen, key):
    with client(seen, "grpc", key) as caller:
        caller.score(RECORDS[:5])
    with urllib.request.urlopen(seen.metrics_url) as answer:
        page = answer.read().decode()
    for pattern in (
        r'pragmatiq_model_info\{hash="[0-9a-f]{64}",run="[^"]+",version="[^"]+"\} 1.0',
        r'pragmatiq_gateway_requests_total\{code="",protocol="grpc",route="ModelInfer"\} [1-9]',
        r'pragmatiq_gateway_records_total\{caller="fraud-service"\} [1-9]',
        r'pragmatiq_gateway_request_seconds_bucket\{le="0.01",protocol="grpc",route="ModelInfer"\} \d',
        r"pragmatiq_gateway_under_way 0.0",
        r'pragmatiq_gateway_model_healthy\{model="scoring"\} 1.0',
        r"pragmatiq_gateway_triton_metrics_up 1",
        r"pragmatiq_gateway_access_log_lost_lines 0.0",
        r'nv_inference_count\{model="scorer"',
        r'pragmatiq_stage_seconds\S*\{.*model="scorer"',
    ):
        assert re.search(rf"^{pattern}", page, re.MULTILINE), pattern
    if shutil.which("promtool"):
        checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
        assert "error" not in checked.stderr.lower(), checked.stderr


@pytest.mark.parametrize(
    ("head", "status", "code", "said"),
    [
        (b"POST /v1/score HTTP/1.1\r\nx-request-id: ID\r\nx: %b\r\n\r\n" % (b"y" * 40_000), 413, "too_large", "larger"),
        (b"GET / HTTP/1.1\r\nx-request-id: ID\r\n" + b"a: b\r\n" * 200 + b"\r\n", 413, "too_large", "at most 100"),
        (b"GET /v2 HTTP/1.1\r\nx-request-id: ID\r\nhost: a\r\na b: c\r\n\r\n", 400, "malformed", "HTTP/1.1"),
        (b"POST /v1/score HTTP/1.1\r\nx-request-id: ID\r\ncontent-length: x\r\n\r\n", 400, "malformed", "HTTP/1.1"),
        (b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\nx-request-id: ID\r\n\r\n", 405, "wrong_method", "tunnels"),
    ],
    ids=["large", "many", "name", "length", "tunnel"],
)  # fmt: skip
def test_a_head_that_is_refused_is_answered_and_told_as_other_calls(seen, log, request, head, status, code, said):
    mine = f"head-{request.node.callspec.id}"
    with socket.create_connection(("127.0.0.1", seen.ports[0]), timeout=20) as connection:
        connection.sendall(head.replace(b"ID", mine.encode()))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
        error = json.loads(answer.read())["error"]
    assert answer.headers["x-request-id"] == mine
    assert said in str(error)
    if not head.startswith(b"GET /v2"):
        assert error["code"] == code
    (line,) = until(lambda: lines(log, mine))
    assert (line["route"], line["status"], line["code"], line["caller"]) == ("unread", status, code, "")
    assert line["address"] == "127.0.0.1"


def test_connections_that_bring_nothing_readable_are_counted(seen):
    def count():
        with urllib.request.urlopen(seen.metrics_url) as answer:
            found = re.findall(
                r"^pragmatiq_gateway_refused_connections_total\{.*\} (\S+)", answer.read().decode(), re.M
            )
        return sum(map(float, found))

    before = count()
    with socket.create_connection(("127.0.0.1", seen.ports[0])) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b"400" in connection.recv(100)
    assert count() == before + 1
