"""The stages without a server: what each answers, and that a bad request does not touch its neighbours."""

from queue import SimpleQueue

import numpy as np
import pytest

from pragmatiq_triton.batch import cu_seqlens
from pragmatiq_triton.drain import DRAIN_FILE_VARIABLE, Drain
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError, NotFiniteError
from pragmatiq_triton.serving.embedding import TextEmbedderStage
from pragmatiq_triton.serving.parameters import ScorerParameters, read_parameters
from pragmatiq_triton.serving.scoring import ScorerStage
from pragmatiq_triton.serving.tokenizing import TokenizerStage
from tests.conftest import RECORDS, UPSTREAM

STAGES = {"tokenizer": TokenizerStage, "text_embedder": TextEmbedderStage, "scorer": ScorerStage}


def request(*raws):
    return {"record": np.array(raws, object).reshape(-1, 1)}


@pytest.fixture(scope="module")
def line(repository, variant):
    """The stages chained as the ensemble chains them."""
    tokenizer = TokenizerStage.load(repository / "tokenizer" / "1", {})
    embedder = TextEmbedderStage.load(repository / "text_embedder" / "1", {}) if variant == "embed" else None
    scorer = ScorerStage.load(repository / "scorer" / "1", {"threads": "1"})

    def score(requests):
        arrays = tokenizer(requests)
        if embedder:
            arrays = [{**a, **b} for a, b in zip(arrays, embedder(arrays), strict=True)]
        return scorer(arrays)

    return score


def test_the_chain_gives_upstream_embeddings(line, variant):
    expected = np.load(UPSTREAM / variant / "embeddings.npy")
    answers = line([request(*RECORDS[:10]), request(RECORDS[10]), request(*RECORDS[11:])])
    assert [len(answer["embedding"]) for answer in answers] == [10, 1, 15]
    np.testing.assert_allclose(np.concatenate([a["embedding"] for a in answers]), expected, rtol=0, atol=1e-5)
    assert [answer["scores"].shape for answer in answers] == [(10, 0), (1, 0), (15, 0)]


def test_what_is_not_counted_is_answered_and_leaves_no_trace(repository, variant):
    arrays = request(b'{"events": []}')
    names = ("tokenizer", *(["text_embedder"] if variant == "embed" else []), "scorer")
    for name in names:
        stage = STAGES[name].load(repository / name / "1", {} if name == "tokenizer" else {"threads": "1"})
        before, answers = stage.samples(), SimpleQueue()
        stage.submit([arrays], [answers.put], counted=False)
        answer = answers.get(timeout=60)
        assert stage.samples() == before
        (expected,) = stage([arrays])
        stage.close()
        assert stage.samples() != before
        for tensor, array in answer.items():
            np.testing.assert_array_equal(array, expected[tensor])
        arrays = {**arrays, **answer}


def test_a_bad_record_spoils_its_request_alone(repository):
    tokenizer = TokenizerStage.load(repository / "tokenizer" / "1", {})
    good, bad, also_good = tokenizer([request(RECORDS[0]), request(RECORDS[1], b"{}"), request(RECORDS[2])])
    assert good["tokens"].shape[0] == also_good["tokens"].shape[0] == 1
    assert str(bad).startswith("row 1: $: ")


def test_no_fault_of_one_request_reaches_another(repository, variant, monkeypatch):
    """Whatever a stage's parts raise for one request, the requests beside it are answered."""

    def fail(*_args, **_kwargs):
        raise OverflowError("unforeseen")

    def good_and_bad(stage, owner, name, good, bad):
        works = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: fail() if marked(args) else works(*args))
        answers = stage([good, bad, good])
        monkeypatch.setattr(owner, name, works)
        assert isinstance(answers[1], OverflowError)
        assert isinstance(answers[0], dict)
        assert answers[0].keys() == answers[2].keys()

    tokenizer = TokenizerStage.load(repository / "tokenizer" / "1", {})
    good, bad = request(RECORDS[0]), request(RECORDS[2])
    tokens, other_tokens = tokenizer([good, bad])

    def marked(args):
        return RECORDS[2] in args

    good_and_bad(tokenizer, tokenizer._tokenizer, "split", good, bad)
    good_and_bad(tokenizer, tokenizer._tokenizer, "steps", good, bad)
    if variant == "embed":
        embedder = TextEmbedderStage(Refusing())
        marked = lambda args: any("BAD" in str(arg) for arg in args)  # noqa: E731
        good_and_bad(embedder, embedder._encoder, "encode", texts_of(["A", "B"]), texts_of(["BAD", "A"]))
        good_and_bad(embedder, embedder._encoder, "known", texts_of(["A", "B"]), texts_of(["BAD", "A"]))
        vectors = TextEmbedderStage.load(repository / "text_embedder" / "1", {})([tokens, other_tokens])
        tokens, other_tokens = {**tokens, **vectors[0]}, {**other_tokens, **vectors[1]}
    scorer = ScorerStage.load(repository / "scorer" / "1", {"threads": "1"})
    marked = lambda args: args[0] is other_tokens  # noqa: E731
    good_and_bad(scorer, scorer, "_batch", tokens, other_tokens)
    scorer.close()


