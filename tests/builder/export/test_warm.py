"""A book of customers in an event cache before the server starts: complete, within bounds, as serving computes it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pragmatiq_builder.export import warm as warming
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.export.warm import warm
from pragmatiq_builder.progress import Silent
from pragmatiq_builder.raw.records import write_records
from pragmatiq_builder.runs import load_run
from pragmatiq_builder.synth import generate
from pragmatiq_triton.cache.folder import CACHE_FOLDER_VARIABLE
from pragmatiq_triton.cache.snapshot import EVENT_VECTORS
from pragmatiq_triton.cache.vectors import ENTRY_BYTES
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.serving.embedding import TextEmbedderStage
from pragmatiq_triton.serving.scoring import ScorerStage
from pragmatiq_triton.serving.tokenizing import TokenizerStage
from tests.builder.export.heads_case import lora, probe, run_with
from tests.conftest import RECORDS, UPSTREAM

BOOK = UPSTREAM / "records.jsonl"
N_EVENTS = sum(len(json.loads(raw)["events"]) for raw in RECORDS)


@pytest.fixture
def ask(repository, variant, tmp_path, monkeypatch):
    """What a server's stages answer to all records: embeddings, and how many events had to be encoded."""

    def answers(folder):
        monkeypatch.setenv(CACHE_FOLDER_VARIABLE, str(folder) if folder else "")
        parameters = warming.config_parameters(repository, "scorer")
        tokenizer = TokenizerStage.load(repository / "tokenizer" / "1", {})
        scorer = ScorerStage.load(repository / "scorer" / "1", {**parameters, "threads": "1"})
        (arrays,) = tokenizer([{"record": np.array([[raw] for raw in RECORDS], object)}])
        if variant == "embed":
            (vectors,) = TextEmbedderStage.load(repository / "text_embedder" / "1", {})([arrays])
            arrays |= vectors
        (answer,) = scorer([arrays])
        (misses,) = (sample.value for sample in scorer.samples() if sample.name == "pragmatiq_cache_misses_total")
        scorer.close()
        return answer["embedding"], misses

    return answers


@pytest.fixture(scope="module")
def exported_once(tmp_path_factory):
    out = tmp_path_factory.mktemp("warm") / "repository"
    export_repository(load_run(UPSTREAM / "bpe" / "run"), out)
    return out


@pytest.fixture
def own(exported_once, tmp_path):
    """A repository of the test's own, to be changed."""
    return Path(shutil.copytree(exported_once, tmp_path / "repository"))


def test_another_banks_book_is_told_apart_by_its_fields(exported_once, tmp_path):
    book = tmp_path / "book.jsonl"
    fields = {"betrag": "12.5", "merchant": "x", "channel": "Filiale"}
    events = [{"ts": 10**15 + i, "source": "transaction", "fields": fields} for i in range(20)]
    book.write_text(json.dumps({"events": events, "attributes": {"country": "GB", "Region": "N"}}), encoding="utf-8")
    warmed = warm(exported_once, book, tmp_path / "cache")
    assert (warmed.values, warmed.unknown_values) == (20 * 4 + 2, 20 * 2 + 1)
    assert warmed.unknown_shares == {"channel": 1.0}
    strange, unknown = warmed.warnings
    assert "fitted without these fields" in strange
    assert "'Region', 'betrag'" in strange
    assert "100.0% of 'channel'" in unknown


def test_a_customer_of_the_book_is_all_hits(repository, ask, tmp_path):
    warmed = warm(repository, BOOK, tmp_path / "cache")
    scorer = warmed.scorers["scorer"]
    assert (warmed.records, warmed.refused, scorer.evicted) == (len(RECORDS), 0, 0)
    assert 0 < warmed.unknown_values < 0.1 * warmed.values
    assert (scorer.events, scorer.hits) == (N_EVENTS, N_EVENTS)
    assert 0 < scorer.entries <= N_EVENTS
    expected, cold = ask(None)
    answered, misses = ask(tmp_path / "cache")
    assert (cold > 0, misses) == (True, 0)
    np.testing.assert_allclose(answered, expected, rtol=0, atol=1e-6)


def test_small_batches_and_several_calls_come_to_the_same(repository, ask, tmp_path, monkeypatch):
    at_once = warm(repository, BOOK, tmp_path / "one").scorers["scorer"]
    monkeypatch.setattr(warming, "EVENTS_AT_ONCE", 5)
    first = warm(repository, BOOK, tmp_path / "two", users=7)
    assert first.records == 7
    assert first.scorers["scorer"].entries < at_once.entries
    assert warm(repository, BOOK, tmp_path / "two").scorers["scorer"] == at_once
    assert ask(tmp_path / "two")[1] == 0


