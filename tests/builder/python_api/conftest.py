import pytest

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.runs import load_run
from tests.builder.export.heads_case import hybrid_head, lora, probe, run_with
from tests.conftest import UPSTREAM


@pytest.fixture(scope="session")
def api_repository(tmp_path_factory):
    """With the tasks amount, which reads the feature bureau, churn, and loan, which has a network of its own."""
    folder = tmp_path_factory.mktemp("api")
    run = load_run(UPSTREAM / "bpe" / "run")
    amount = hybrid_head("amount", ("own:bureau",), run.network.config.dim)
    export_repository(run_with(folder / "run", "bpe", amount, probe(), lora()), folder / "repository")
    return folder / "repository"
