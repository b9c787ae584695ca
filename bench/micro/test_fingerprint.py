"""Tokenized events become the keys that their vectors are kept under."""

from itertools import islice, pairwise, starmap

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pragmatiq_triton.batch import Token, cu_seqlens
from pragmatiq_triton.cache.fingerprints import FINGERPRINT_BYTES, Fingerprints
from pragmatiq_triton.records import Record
from pragmatiq_triton.tokenizer import Tokenizer

Content = tuple[bytes, list[str]]


@pytest.fixture(scope="module")
def contents(tokenizer: Tokenizer, record: Record) -> list[Content]:
    """Each event's tokens and strings."""
    encoded = tokenizer.encode_events(record.events)
    strings = iter(encoded.strings)
    events = [encoded.tokens[a:b] for a, b in pairwise(cu_seqlens(encoded.lengths))]
    return [(tokens.tobytes(), [*islice(strings, int((tokens[:, Token.TEXT] >= 0).sum()))]) for tokens in events]


@pytest.mark.benchmark(group="fingerprint: the events of a history")
def test_history(benchmark: BenchmarkFixture, fingerprints: Fingerprints, contents: list[Content]) -> None:
    keys = benchmark(lambda: [*starmap(fingerprints, contents)])
    distinct = {(tokens, *strings): key for (tokens, strings), key in zip(contents, keys, strict=True)}
    assert len(set(keys)) == len(distinct) == len(set(distinct.values()))


@pytest.mark.benchmark(group="fingerprint: one event, by the length of its text")
@pytest.mark.parametrize("n_bytes", [16, 256, 16_384], ids="bytes={}".format)
def test_event(benchmark: BenchmarkFixture, fingerprints: Fingerprints, n_bytes: int) -> None:
    tokens, text = bytes(144), "x" * n_bytes
    key = benchmark(fingerprints, tokens, [text])
    assert len(key) == FINGERPRINT_BYTES
    assert key != fingerprints(tokens, [text[1:]])
