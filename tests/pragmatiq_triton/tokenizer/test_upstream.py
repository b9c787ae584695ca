"""Every record that the upstream toolkit encoded comes out with the same numbers, in both text modes."""

import json
from pathlib import Path

import numpy as np
import pytest

from pragmatiq_triton.batch import Event, Token
from pragmatiq_triton.records import decode_record
from pragmatiq_triton.tokenizer import Tokenizer

UPSTREAM = Path(__file__).parents[2] / "data" / "upstream"
RECORDS = (UPSTREAM / "records.jsonl").read_bytes().splitlines()


@pytest.fixture(scope="module", params=["bpe", "embed"])
def variant(request):
    folder = UPSTREAM / request.param
    return request.param, Tokenizer.load(folder / "run" / "tokenizer"), np.load(folder / "tokens.npz")


@pytest.mark.parametrize("row", range(len(RECORDS)))
def test_record_encodes_as_upstream(variant, row):
    name, tokenizer, expected = variant
    record = decode_record(RECORDS[row])
    encoded, features = tokenizer.encode(record), tokenizer(record)
    want = {key: expected[f"{row}/{key}"] for key in (
        "key_ids", "value_ids", "positions", "event_offsets", "event_ts", "time_log", "hour", "dow", "dom", "is_text",
        "prof_key_ids", "prof_value_ids", "prof_positions", "prof_time_log",
    )}  # fmt: skip

    np.testing.assert_array_equal(features.tokens[:, Token.KEY], want["key_ids"])
    np.testing.assert_array_equal(features.tokens[:, Token.VALUE], want["value_ids"])
    np.testing.assert_array_equal(features.tokens[:, Token.POSITION], want["positions"])
    np.testing.assert_array_equal(features.tokens[:, Token.TEXT] >= 0, want["is_text"].astype(bool))
    np.testing.assert_array_equal(features.events[:, Event.TOKENS], np.diff(want["event_offsets"]))
    np.testing.assert_array_equal(encoded.event_ts, want["event_ts"])
    np.testing.assert_allclose(features.events[:, Event.LOG_SECONDS], want["time_log"], rtol=0, atol=1e-5)
    for column, calendar in ((Event.HOUR, "hour"), (Event.DAY_OF_WEEK, "dow"), (Event.DAY_OF_MONTH, "dom")):
        np.testing.assert_array_equal(features.events[:, column], want[calendar])
    np.testing.assert_array_equal(features.profile[:, Token.KEY], want["prof_key_ids"])
    np.testing.assert_array_equal(features.profile[:, Token.VALUE], want["prof_value_ids"])
    np.testing.assert_array_equal(features.profile[:, Token.POSITION], want["prof_positions"])
    np.testing.assert_allclose(features.profile_times, want["prof_time_log"], rtol=0, atol=1e-5)
    if name == "embed":
        carried = [features.texts[i] for i in features.tokens[:, Token.TEXT] if i >= 0]
        assert carried == json.loads(str(expected[f"{row}/text_values"]))
