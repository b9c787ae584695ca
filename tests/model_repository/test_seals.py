"""Whoever reaches an inner model can poison nothing: what the tokenizer did not seal is refused and counted."""

import re
import time
import urllib.request

import numpy as np
import pytest
import tritonclient.http as http
from tritonclient.utils import np_to_triton_dtype

from pragmatiq_client import ScoringClient
from tests.conftest import RECORDS

pytestmark = pytest.mark.triton


@pytest.fixture
def triton(server):
    with http.InferenceServerClient(server.http_url) as connected:
        yield connected


def infer(client, model, arrays):
    inputs = [http.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)) for name, array in arrays.items()]
    for tensor, array in zip(inputs, arrays.values(), strict=True):
        tensor.set_data_from_numpy(array)
    return client.infer(model, inputs)


def read(client, model, arrays):
    answer = infer(client, model, arrays)
    return {output["name"]: answer.as_numpy(output["name"]) for output in answer.get_response()["outputs"]}


@pytest.fixture
def handed_on(triton):
    """What the tokenizer hands on for a record, seal and all."""

    def make(record):
        return read(triton, "tokenizer", {"record": np.array([[record]], object)})

    return make


@pytest.fixture
def whole(triton, handed_on, variant):
    """What the scorer gets of a record."""

    def make(record):
        tokens = handed_on(record)
        if variant == "embed":
            texts = {name: tokens[name] for name in ("texts", "text_offsets", "seal")}
            tokens |= read(triton, "text_embedder", texts)
        return {name: array for name, array in tokens.items() if name not in ("texts", "text_offsets")}

    return make


def counted(server, model):
    with urllib.request.urlopen(server.metrics_url) as page:
        pattern = rf'pragmatiq_requests_total\{{model="{model}",outcome="unsealed".*?\}} (\S+)'
        return sum(float(value) for value in re.findall(pattern, page.read().decode()))


def test_the_scorer_refuses_what_is_not_sealed_and_scores_the_others(server, triton, whole):
    sealed = whole(RECORDS[0])
    with ScoringClient(server.grpc_url) as client:
        expected = client.score_one(RECORDS[0])
        np.testing.assert_allclose(read(triton, "scorer", sealed)["embedding"][0], expected.embedding, atol=1e-6)
        poisoned = {**sealed, "events": sealed["events"] + np.float32(1)}
        other = whole(RECORDS[1])
        before = counted(server, "scorer")
        unsealed = {name: array for name, array in sealed.items() if "seal" not in name}
        for arrays in (poisoned, unsealed, {**sealed, "event_keys": sealed["event_keys"] + np.uint64(1)},
                       {**sealed, "seal": other["seal"]}, {**sealed, "seal": sealed["seal"] ^ 1}):  # fmt: skip
            with pytest.raises(http.InferenceServerException, match="scorer: these tensors are not what the tokenizer"):
                infer(triton, "scorer", arrays)
        give_up = time.monotonic() + 20
        while counted(server, "scorer") < before + 5 and time.monotonic() < give_up:
            time.sleep(0.1)
        assert counted(server, "scorer") == before + 5
        np.testing.assert_array_equal(client.score_one(RECORDS[0]).embedding, expected.embedding)


def test_the_text_embedder_refuses_what_is_not_sealed(server, triton, handed_on, variant):
    if variant == "bpe":
        pytest.skip("a BPE repository has no text embedder")
    whole = {name: array for name, array in handed_on(RECORDS[0]).items() if name in ("texts", "text_offsets", "seal")}
    assert read(triton, "text_embedder", whole)["vectors_seal"].shape == (1, 16)
    other = whole["texts"].copy()
    other[0, 0] ^= 1
    for arrays in ({**whole, "texts": other}, {name: whole[name] for name in ("texts", "text_offsets")}):
        with pytest.raises(http.InferenceServerException, match="text_embedder: these tensors are not what"):
            infer(triton, "text_embedder", arrays)


def test_one_that_is_not_sealed_takes_no_other_of_its_dynamic_batch_along(server, whole):
    good = whole(RECORDS[0])
    bad = {name: array for name, array in good.items() if "seal" not in name}
    requests = []
    for arrays in [good, bad] * 8:
        inputs = [http.InferInput(name, each.shape, np_to_triton_dtype(each.dtype)) for name, each in arrays.items()]
        for tensor, array in zip(inputs, arrays.values(), strict=True):
            tensor.set_data_from_numpy(array)
        requests.append(inputs)
    with http.InferenceServerClient(server.http_url, concurrency=16) as client:
        answers = [client.async_infer("scorer", inputs) for inputs in requests]
        for number, answer in enumerate(answers):
            if number % 2:
                with pytest.raises(http.InferenceServerException, match="these tensors are not"):
                    answer.get_result()
            else:
                assert np.isfinite(answer.get_result().as_numpy("embedding")).all()
