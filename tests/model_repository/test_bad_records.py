"""Bad input gets a 400 that says where and what; it reaches nobody else and leaves the server whole."""

import asyncio
import json
import urllib.error
import urllib.request

import numpy as np
import pytest

from pragmatiq_client import AsyncScoringClient, InvalidRecordError
from tests.conftest import RECORDS, UPSTREAM
from tests.pragmatiq_triton.seals import seals_of, with_seals

pytestmark = pytest.mark.triton

NOW = 1_738_245_371_663_128
EVENT = {"ts": NOW, "source": "app", "fields": {}}
EXPECTED = "expected microseconds since the epoch from 1971-01-01 to 9999-12-31, got"


def record(**changes):
    return json.dumps({"events": [EVENT], **changes}).encode()


BAD_RECORDS = {
    "empty": (b"", "$", "JSON"),
    "not JSON": (b"hello", "$", "JSON"),
    "cut off": (record()[:-3], "$", "JSON"),
    "not UTF-8": (b'{"events": [], "user_id": "\xff\xfe"}', "$", "UTF-8"),
    "a list": (b"[]", "$", "expected object, got array"),
    "no events": (b"{}", "$", "events"),
    "misspelt": (record(atributes={}), "$", "atributes"),
    "text as time": (record(events=[{**EVENT, "ts": "yesterday"}]), "$.events[0].ts", "expected int, got str"),
    "negative time": (record(events=[EVENT, {**EVENT, "ts": -1}]), "$.events[1].ts", f"{EXPECTED} -1, which"),
    "seconds": (record(events=[EVENT, {**EVENT, "ts": NOW // 10**6}]), "$.events[1].ts", "it looks like seconds"),
    "milliseconds": (record(events=[{**EVENT, "ts": NOW // 1000}]), "$.events[0].ts", "it looks like milliseconds"),
    "nanoseconds": (record(events=[{**EVENT, "ts": NOW * 1000}]), "$.events[0].ts", "it looks like nanoseconds"),
    "moment in milliseconds": (record(as_of=NOW // 1000), "$.as_of", "it looks like milliseconds"),
    "past in seconds": (record(eval_ts=NOW // 10**6), "$.eval_ts", "it looks like seconds"),
    "moment in 1955": (record(as_of=-473_385_600_000_000), "$.as_of", "which would be 1955-01-01"),
    "milestone in milliseconds": (
        record(lifelong=[{"key": "born", "ts": -473_385_600_000}]),
        "$.lifelong[0].ts",
        "it looks like milliseconds",
    ),
    "source is a number": (record(events=[{**EVENT, "source": 7}]), "$.events[0].source", "expected str, got int"),
    "a list as value": (record(events=[{**EVENT, "fields": {"a": []}}]), "$.events[0].fields.a", "got array"),
    "too deep": (b'{"events": ' + b"[" * 200_000, "$.events[0]", "expected object, got array"),
    "too many events": (record(events=[EVENT] * 20_001), "$.events", "max_events"),
    "too long a string": (record(attributes={"a": "x" * 20_000}), "$.attributes.a", "max_string_bytes"),
    "too large": (record(user_id="x" * (17 << 20)), "$", "max_record_bytes"),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_bad_record_is_refused_with_its_place_and_the_next_one_is_answered(client, variant, name):
    raw, path, problem = BAD_RECORDS[name]
    with pytest.raises(InvalidRecordError) as caught:
        client.score_one(raw)
    error = caught.value
    assert (error.stage, error.row) == ("tokenizer", 0)
    assert error.path.startswith(path)
    assert problem in str(error)
    expected = np.load(UPSTREAM / variant / "embeddings.npy")[3]
    np.testing.assert_allclose(client.score_one(RECORDS[3]).embedding, expected, rtol=0, atol=1e-5)


def test_the_row_of_a_request_is_named(client):
    with pytest.raises(InvalidRecordError) as caught:
        client.score([RECORDS[0], RECORDS[1], record(as_of="now"), RECORDS[2]])
    assert (caught.value.row, caught.value.path) == (2, "$.as_of")


async def test_neighbours_in_a_dynamic_batch_are_answered(server, variant):
    expected = np.load(UPSTREAM / variant / "embeddings.npy")[1]
    client = AsyncScoringClient(server.grpc_url, timeout=60)
    try:
        sent = [RECORDS[1] if i % 3 else BAD_RECORDS["negative time"][0] for i in range(60)]
        answers = await asyncio.gather(*(client.score_one(raw) for raw in sent), return_exceptions=True)
    finally:
        await client.close()
    for i, answer in enumerate(answers):
        if i % 3:
            np.testing.assert_allclose(answer.embedding, expected, rtol=0, atol=1e-5)
        else:
            assert isinstance(answer, InvalidRecordError)


def test_plain_http_gets_400_and_the_message(server):
    body = {"inputs": [{"name": "record", "shape": [1, 1], "datatype": "BYTES", "data": ['{"events": 5}']}]}
    request = urllib.request.Request(f"http://{server.http_url}/v2/models/scoring/infer", json.dumps(body).encode())
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 400
    assert "tokenizer: row 0: $.events: expected array, got int" in json.load(caught.value)["error"]


def test_a_composing_model_called_with_nonsense_refuses_it(server, variant):
    """Callers may reach the scorer without the tokenizer; ids and counts that do not fit must not crash it."""
    import tritonclient.http as http

    good = {
        "tokens": np.full((1, 2, 4), 3, np.int32),
        "events": np.array([[[2, 0, 0, 0, 1]]], np.float32),
        "event_keys": np.zeros((1, 1, 2), np.uint64),
        "profile": np.zeros((1, 0, 3), np.int32),
        "profile_times": np.zeros((1, 0), np.float32),
    }
    good["tokens"][:, :, 3] = -1
    if variant == "embed":
        good["text_vectors"] = np.zeros((1, 0, 64), np.float32)
    bad = [
        {**good, "events": np.array([[[5, 0, 0, 0, 1]]], np.float32)},
        {**good, "tokens": np.full((1, 2, 4), 99_999, np.int32)},
        {**good, "tokens": np.full((1, 2, 4), -7, np.int32)},
        {**good, "events": np.full((1, 1, 5), np.nan, np.float32)},
        {**good, "events": np.array([[[1.5, 0, 0, 0, 1]]], np.float32)},
        {**good, "events": np.array([[[2, np.inf, 0, 0, 1]]], np.float32)},
        {**good, "profile": np.ones((1, 1, 3), np.int32), "profile_times": np.full((1, 1), np.nan, np.float32)},
    ]
    # What is kept under a key is not read again, so each comes under a key of its own.
    bad = [{**each, "event_keys": np.full((1, 1, 2), i + 1, np.uint64)} for i, each in enumerate(bad)]
    bad.append({**good, "event_keys": np.zeros((1, 0, 2), np.uint64)})
    with http.InferenceServerClient(server.http_url) as client:
        seals = seals_of(server)
        assert infer(client, with_seals(seals, good)).as_numpy("embedding").shape == (1, 64)
        for arrays in bad:
            with pytest.raises(http.InferenceServerException, match=r"scorer: (?!internal|these tensors)"):
                infer(client, with_seals(seals, arrays))
        assert np.isfinite(infer(client, with_seals(seals, good)).as_numpy("embedding")).all()


def infer(client, arrays):
    import tritonclient.http as http
    from tritonclient.utils import np_to_triton_dtype

    inputs = []
    for name, array in arrays.items():
        inputs.append(http.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array)
    return client.infer("scorer", inputs)
