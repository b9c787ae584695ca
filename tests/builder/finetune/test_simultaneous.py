"""What happens in the microsecond of a labelled event cannot be told from what heads read of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.finetune.inputs import head_inputs
from pragmatiq_builder.finetune.labels import read_labels
from pragmatiq_builder.finetune.row_batches import RowBatches
from pragmatiq_triton.tokenizer import TokenizerConfig
from tests.builder.dataset.conftest import EVENTS
from tests.builder.finetune.customers import START, exported_once, make_network

CONFIG = TokenizerConfig(numeric_min_cardinality=10)
N_USERS, N_EVENTS = 12, 9
Row = tuple[str, int, str, dict[str, str], str]


def payments() -> list[Row]:
    rng = np.random.default_rng(0)
    return [
        (f"u{user}", START + int(i) * 10**9 + user, "card", {"amount": str(rng.integers(1, 500))}, f"e{user}-{i}")
        for user in range(N_USERS)
        for i in range(N_EVENTS)
    ]


def write(folder: Path, rows: Sequence[Row], with_ids: bool = True) -> Path:
    folder.mkdir()
    events = [{"user_id": u, "ts": ts, "source": s, "fields": list(f.items())} for u, ts, s, f, _ in rows]
    table = pa.Table.from_pylist(events, EVENTS)
    ids = pa.array([each[-1] for each in rows], pa.string())
    pq.write_table(table.append_column("event_id", ids) if with_ids else table, folder / "events.parquet")
    return folder


def write_labels(path: Path, rows: Sequence[Row], with_ids: bool) -> Path:
    """Every user's last payment is labelled, half of them 1."""
    chosen = [(row, i % 2) for i, row in enumerate(rows[8::9])]
    columns = {
        "user_id": [row[0] for row, _ in chosen],
        "ts": pa.array([row[1] for row, _ in chosen], pa.timestamp("us")),
        "label": [label for _, label in chosen],
    }
    pq.write_table(pa.table(columns | ({"event_id": [row[-1] for row, _ in chosen]} if with_ids else {})), path)
    return path


@pytest.mark.parametrize("where", ["before", "after", "both"])
@pytest.mark.parametrize("with_ids", [True, False])
def test_a_block_in_the_moment_of_the_fraud_changes_nothing(tmp_path: Path, where: str, with_ids: bool) -> None:
    plain = payments()
    labels = write_labels(tmp_path / "fraud.parquet", plain, with_ids)
    blocks = [(*row[:2], "card_blocked", {"reason": "fraud"}, f"block-{row[-1]}") for row in plain[8::9][1::2]]
    # One block long before keeps its words in the vocabulary of both.
    early: Row = ("u0", START - 10**9, "card_blocked", {"reason": "fraud"}, "early")
    base = sorted([early, *plain], key=lambda row: row[:2])
    leaky = sorted([*(blocks if where != "after" else []), *base, *(blocks if where != "before" else [])],
                   key=lambda row: row[:2])  # fmt: skip
    found = []
    for name, rows in (("base", base), ("leaky", leaky)):
        write(tmp_path / name, rows, with_ids)
        out = tmp_path / f"{name}-tok"
        tokenizer = tmp_path / "base-tok" / "tokenizer" if name == "leaky" else None
        tokenize(tmp_path / name, out, CONFIG, tokenizer_dir=tokenizer)
        data = TokenizedDataset(out)
        rows_read = read_labels(labels, data)
        with exported_once(make_network(data)) as scorer:
            inputs = head_inputs(data, rows_read, scorer)
        batches = RowBatches(data, rows_read, np.zeros((len(rows_read.at), 0), np.float32), token_budget=10**6,
                             max_events=4)  # fmt: skip
        batch = batches.batch(batches.group(np.arange(len(rows_read.at))))
        found.append((rows_read, inputs, batch))
    (before, before_inputs, before_batch), (after, after_inputs, after_batch) = found
    for name in ("features", "counts"):
        np.testing.assert_array_equal(getattr(before_inputs, name), getattr(after_inputs, name), err_msg=name)
    for name in ("event_state", "user_embedding"):
        # Which events are encoded together may move a vector by rounding.
        expected = getattr(before_inputs, name)
        np.testing.assert_allclose(getattr(after_inputs, name), expected, rtol=0, atol=1e-6, err_msg=name)
    assert before_batch.n_tokens == after_batch.n_tokens
    assert before_batch.event_index.tolist() == after_batch.event_index.tolist()
    assert before.cautions == []
    left_out = after.cautions[-1]
    n = len(blocks) * (2 if where == "both" else 1)
    assert left_out.startswith(f"{len(blocks)} of {len(before.at)} labelled events have others in the same microsecond")
    assert f"{n} of 'card_blocked' ({n} of them at rows labelled 1)" in left_out
    assert len(after.cautions) == (1 if with_ids else 2)
