"""Health checks on the real server: they find a dead process, and nobody takes them for callers."""

import os
import signal
import time
import urllib.request
from http.client import HTTPConnection

import pytest

from bench.serving.processes import stubs
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_client import ScoringClient
from pragmatiq_triton.model_folders import ensemble_names, model_names
from pragmatiq_triton.probe import State, probe
from pragmatiq_triton.server import TritonServer
from tests.builder.export.heads_case import lora, run_with
from tests.builder.export.heads_case import probe as probe_head
from tests.conftest import RECORDS

pytestmark = pytest.mark.triton

PORTS = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


@pytest.fixture(scope="module")
def two_ensembles(variant, tmp_path_factory):
    """A repository where a task with adapters has an ensemble of its own."""
    out = tmp_path_factory.mktemp("canary") / "repository"
    run = run_with(tmp_path_factory.mktemp("canary") / "run", variant, probe_head(), lora("loan", max_events=3))
    export_repository(run, out)
    return out


@pytest.fixture(scope="module")
def running(two_ensembles):
    with TritonServer(two_ensembles, **PORTS) as server:
        yield server


def check(server, timeout=30):
    return probe(server.http_url, ensemble_names(server.repository), timeout, server.metrics_address)


def own_metrics(server):
    """Every series of ours, once the models have handed over what they counted."""
    time.sleep(1.5)
    with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.split()[-1]) for line in lines if line.startswith("pragmatiq_")}


def moved(before, after):
    return {series: after[series] - before[series] for series in after if after[series] != before[series]}


def post(server, parameters):
    """HTTP status of a record without events, sent with these parameters, raw."""
    body = b'{"inputs": [{"name": "record", "shape": [1, 1], "datatype": "BYTES", "data": ["{\\"events\\": []}"]}], '
    connection = HTTPConnection(server.http_url, timeout=30)
    try:
        connection.request("POST", "/v2/models/scoring/infer", body + b'"parameters": ' + parameters + b"}")
        return connection.getresponse().status
    finally:
        connection.close()


def test_canaries_go_through_every_ensemble_and_move_no_other_metric(running, two_ensembles):
    with ScoringClient(running.grpc_url, timeout=60) as client:
        client.score(RECORDS[:2])
    before = own_metrics(running)
    rounds = [check(running) for _ in range(3)]
    assert [[verdict.ensemble for verdict in verdicts] for verdicts in rounds] == [["scoring", "scoring_loan"]] * 3
    assert {verdict.state for verdicts in rounds for verdict in verdicts} == {State.HEALTHY}
    shared = set(model_names(two_ensembles)) - {"scoring", "scoring_loan", "scorer", "scorer_loan"}
    expected = dict.fromkeys(shared, 6) | {"scorer": 3, "scorer_loan": 3}
    assert moved(before, own_metrics(running)) == {
        f'pragmatiq_requests_total{{model="{model}",outcome="canary"}}': n for model, n in expected.items()
    }


PARAMETERS = (
    b'{"canary": "yes"}',
    b'{"canary": 1}',
    b'{"canary": 1.5}',
    b'{"canary": false}',
    b'{"canary\\"": true}',
    b'{"x": "canary\\u0000canary"}',
    b'{"\xff": "canary"}',
    b'{"canary": "\xff"}',
)


def test_whatever_else_callers_send_is_a_request_like_any_other(running):
    before = own_metrics(running)
    assert [post(running, each) for each in PARAMETERS] == [200] * len(PARAMETERS)
    counted = moved(before, own_metrics(running))
    outcomes = {series: n for series, n in counted.items() if series.startswith("pragmatiq_requests_total")}
    assert {series.partition("outcome=")[2] for series in outcomes} == {'"answered"}'}
    assert set(outcomes.values()) == {len(PARAMETERS)}


@pytest.mark.parametrize("model", ["tokenizer", "text_embedder", "scorer"])
def test_a_killed_process_is_named_within_ten_seconds(repository, model):
    if model not in model_names(repository):
        pytest.skip("a BPE repository has no text embedder")
    with TritonServer(repository, **PORTS) as server:
        assert [verdict.state for verdict in check(server)] == [State.HEALTHY]
        time.sleep(1.5)  # a process killed in the midst of a message takes Triton itself along, now and then
        os.kill(stubs(server.pid)[model], signal.SIGKILL)
        with urllib.request.urlopen(f"http://{server.http_url}/v2/health/ready", timeout=10) as ready:
            assert ready.status == 200
        for _ in range(2):
            (verdict,) = check(server, timeout=10)
            assert (verdict.state, verdict.where) == (State.DEAD, model)
            assert "is not healthy" in verdict.problem
        server.stop(timeout=0.1)  # it would wait for the dead


def test_a_process_that_is_frozen_is_as_good_as_dead(repository):
    """Triton gives a process up that does not move for a second, and does not take it back."""
    with TritonServer(repository, **PORTS) as server:
        frozen = stubs(server.pid)["scorer"]
        os.kill(frozen, signal.SIGSTOP)
        (early,) = check(server, timeout=0.1)
        assert early.state is State.SILENT
        (verdict,) = check(server, timeout=10)
        assert (verdict.state, verdict.where) == (State.DEAD, "scorer")
        server.stop(timeout=0.1)
