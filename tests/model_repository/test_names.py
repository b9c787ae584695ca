"""Scores come under their names from a gateway, from Triton, and from a repository of the version before alike."""

import shutil

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import TYPE_STRING, ModelConfig

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_client import ScoringClient
from pragmatiq_triton.server import ScoringServer
from tests.builder.export.heads_case import linear_head, probe, run_with
from tests.conftest import RECORDS

pytestmark = pytest.mark.triton

TASKS = ["churn", "fraud"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    run = run_with(folder / "run", "bpe", probe(), linear_head("fraud", "probe", "event"))
    export_repository(run, folder / "repository")
    return folder / "repository"


@pytest.fixture(scope="module")
def earlier(repository):
    """The same as versions before exported it: the names are an output of strings."""
    copy = shutil.copytree(repository, repository.parent / "earlier")
    for path in copy.glob("sc*/config.pbtxt"):
        config = text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())
        [names] = [output for output in config.output if output.name == "task_names"]
        names.name, names.data_type, names.dims[:] = "tasks", TYPE_STRING, [len(TASKS)]
        for step in config.ensemble_scheduling.step:
            if step.output_map.pop("task_names", None):
                step.output_map["tasks"] = "tasks"
        path.write_text(text_format.MessageToString(config), encoding="utf-8")
    return copy


@pytest.fixture(scope="module", params=["repository", "earlier"])
def served(request):
    ports = dict.fromkeys(("http_port", "grpc_port", "metrics_port"), 0)
    with ScoringServer(request.getfixturevalue(request.param), **ports) as running:
        yield running


@pytest.mark.parametrize("module", [tritonclient.grpc, tritonclient.http])
def test_a_client_of_the_version_before_gets_what_it_asks_the_gateway_for(served, module):
    """It names its three outputs, which this version's client does not."""
    url = served.grpc_url if module is tritonclient.grpc else served.http_url
    tensor = module.InferInput("record", [2, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[RECORDS[0]], [RECORDS[1]]], object))
    outputs = [module.InferRequestedOutput(name) for name in ("scores", "embedding", "tasks")]
    with module.InferenceServerClient(url) as client:
        answer = client.infer("scoring", [tensor], outputs=outputs)
    assert answer.as_numpy("tasks").tolist() == [[task.encode() for task in TASKS]] * 2
    assert answer.as_numpy("scores").shape == (2, 2)
    assert answer.as_numpy("embedding").shape[0] == 2


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("behind", ["gateway", "triton"])
def test_named_scores(served, protocol, behind):
    server = served if behind == "gateway" else served.triton
    with ScoringClient(getattr(server, f"{protocol}_url"), protocol=protocol, timeout=60) as client:
        one, several = client.score_one(RECORDS[0]), client.score(RECORDS[:5])
    assert [list(answer.scores) for answer in several] == [TASKS] * 5
    assert one.scores == pytest.approx(several[0].scores, abs=1e-6)
    assert all(np.ptp([answer.scores[task] for answer in several]) > 1e-6 for task in TASKS)