def test_records_that_are_none_and_shapes_that_hold_none_are_refused(repository):
    tokenizer = TokenizerStage.load(repository / "tokenizer" / "1", {})
    none, empty, good = tokenizer([{"record": np.zeros((0, 1), object)}, request(b""), request(RECORDS[0])])
    assert str(none) == "record: expected at least one record, got none"
    assert isinstance(none, DataError)
    assert str(empty).startswith("row 0: $: expected one JSON object")
    assert "tokens" in good


def test_limits_come_from_the_config(repository):
    tokenizer = TokenizerStage.load(repository / "tokenizer" / "1", {"max_events": "3"})
    answers = tokenizer([request(RECORDS[2]), request(RECORDS[4])])
    assert "over the limit max_events = 3" in str(answers[1])
    with pytest.raises(ConfigError, match="whole number"):
        TokenizerStage.load(repository / "tokenizer" / "1", {"max_events": "many"})


class Refusing:
    """An encoder that does not take one string, and counts what it is asked for."""

    name, revision, dim = "refusing", "1", 3

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked.append(texts)
        if "NO" in texts:
            raise DataError("NO is refused")
        return np.array([[np.nan if text == "NaN" else len(text)] * 3 for text in texts], np.float32).reshape(-1, 3)


def texts_of(*users):
    encoded = [[text.encode() if isinstance(text, str) else text for text in user] for user in users]
    return {
        "texts": np.stack([np.frombuffer(b"".join(texts), np.uint8) for texts in encoded]),
        "text_offsets": np.stack([cu_seqlens([len(text) for text in texts]).astype(np.int32) for texts in encoded]),
    }


def test_a_string_that_the_encoder_refuses_spoils_its_request_alone():
    encoder = Refusing()
    stage = TextEmbedderStage(encoder)
    good, bad, broken, also_good = stage(
        [texts_of(["A", "BC"]), texts_of(["NO", "A"]), texts_of([b"\xff"]), texts_of(["A"])]
    )
    assert good["text_vectors"][0].tolist() == [[1.0] * 3, [2.0] * 3]
    assert str(bad) == "NO is refused"
    assert "expected UTF-8" in str(broken)
    assert also_good["text_vectors"][0].tolist() == [[1.0] * 3]


def test_a_vector_that_is_not_finite_fails_its_own_request_and_is_not_kept():
    encoder = Refusing()
    stage = TextEmbedderStage(encoder)
    good, bad = stage([texts_of(["A"]), texts_of(["NaN"])])
    assert good["text_vectors"][0].tolist() == [[1.0] * 3]
    assert isinstance(bad, NotFiniteError)
    assert str(bad).startswith("text_vectors: 1 of 1 rows hold NaN")
    n_asked = len(encoder.asked)
    (again,) = stage([texts_of(["NaN"])])
    assert isinstance(again, NotFiniteError)
    assert len(encoder.asked) == n_asked + 1


def test_known_strings_are_not_asked_for_again():
    encoder = Refusing()
    stage = TextEmbedderStage(encoder)
    first = stage([texts_of(["A", "BC"], ["BC", "D"]), texts_of(["D"])])
    assert encoder.asked == [["A", "BC", "D"]]
    again = stage([texts_of(["A", "BC"], ["BC", "D"]), texts_of(["D"])])
    assert len(encoder.asked) == 1
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before["text_vectors"], after["text_vectors"])


def test_an_encoder_without_settings_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"text_encoder\.json"):
        TextEmbedderStage.load(tmp_path, {})


def test_threads_are_explicit():
    assert read_parameters(ScorerParameters, {"threads": "3"}).n_threads == 3
    assert read_parameters(ScorerParameters, {}).n_threads >= 1


def test_a_tokenizer_whose_server_stops_takes_nothing_more(tmp_path, monkeypatch):
    monkeypatch.setenv(DRAIN_FILE_VARIABLE, str(tmp_path / "drain"))
    stage = TokenizerStage.load(UPSTREAM / "bpe" / "run" / "tokenizer", {})
    request = {"record": np.array([[RECORDS[0]]], np.object_)}
    assert "tokens" in stage([request])[0]
    Drain(tmp_path / "drain").begin()
    assert [str(answer) for answer in stage([request, request])] == 2 * ["the server is stopping: ask another one"]
