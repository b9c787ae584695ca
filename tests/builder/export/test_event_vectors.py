"""Event vectors that were kept are used only where nothing that they depend on has changed."""

import copy
import dataclasses

import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from pragmatiq_builder.export.event_vectors import event_vectors_hash
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.runs import load_run
from tests.builder.export.heads_case import lora, probe, run_with
from tests.conftest import UPSTREAM

READ = [
    "scorer/event_encoder.onnx",
    "scorer/event_encoder.onnx.data",
    "scorer/text_projection.onnx",
    "scorer/text_projection.onnx.data",
    "scorer/token_embedding.npy",
    "text_embedder/text_encoder.json",
    "text_embedder/table/vectors.npy",
    "text_embedder/text_model/model.py",
]
OTHERS = ["scorer/model.py", "scorer/history_encoder.onnx.data", "scorer/heads.onnx", "text_embedder/model.py"]


@pytest.mark.parametrize(("name", "counts"), [*((name, True) for name in READ), *((name, False) for name in OTHERS)])
def test_files_that_vectors_depend_on_count(tmp_path, name, counts):
    for each in (*READ, *OTHERS):
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).write_text(each, encoding="utf-8")
    folders = tmp_path / "scorer", tmp_path / "text_embedder"
    before = event_vectors_hash(*folders)
    (tmp_path / name).write_text("changed", encoding="utf-8")
    assert (event_vectors_hash(*folders) != before) == counts


def stated(repository, scorer="scorer"):
    config = text_format.Parse((repository / scorer / "config.pbtxt").read_text(encoding="utf-8"), ModelConfig())
    return config.parameters["event_vectors"].string_value


@pytest.mark.parametrize(("part", "counts"), [("event", True), ("history", False)])
def test_a_change_of_the_network_counts_where_it_reaches_the_events(tmp_path, part, counts):
    run = load_run(UPSTREAM / "bpe" / "run")
    export_repository(run, tmp_path / "before")
    network = copy.deepcopy(run.network)
    changed = [weights for name, weights in network.named_parameters() if part in name.partition(".")[0]]
    assert changed
    with torch.no_grad():
        for weights in changed:
            weights += 0.01
    export_repository(dataclasses.replace(run, network=network), tmp_path / "after")
    assert len(stated(tmp_path / "before")) == 64
    assert (stated(tmp_path / "before") != stated(tmp_path / "after")) == counts


def test_each_network_of_a_repository_states_its_own(tmp_path):
    run = run_with(tmp_path / "run", "bpe", probe(), lora())
    export_repository(run, tmp_path / "with")
    export_repository(load_run(UPSTREAM / "bpe" / "run"), tmp_path / "without")
    assert stated(tmp_path / "with") == stated(tmp_path / "without"), "heads do not count"
    assert stated(tmp_path / "with", "scorer_loan") != stated(tmp_path / "with"), "adapters in the event encoder do"
