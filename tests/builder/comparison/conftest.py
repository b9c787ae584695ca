"""Runs with made-up heads, evaluated on made-up rows."""

import json

import msgspec
import numpy as np
import pytest

from pragmatiq_builder.heads.saved import EVALUATION_FILE
from pragmatiq_builder.metrics import Split, evaluate_scores
from pragmatiq_builder.metrics.files import rows_of
from pragmatiq_builder.metrics.rows import write_rows
from tests.builder.export.heads_case import probe, run_with

DAY = 86_400_000_000
N_ROWS = 400
START = 1_700_000_000_000_000


def evaluate_made_up(folder, strength, *, n_rows=N_ROWS, method="probe", seed=1):
    """Leave an evaluation and its rows in ``folder``: labels are the same for all, scores know them by ``strength``."""
    labels = (np.random.default_rng(0).random(N_ROWS) < 0.3)[:n_rows].astype(int)
    noise = np.random.default_rng(seed).normal(size=n_rows)
    scores = 1 / (1 + np.exp(1 - strength * labels - noise))
    users = np.array([f"u{row // 2}" for row in range(n_rows)])
    at = START + np.arange(n_rows) * DAY
    found = evaluate_scores(
        labels, users, {method: scores}, method, task=folder.name, kind="user", method=method, run="run",
        protocol="held-out users", train=Split(10, 5, 10), replicates=40,
    )  # fmt: skip
    file = folder / EVALUATION_FILE
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(found))
    columns = {"users": users, "at": at, "labels": labels, method: scores}
    write_rows(rows_of(file), "eval_ts", columns, {method: method})
    return labels, users, scores


@pytest.fixture
def made_up(tmp_path):
    """A function that makes a run ``name`` with a head of churn, evaluated if it has a ``strength``."""

    def make(name, strength=None, settings=None, metrics=(), **options):
        head = probe(settings={"method": "probe", "split": {"seed": 0}, **(settings or {})}, label_file="churn.parquet")
        run = run_with(tmp_path / name, "bpe", head)
        lines = "".join(json.dumps(line) + "\n" for line in metrics)
        (run.path / "metrics.jsonl").write_text(lines, encoding="utf-8")
        if strength is not None:
            evaluate_made_up(run.path / "heads" / "churn", strength, **options)
        return run.path

    return make
