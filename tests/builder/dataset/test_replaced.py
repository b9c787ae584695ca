"""The data set that is there stays until the new one is complete; computed vectors are kept over an interruption."""

import os

import numpy as np
import pytest

from pragmatiq_builder.dataset import texts
from pragmatiq_builder.dataset import tokenize as module
from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_triton.errors import ArtifactError, DataError, OutputError
from pragmatiq_triton.text_encoders import create_text_encoder
from pragmatiq_triton.tokenizer import TokenizerConfig
from tests.builder.counting import Counting
from tests.mounts import tmpfs

EPOCH = 1_600_000_000_000_000
BPE = TokenizerConfig(categorical_threshold=20)
EMBED_SMALL = TokenizerConfig(
    text_value_mode="embed", text_encoder="hash", text_encoder_dim=64, categorical_threshold=20
)


@pytest.fixture
def small(raw_folder):
    """A raw folder of a few events with text."""
    rows = [("u", ts, "app", {"memo": f"memo {ts}", "kind": "a"}) for ts in range(EPOCH, EPOCH + 40)]
    return raw_folder(rows, [])


def chunks(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


def test_a_data_set_is_replaced_as_a_whole(small, tmp_path):
    out = tmp_path / "sets" / "tok"
    tokenize(small, out, EMBED_SMALL)
    (out / "texts" / "old.npy").touch()
    tokenize(small, out, BPE)
    assert TokenizedDataset(out).texts is None
    assert not (out / "texts").exists()
    assert chunks(out.parent) == ["tok"]


def test_an_error_leaves_the_older_data_set(small, tmp_path, monkeypatch):
    out = tmp_path / "sets" / "tok"
    tokenize(small, out, BPE)
    before = TokenizedDataset(out).meta
    for error in (KeyboardInterrupt, DataError):

        def fails(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(module, "read_profiles", fails)
            with pytest.raises(error):
                tokenize(small, out, BPE)
    assert TokenizedDataset(out).meta == before
    assert chunks(out.parent) == ["tok"]


def test_vectors_are_kept_over_an_interruption_and_over_a_new_data_set(small, tmp_path, monkeypatch):
    out, progress = tmp_path / "sets" / "tok", Counting()
    monkeypatch.setattr(texts, "CHUNK_TEXTS", 8)
    asked = []

    def encoder(calls):
        made = create_text_encoder(EMBED_SMALL.text_encoder_spec)

        class Breaking:
            name, dim, revision = made.name, made.dim, made.revision

            def encode(self, strings):
                if len(asked) == calls:
                    raise KeyboardInterrupt
                asked.append(strings)
                return made.encode(strings)

        return lambda *_, **__: Breaking()

    monkeypatch.setattr(module, "create_text_encoder", encoder(2))
    with pytest.raises(KeyboardInterrupt):
        tokenize(small, out, EMBED_SMALL, progress=progress)
    unfinished = out.parent / ".tok.new"
    kept = f"16 of 40 vectors are kept in {unfinished / 'texts'}"
    assert progress.lines == [f"{kept}; the same command goes on with the rest"]
    assert (chunks(out.parent), chunks(unfinished)) == ([".tok.new"], ["texts"])
    asked.clear()
    monkeypatch.setattr(module, "create_text_encoder", encoder(99))
    tokenize(small, out, EMBED_SMALL)
    assert len(asked) == 3
    assert chunks(out.parent) == ["tok"]
    tokenize(small, out, EMBED_SMALL)
    assert len(asked) == 3
    store = TokenizedDataset(out).texts
    np.testing.assert_array_equal(
        store.vectors(np.arange(40)), create_text_encoder(EMBED_SMALL.text_encoder_spec).encode(store.texts())
    )


def test_a_second_tokenize_to_the_same_place_is_refused(small, tmp_path, monkeypatch):
    out, read = tmp_path / "tok", module.read_profiles

    def second(data, **options):
        with monkeypatch.context() as patched:
            patched.setattr(module, "read_profiles", read)
            with pytest.raises(OutputError, match=rf"process {os.getpid()} is writing this data set"):
                tokenize(small, out, BPE)
        return read(data, **options)

    monkeypatch.setattr(module, "read_profiles", second)
    tokenize(small, out, BPE)
    assert TokenizedDataset(out).n_users == 1


@pytest.mark.parametrize("foreign", ["run.yaml", "events.parquet", "notes.txt", "checkpoints"])
def test_what_is_of_no_data_set_is_not_lost(small, tmp_path, foreign):
    (tmp_path / "out" / "tokenizer").mkdir(parents=True)
    (tmp_path / "out" / foreign).touch()
    with pytest.raises(ArtifactError, match=rf"holds {foreign}, which is of no tokenized data set"):
        tokenize(small, tmp_path / "out", BPE)
    assert chunks(tmp_path / "out") == sorted([foreign, "tokenizer"])


@pytest.mark.parametrize("size", ["60k", "100k", "200k"])
def test_a_full_disk_is_one_line_and_never_a_killed_process(raw_folder, tmp_path, size):
    rows = [("u", ts, "app", {"memo": f"memo {ts}", "kind": "a"}) for ts in range(EPOCH, EPOCH + 4000)]
    data = raw_folder(rows, [])
    with tmpfs(tmp_path / "disk", size) as disk:
        with pytest.raises(OutputError, match="could not be written: No space left on device"):
            tokenize(data, disk / "tok", EMBED_SMALL)
        assert chunks(disk) == []
