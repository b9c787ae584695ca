"""The probe against a server of a few lines, and against the real one whose model does what it is told."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pragmatiq_triton.probe import State, Verdict, probe
from pragmatiq_triton.server import TritonServer

PENDING = """# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="scoring",version="1"} 2
nv_inference_pending_request_count{model="tokenizer",version="1"} 0
nv_inference_pending_request_count{model="scorer",version="1"} 3
"""


class FakeTriton(ThreadingHTTPServer):
    """Answers as ``answers`` says by ensemble, None never; on every other path with ``PENDING``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, str] | None] = {}
        self.asked: list[dict[str, object]] = []
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FakeTriton

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = self.server.answers[self.path.split("/")[3]]
        if answer is None:
            self.server.closing.wait()
        else:
            self._send(*answer)

    def do_GET(self) -> None:
        self._send(200, PENDING)

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def triton() -> Iterator[FakeTriton]:
    with FakeTriton() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def embedding(*values: float) -> tuple[int, str]:
    return 200, json.dumps({"outputs": [{"name": "embedding", "data": values}]})


def failed(words: str) -> tuple[int, str]:
    return 500, json.dumps({"error": words})


def only(verdicts: list[Verdict]) -> Verdict:
    (verdict,) = verdicts
    return verdict


def test_a_canary_has_no_events_says_that_it_is_one_and_wants_the_embedding_alone(triton: FakeTriton) -> None:
    triton.answers["scoring"] = embedding(0.5, -2)
    verdict = only(probe(triton.address, ["scoring"]))
    assert verdict.state is State.HEALTHY
    assert verdict.milliseconds > 0
    assert str(verdict).startswith("scoring: ")
    (asked,) = triton.asked
    assert asked["parameters"] == {"canary": True}
    assert asked["inputs"][0]["data"] == ['{"events": []}']  # type: ignore[index]
    assert [output["name"] for output in asked["outputs"]] == ["embedding"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "model"),
    [
        ("in ensemble 'scoring', Stub process 'text_embedder_0_0' is not healthy.", "text_embedder"),
        (
            "in ensemble 'scoring', Failed to process the request(s) for model 'scorer_0_0', message: "
            "Stub process 'scorer_0_0' is not healthy.",
            "scorer",
        ),
        ("in ensemble 'scoring', Stub process 'scorer_loan_1_2_0_3' is not healthy.", "scorer_loan_1_2"),
    ],
)
def test_a_dead_process_is_named_in_tritons_words(triton: FakeTriton, words: str, model: str) -> None:
    triton.answers["scoring"] = failed(words)
    verdict = only(probe(triton.address, ["scoring"]))
    assert (verdict.state, verdict.where) == (State.DEAD, model)
    assert str(verdict).startswith(f"{model}: Stub process '{model}_0_")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (embedding(1.0, math.nan), "not finite"),
        (embedding(math.inf), "not finite"),
        (embedding(), "not finite"),
        (
            failed("in ensemble 'scoring', Exceeds maximum queue size\n\nAt: x"),
            "HTTP 500: Exceeds maximum queue size At:",
        ),
        ((404, '{"error": "Request for unknown model"}'), "HTTP 404: Request for unknown model"),
        ((502, "<html>"), "HTTP 502 with what is no answer of Triton's: '<html>'"),
        ((200, '{"outputs": []}'), "HTTP 200 with"),
        ((200, '{"outputs": [{"data": ["a"]}]}'), "HTTP 200 with"),
        ((500, '["error"]'), "HTTP 500 with"),
    ],
)
def test_an_answer_that_is_none(triton: FakeTriton, answer: tuple[int, str], problem: str) -> None:
    triton.answers["scoring"] = answer
    verdict = only(probe(triton.address, ["scoring"]))
    assert (verdict.state, verdict.where) == (State.FAILED, "scoring")
    assert problem in verdict.problem
    assert "\n" not in str(verdict)


def test_no_answer_is_told_with_the_models_that_have_requests_waiting(triton: FakeTriton) -> None:
    triton.answers |= {"scoring": None, "scoring_fraud": embedding(1.0)}
    hung, well = probe(triton.address, ["scoring", "scoring_fraud"], 0.2, triton.address)
    assert (hung.state, hung.where, hung.problem) == (State.SILENT, "scorer", "no answer in 0.2 s, requests wait here")
    assert (well.ensemble, well.state) == ("scoring_fraud", State.HEALTHY)


@pytest.mark.parametrize("metrics", [None, "127.0.0.1:1"])
def test_no_answer_and_no_metrics(triton: FakeTriton, metrics: str | None) -> None:
    triton.answers["scoring"] = None
    verdict = only(probe(triton.address, ["scoring"], 0.2, metrics))
    assert (verdict.state, str(verdict)) == (State.SILENT, "scoring: no answer in 0.2 s")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere..invalid:80", "127.0.0.1:port"])
def test_no_server(address: str) -> None:
    verdict = only(probe(address, ["scoring"], 1, address))
    assert (verdict.state, verdict.where) == (State.UNREACHABLE, address)