def test_raw_data_and_its_records_are_the_same_book(repository, tmp_path):
    generate(tmp_path / "data", 3, seed=1)
    write_records(tmp_path / "data", tmp_path / "records.jsonl")
    from_data = warm(repository, tmp_path / "data", tmp_path / "cache")
    again = warm(repository, tmp_path / "records.jsonl", tmp_path / "cache")
    assert from_data.records == 3
    assert from_data.scorers["scorer"].entries > 0
    assert again == from_data


def test_a_book_that_does_not_fit_is_told_of(own, tmp_path):
    set_parameter(own, "event_cache_bytes", str(20 * (4 * 64 + ENTRY_BYTES)))
    scorer = warm(own, BOOK, tmp_path / "cache").scorers["scorer"]
    assert scorer.entries == 20
    assert scorer.bytes <= scorer.capacity_bytes
    assert scorer.evicted > 0
    assert scorer.hits < scorer.events
    kept_last = tmp_path / "last.jsonl"
    kept_last.write_bytes(RECORDS[-1])
    last = warm(own, kept_last, tmp_path / "cache").scorers["scorer"]
    assert last.hits == min(20, last.events)


def test_settings_of_the_server_bound_what_is_kept(own, tmp_path, monkeypatch):
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"scorer: {{event_cache_bytes: {20 * (4 * 64 + ENTRY_BYTES)}}}\n")
    bounded = warm(own, BOOK, tmp_path / "bounded", settings_file=settings).scorers["scorer"]
    assert bounded.entries == 20
    monkeypatch.setenv("PRAGMATIQ_SCORER_EVENT_CACHE_BYTES", "268435456")
    assert warm(own, BOOK, tmp_path / "whole", settings_file=settings).scorers["scorer"].entries > 20


def test_a_network_that_reads_few_events_gets_these(tmp_path):
    export_repository(run_with(tmp_path / "run", "bpe", probe(), lora(max_events=3)), tmp_path / "repository")
    warmed = warm(tmp_path / "repository", BOOK, tmp_path / "cache")
    assert list(warmed.scorers) == ["scorer", "scorer_loan"]
    assert warmed.scorers["scorer"].events == N_EVENTS
    few = warmed.scorers["scorer_loan"]
    assert few.events == few.hits == sum(min(3, len(json.loads(raw)["events"])) for raw in RECORDS)


def test_a_bad_record_is_counted_and_the_others_are_read(own, tmp_path):
    book = tmp_path / "book.jsonl"
    book.write_bytes(b"\n".join([RECORDS[0], b"", b'{"events": 5}', b"hello", RECORDS[1]]) + b"\n")
    warmed = warm(own, book, tmp_path / "cache")
    assert (warmed.records, warmed.refused) == (4, 2)
    assert warmed.first_refusal.startswith("record 2: $.events: expected array")
    assert warmed.scorers["scorer"].events == sum(len(json.loads(raw)["events"]) for raw in RECORDS[:2])


def test_an_empty_book_is_no_error(own, tmp_path):
    (tmp_path / "book.jsonl").touch()
    warmed = warm(own, tmp_path / "book.jsonl", tmp_path / "cache")
    assert (warmed.records, warmed.scorers["scorer"].entries) == (0, 0)


class Interrupting(Silent):
    """Ctrl-C while the tenth record is read."""

    def __init__(self):
        self._steps = 0

    def advance(self, steps, note=""):
        self._steps += steps
        if self._steps == 10:
            raise KeyboardInterrupt


def test_what_was_computed_before_an_interruption_is_kept(own, tmp_path, monkeypatch):
    monkeypatch.setattr(warming, "EVENTS_AT_ONCE", 1)
    with pytest.raises(KeyboardInterrupt):
        warm(own, BOOK, tmp_path / "cache", progress=Interrupting())
    (tmp_path / "none.jsonl").touch()
    assert warm(own, tmp_path / "none.jsonl", tmp_path / "cache").scorers["scorer"].entries > 0


def test_an_older_export_is_refused(own, tmp_path):
    set_parameter(own, EVENT_VECTORS, "")
    with pytest.raises(ArtifactError, match="event_vectors; export the run again"):
        warm(own, BOOK, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    (own / "scorer" / "config.pbtxt").unlink()
    with pytest.raises(ArtifactError, match="export the run again"):
        warm(own, BOOK, tmp_path / "cache")


def test_what_is_no_repository_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="expected a model repository"):
        warm(tmp_path, BOOK, tmp_path / "cache")


def set_parameter(repository, name, value):
    path = repository / "scorer" / "config.pbtxt"
    old = warming.config_parameters(repository, "scorer")[name]
    text = path.read_text(encoding="utf-8")
    assert text.count(f'string_value: "{old}"') == 1
    path.write_text(text.replace(f'string_value: "{old}"', f'string_value: "{value}"'), encoding="utf-8")
