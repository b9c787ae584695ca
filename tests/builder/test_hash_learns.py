"""The embed line with the hash encoder learns: from raw parquet to a reconstruction error on users it never saw."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.metrics_file import MetricsFile
from pragmatiq_builder.training import load_settings, pretrain
from pragmatiq_triton.tokenizer import TokenizerConfig
from tests.builder.dataset.conftest import EVENTS

N_SHOPS = 12


def write_payments(folder, n_users=120, n_events=20):
    """Payments whose merchant string is given by the category code of the same payment."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "user_id": f"u{user:03}",
            "ts": 1_700_000_000_000_000 + event * 3_600_000_000,
            "source": "transaction",
            "fields": [("mcc", str(5000 + shop)), ("merchant", f"SHOP {shop} LTD"), ("country", "GB")],
        }
        for user in range(n_users)
        for event, shop in enumerate(rng.integers(0, N_SHOPS, n_events))
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, EVENTS), folder / "events.parquet")
    return folder


def test_held_out_text_error_falls_below_the_variance_of_the_vectors(tmp_path):
    config = TokenizerConfig(
        text_value_mode="embed", text_encoder="hash", text_encoder_dim=16, categorical_threshold=N_SHOPS - 1,
        force_categorical=["mcc"],
    )  # fmt: skip
    tokenize(write_payments(tmp_path / "raw"), tmp_path / "tok", config)
    dataset = TokenizedDataset(tmp_path / "tok")
    assert dataset.vocabulary.kind("merchant") == "text"
    settings = {
        "model_size": "nano", "max_steps": 200, "token_budget": 2_000, "warmup_steps": 10, "held_out": 0.2,
        "validate_every": 200, "accelerator": "cpu", "dropout": 0.0, "lr_muon": 0.005, "lr_adamw": 0.005,
    }  # fmt: skip
    run = pretrain(dataset, load_settings(overrides=settings), tmp_path / "runs", "learns")
    told = MetricsFile(run / "metrics.jsonl").last()
    variance = float(np.var(dataset.texts.vectors(np.arange(N_SHOPS))))
    assert 0.5 < variance < 1.5
    assert told["val_mse"] < 0.7 * variance
