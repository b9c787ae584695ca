"""What the server answers for a customer at a moment is what was calibrated and evaluated for that row."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.finetune.encoding import encode_rows
from pragmatiq_builder.finetune.finetune import finetune
from pragmatiq_builder.finetune.fitting import score
from pragmatiq_builder.finetune.labels import read_labels
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.progress import Silent
from pragmatiq_builder.raw.records import read_records
from pragmatiq_builder.runs import load_run
from pragmatiq_builder.synth import generate
from pragmatiq_builder.training import load_settings, pretrain
from pragmatiq_client import ScoringClient
from pragmatiq_triton.server import TritonServer
from pragmatiq_triton.tokenizer import TokenizerConfig

BIRMINGHAM = Path(__file__).parents[1] / "data" / "birmingham"
HASH = {"text_value_mode": "embed", "text_encoder": "hash", "text_encoder_dim": 16}
USERS = {"fraud": 180, "default_12m": 440}
PLANTED = {"source": "planted", "fields": {"amount": "1000000", "merchant": "from the future"}}


def raw_data(task, tmp_path):
    if task == "inactive_180d":
        return BIRMINGHAM
    generate(tmp_path / "synth", USERS[task], seed=3)
    return tmp_path / "synth"


def request(record, kind, at):
    """The row as a caller would send it: a forecast with its moment and later events, an event as the newest."""
    if kind == "user":
        return {**record, "events": [*record["events"], {"ts": at, **PLANTED}], "eval_ts": at}
    return {**record, "events": [event for event in record["events"] if event["ts"] <= at], "as_of": at,
            "lifelong": [item for item in record["lifelong"] if item["ts"] <= at]}  # fmt: skip


@pytest.mark.triton
@pytest.mark.parametrize(
    ("task", "method", "pairs"),
    [
        ("inactive_180d", "hybrid", 1000),
        ("fraud", "probe", 100),
        pytest.param("fraud", "hybrid", 1000, marks=pytest.mark.slow),
        pytest.param("default_12m", "hybrid", 1000, marks=pytest.mark.slow),
    ],
)
def test_served_probabilities_are_the_offline_ones(task, method, pairs, tmp_path):
    raw = raw_data(task, tmp_path)
    label_file = raw / "labels" / f"{task}.parquet"
    tokenize(raw, tmp_path / "tok", TokenizerConfig.from_settings(HASH if task != "fraud" else {}))
    data = TokenizedDataset(tmp_path / "tok")
    settings = load_settings(None, {"model_size": "nano", "max_steps": 3, "token_budget": 4096})
    run = load_run(pretrain(data, settings, tmp_path / "runs", "served"))
    head = finetune(run, data, label_file, task, FinetuneSettings(method=method, classifier="logistic"))
    export_repository(run, tmp_path / "repository")

    rows = read_labels(label_file, data)
    chosen = np.random.default_rng(0).permutation(len(rows.labels))[:pairs]
    assert len(chosen) == pairs
    kept = run.path / "heads" / task / "inputs.npz"
    inputs = encode_rows(run.network, data, rows, max_events=None, kept=kept, progress=Silent())
    expected = score(head, inputs.rows(chosen))
    records = {record["user_id"]: record for record in read_records(raw)}
    with (
        TritonServer(tmp_path / "repository", http_port=0, grpc_port=0, metrics_port=0) as server,
        ScoringClient(server.grpc_url, protocol="grpc", timeout=120) as client,
    ):
        bodies = [
            msgspec.json.encode(request(records[data.user_ids[rows.users[row]]], rows.kind, int(rows.at[row])))
            for row in chosen
        ]
        served = [client.score_one(body).scores[task] for body in bodies]
    np.testing.assert_allclose(served, expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 1e-3
