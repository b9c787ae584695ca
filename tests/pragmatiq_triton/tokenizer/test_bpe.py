"""Texts are cut before BPE, so that a long one costs little, and no text of words is read otherwise for it."""

import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from pragmatiq_triton.records import Event
from pragmatiq_triton.tokenizer import Tokenizer
from pragmatiq_triton.tokenizer.bpe import LONGEST_WORD, BpeEncoder
from tests.conftest import UPSTREAM

BPE_JSON = (UPSTREAM / "bpe" / "run" / "tokenizer" / "bpe.json").read_text(encoding="utf-8")
WHOLE = tokenizers.Tokenizer.from_str(BPE_JSON)
LONGEST_PIECES = sorted(json.loads(BPE_JSON)["model"]["vocab"], key=len)[-3:]
MOST = 24


@pytest.fixture
def encoder():
    return BpeEncoder(BPE_JSON, lowercase=False)


class Watched:
    """In place of the BPE model: notes what it is given."""

    def __init__(self, inner):
        self.inner = inner
        self.given = []

    def encode_batch_fast(self, texts, **options):
        self.given += texts
        return self.inner.encode_batch_fast(texts, **options)


# Letters, digits, signs, contractions, spaces of every kind, and the longest pieces there are, back to back.
chunks = st.sampled_from(
    [
        *(
            "SUPERSTORE",
            " SUPERSTORE",
            "tesco",
            " ",
            "  ",
            "\n\n",
            "\t ",
            "'ll",
            "'l",
            "'",
            "we're",
            "1234567890",
            "--",
        ),
        *("é", "日本", "🍕", "ß", "e\u0301", "\u00a0", "\u3000", "x" * 60, "9" * 60, "-" * 60, " " * 40, "Ab"),
        *(piece.replace("Ġ", " ") for piece in LONGEST_PIECES),
    ]
)


@given(st.lists(chunks, min_size=1, max_size=12), st.integers(1, 60), st.sampled_from([1, 3, 24, 201]))
def test_the_pieces_that_can_be_used_are_those_of_the_whole_text(parts, times, most):
    # A space ends each round, so that no word is longer than a word may be.
    text = ("".join(parts)[:LONGEST_WORD] + " .") * times
    encoder = BpeEncoder(BPE_JSON, lowercase=False)
    ids, offsets, unread = encoder([text], most)
    whole = WHOLE.encode(text, add_special_tokens=False).ids
    assert ids[:most].tolist() == whole[:most]
    assert unread.tolist() == [max(0, len(text) - encoder.reach(most))]
    if not unread[0]:
        assert ids.tolist() == whole
    assert offsets.tolist() == [0, len(ids)]


def test_a_text_of_its_longest_pieces_alone_is_read_far_enough(encoder):
    for piece in LONGEST_PIECES:
        text = piece.replace("Ġ", " ") * 200
        ids, _, unread = encoder([text], MOST)
        assert unread[0] > 0
        assert ids[:MOST].tolist() == WHOLE.encode(text, add_special_tokens=False).ids[:MOST]


def test_a_long_word_is_read_to_the_same_place_whatever_was_asked_before(encoder):
    text = "x" * 16_000
    first = encoder([text], MOST)[0].tolist()
    encoder([text], 201)
    encoder([text[: encoder.reach(MOST)]], 201)
    again, _, unread = encoder([text], MOST)
    assert again.tolist() == first == WHOLE.encode(text[: encoder.reach(MOST)], add_special_tokens=False).ids
    assert unread.tolist() == [16_000 - encoder.reach(MOST)]


def test_a_thousand_long_strings_give_bpe_a_bounded_number_of_characters(encoder):
    encoder._tokenizer = watched = Watched(encoder._tokenizer)
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(97, 123, 16_000))) for _ in range(100)]
    encoder(texts, MOST)
    assert sum(map(len, watched.given)) == 100 * encoder.reach(MOST) < 100 * 1_000


def test_the_cache_keeps_to_its_bytes_and_texts_come_out_the_same(encoder):
    encoder.cache.max_bytes = 20_000
    encoder._tokenizer = watched = Watched(encoder._tokenizer)
    for _ in range(2):
        for i in range(0, 300, 3):
            texts = [f"SHOP {i} {'x' * i}", f"SHOP {i + 1}", f"SHOP {i}", "TESCO"]
            ids, offsets, _ = encoder(texts, MOST)
            parts = np.split(ids, offsets[1:-1])
            assert [part.tolist() for part in parts] == [WHOLE.encode(text).ids for text in texts]
            assert encoder.cache.n_bytes <= 20_000
    assert encoder.cache.evictions > 0
    assert watched.given.count("TESCO") == 1


def test_case_is_folded_before_the_cut():
    encoder = BpeEncoder(BPE_JSON, lowercase=True)
    text = "İSTANBUL ΣΑΣ " * 200
    assert encoder([text], MOST)[0][:MOST].tolist() == WHOLE.encode(text.lower()).ids[:MOST]


def test_an_events_tokens_are_those_of_whole_texts_and_what_is_not_read_is_counted():
    tokenizer = Tokenizer.load(UPSTREAM / "bpe" / "run" / "tokenizer")
    text = "CARD PAYMENT TO SUPERSTORE " * 500
    event = Event(1, "transaction", {"merchant": text, "amount": "1.00"})
    encoded = tokenizer.encode_events([event])
    assert encoded.unread.tolist() == [len(text) - tokenizer.vocabulary.bpe.reach(24)]
    values = [token - tokenizer.vocabulary.state["bpe_offset"] for token in encoded.tokens[1:, 1].tolist()]
    assert values == WHOLE.encode(text).ids[:23]
