"""Flat tables as data frames write them: each of the usual ways is read as what it means, or refused in one line."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.raw.validation import validate
from pragmatiq_triton.errors import DataError
from pragmatiq_triton.tokenizer import TokenizerConfig

FIELDS = pa.map_(pa.string(), pa.string())
START_MS = 1_600_000_000_000
ARRAYS = ("tokens", "numbers", "token_cu_seqlens", "event_ts", "event_cu_seqlens", "profile", "item_ts")


def cards(rng, i):
    amount = None if i % 9 == 0 else rng.randrange(1, 90_000) / 100
    return {"amount": amount, "mcc": rng.choice([5411, 5812, None]), "merchant": f"SHOP {rng.randrange(40)}"}


def loans(rng, i):
    event = rng.choice(["due", "repaid"])
    paid = 250.0 * rng.randrange(1, 5) if event == "repaid" else None
    return {"size": rng.choice([10_000, 20_000, 50_000]), "term": 15 if i % 2 else None, "event": event, "paid": paid}


def app(rng, i):
    return {
        "screen": rng.choice(["home", "cards", None]),
        "new": rng.choice([True, False, None]),
        "steps": rng.randrange(9),
    }


FLAT = {"cards": cards, "loans": loans, "app": app}


@pytest.fixture(params=FLAT)
def flat(request):
    """Rows of one flat table: user, milliseconds, and columns of which some are empty."""
    rng = random.Random(request.param)
    rows = [(1000 + i // 30, START_MS + 60_000 * i, FLAT[request.param](rng, i)) for i in range(240)]
    columns = list(rows[0][2])
    # A pandas column of numbers with a gap is one of floats; one of words or of truth values keeps its objects.
    kinds = {name: {type(row[2][name]) for row in rows} for name in columns}
    floats = {name for name, found in kinds.items() if type(None) in found and not found & {str, bool}}
    return rows, columns, floats


def as_float(name, value, floats):
    """What a cell of a pandas data frame holds."""
    if name not in floats:
        return value
    return float("nan") if value is None else float(value)


def write(folder, rows, fields, users=str, ts=None):
    """Write the raw contract with columns made by ``users`` and ``fields``, and times of milliseconds or ``ts``."""
    folder.mkdir()
    columns = {
        "user_id": pa.array([users(user) for user, _, _ in rows]),
        "ts": pa.array([ms for _, ms, _ in rows], pa.timestamp("ms")) if ts is None else ts,
        "source": pa.array(["row"] * len(rows)),
        "fields": fields,
    }
    pq.write_table(pa.table(columns), folder / "events.parquet")
    return folder


def mended(rows):
    """Every mistake mended: text without gaps, numbers as plain numbers."""
    spelled = [[(name, str(value)) for name, value in fields.items() if value is not None] for _, _, fields in rows]
    return pa.array(spelled, FIELDS)


def tokenized(folder):
    tokenize(folder, folder / "tok", TokenizerConfig(n_buckets=8, categorical_threshold=20, target_vocab=900))
    dataset = TokenizedDataset(folder / "tok")
    return dataset.tokenizer_hash, dataset.user_ids, {name: np.load(folder / "tok" / f"{name}.npy") for name in ARRAYS}


def test_every_readable_way_gives_the_same_tokens(flat, tmp_path):
    rows, _, floats = flat
    expected = tokenized(write(tmp_path / "mended", rows, mended(rows)))
    cells = [{name: as_float(name, value, floats) for name, value in fields.items()} for _, _, fields in rows]
    ways = {
        "records": write(tmp_path / "records", rows, pa.array([fields for _, _, fields in rows])),
        "floats": write(tmp_path / "floats", rows, pa.array(cells)),
        "astype": write(
            tmp_path / "astype", rows, pa.array([[(k, str(v)) for k, v in cell.items()] for cell in cells], FIELDS)
        ),
        "arrow": write(
            tmp_path / "arrow",
            rows,
            pa.array(
                [[(k, str(v).lower() if isinstance(v, bool) else str(v)) for k, v in c.items()] for c in cells], FIELDS
            ),
        ),
        "int ids": write(tmp_path / "ids", rows, mended(rows), users=int),
        "microseconds": write(
            tmp_path / "us", rows, mended(rows), ts=pa.array([1000 * ms for _, ms, _ in rows], pa.timestamp("us"))
        ),
    }
    for way, folder in ways.items():
        report = validate(folder)
        assert report.ok, (way, report.errors)
        tokenizer, users, arrays = tokenized(folder)
        assert (tokenizer, users) == expected[:2], way
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, expected[2][name], f"{way}: {name}")


def test_text_made_of_gaps_is_told(flat, tmp_path):
    rows, _, floats = flat
    cells = [{name: str(as_float(name, value, floats)) for name, value in fields.items()} for _, _, fields in rows]
    folder = write(tmp_path / "astype", rows, pa.array([list(cell.items()) for cell in cells], FIELDS))
    (finding,) = validate(folder).warnings
    assert "spell a missing one" in finding.what
    assert "missing_values" in finding.what


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("milliseconds as numbers", ["ts", "timestamp"]),
        ("milliseconds read as microseconds", ["ts", "milliseconds"]),
        ("float ids", ["user_id", "Int64"]),
    ],
)
def test_what_would_be_a_guess_is_one_line_that_says_what_to_change(flat, tmp_path, mistake, words):
    rows, _, _ = flat
    times = [ms for _, ms, _ in rows]
    options = {
        "milliseconds as numbers": {"ts": pa.array(times, pa.int64())},
        "milliseconds read as microseconds": {"ts": pa.array(times, pa.timestamp("us"))},
        "float ids": {"users": float},
    }[mistake]
    folder = write(tmp_path / "wrong", rows, mended(rows), **options)
    with pytest.raises(DataError) as raised:
        tokenized(folder)
    assert all(word in str(raised.value) for word in words), raised.value
    assert "\n" not in str(raised.value)
    assert not validate(folder).ok


def test_ids_that_were_floats_are_told(flat, tmp_path):
    rows, _, _ = flat
    folder = write(tmp_path / "ids", rows, mended(rows), users=lambda user: str(float(user)))
    (finding,) = validate(folder).warnings
    assert "user_id ends in '.0'" in finding.what