def test_whoever_interrupts_does_not_wait_for_an_answer(triton: FakeTriton) -> None:
    triton.answers["scoring"] = None
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        probe(triton.address, ["scoring"], 60)
    assert "canary" in {thread.name for thread in threading.enumerate()}, "the canary was waited for"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pragmatiq_triton.probe", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def two_ensembles(tmp_path: Path) -> Path:
    for name in ("scoring", "scoring_fraud"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}"\nplatform: "ensemble"\n', encoding="utf-8")
    return tmp_path


def test_the_command_says_what_is_wrong_once_on_one_line(triton: FakeTriton, two_ensembles: Path) -> None:
    options = ("--url", triton.address, "--repository", two_ensembles)
    triton.answers |= {"scoring": embedding(1.0), "scoring_fraud": embedding(1.0)}
    done = run(*options)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    assert done.stdout.startswith("healthy: scoring: ")
    assert "; scoring_fraud: " in done.stdout

    triton.answers["scoring"] = triton.answers["scoring_fraud"] = failed("Stub process 'tokenizer_0_0' is not healthy.")
    done = run(*options)
    assert done.returncode == 1
    assert done.stdout == "unhealthy: tokenizer: Stub process 'tokenizer_0_0' is not healthy\n"


def test_the_command_as_json(triton: FakeTriton, two_ensembles: Path) -> None:
    triton.answers |= {"scoring": embedding(1.0), "scoring_fraud": None}
    done = run("--url", triton.address, "--repository", two_ensembles, "--timeout", "0.5", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["healthy"] is False
    assert [(each["ensemble"], each["state"]) for each in told["ensembles"]] == [
        ("scoring", "healthy"),
        ("scoring_fraud", "silent"),
    ]


def test_the_command_without_ensembles_is_not_healthy(tmp_path: Path) -> None:
    done = run("--repository", tmp_path / "nowhere")
    assert (done.returncode, "does not exist" in done.stderr) == (1, True)
    (tmp_path / "scorer").mkdir()
    (tmp_path / "scorer" / "config.pbtxt").write_text('backend: "python"\n', encoding="utf-8")
    done = run("--repository", tmp_path)
    assert (done.returncode, "holds no ensemble" in done.stderr) == (1, True)


def test_the_command_starts_with_the_standard_library_alone() -> None:
    loaded = "import sys, pragmatiq_triton.probe; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    heavy = {"numpy", "msgspec", "tokenizers", "yaml", "typer", "rich", "torch", "onnxruntime", "asyncio", "logging"}
    assert not heavy & set(done.stdout.split())


MODEL = """
import os, time
import numpy as np
import triton_python_backend_utils as pb_utils

FOLDER = {folder!r}

def told(what):
    return os.path.exists(os.path.join(FOLDER, what))

class TritonPythonModel:
    def execute(self, requests):
        while told("hang"):
            time.sleep(0.01)
        embedding = np.array([[np.nan if told("nan") else 1.0, 1.0]], np.float32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("embedding", embedding)]) for _ in requests]
"""

CONFIG = """
max_batch_size: 4
input [ {{ name: "record" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "embedding" data_type: TYPE_FP32 dims: [ 2 ] }} ]
{rest}
"""

STEP = """
platform: "ensemble"
ensemble_scheduling { step [ { model_name: "network" model_version: -1
  input_map { key: "record" value: "record" } output_map { key: "embedding" value: "embedding" } } ] }
"""


@pytest.fixture
def tell(tmp_path: Path) -> Callable[[str, bool], None]:
    """Has the model of the real server do something, or stop doing it."""
    (tmp_path / "told").mkdir()

    def do(what: str, now: bool) -> None:
        if now:
            (tmp_path / "told" / what).touch()
        else:
            (tmp_path / "told" / what).unlink()

    return do


@pytest.fixture
def real(tmp_path: Path, tell: Callable[[str, bool], None]) -> Iterator[TritonServer]:
    repository = tmp_path / "repository"
    for name, rest in {"network": 'backend: "python"\ninstance_group [ { kind: KIND_CPU } ]', "scoring": STEP}.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "config.pbtxt").write_text(CONFIG.format(rest=rest), encoding="utf-8")
    source = MODEL.format(folder=str(tmp_path / "told"))
    (repository / "network" / "1" / "model.py").write_text(source, encoding="utf-8")
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


@pytest.mark.triton
def test_a_hanging_model_is_found_and_so_is_its_recovery(real: TritonServer, tell: Callable[[str, bool], None]) -> None:
    def check(timeout: float = 30) -> Verdict:
        return only(probe(real.http_url, ["scoring"], timeout, real.metrics_address))

    assert check().state is State.HEALTHY
    tell("hang", True)
    assert check(0.5).state is State.SILENT
    # The first canary is under way for good; those behind it wait, and Triton counts them.
    assert str(check(0.5)) == "network: no answer in 0.5 s, requests wait here"
    tell("hang", False)
    assert check().state is State.HEALTHY
    tell("nan", True)
    assert str(check()) == "scoring: the embedding is not finite"
