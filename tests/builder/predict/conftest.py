import json

import pytest

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.runs import load_run
from pragmatiq_builder.synth import generate
from tests.builder.export.heads_case import all_features, hybrid_head, lora, probe, run_with
from tests.conftest import UPSTREAM


@pytest.fixture(scope="session")
def with_heads(tmp_path_factory):
    """A repository with two heads on the plain network and one with adapters."""
    folder = tmp_path_factory.mktemp("predict")
    features = all_features(load_run(UPSTREAM / "bpe" / "run"))
    export_repository(
        run_with(folder / "run", "bpe", probe(), hybrid_head("amount", features), lora()), folder / "repo"
    )
    return folder / "repo"


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The raw data of 40 customers, with labels."""
    data = tmp_path_factory.mktemp("book") / "synth"
    generate(data, 40, seed=7)
    return data


@pytest.fixture
def write_lines(tmp_path):
    def write(*records):
        file = tmp_path / "records.jsonl"
        file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
        return file

    return write
