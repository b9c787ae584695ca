"""What is kept of event vectors between two starts, by whom it is read, and what happens to files that are broken."""

import logging
import shutil
import stat
import threading
import time

import numpy as np
import pytest

from pragmatiq_triton.cache import snapshot as snapshots
from pragmatiq_triton.cache.fingerprints import KEY_FILE
from pragmatiq_triton.cache.folder import CACHE_FOLDER_VARIABLE, cache_folder
from pragmatiq_triton.cache.snapshot import Snapshot, SnapshotKeeper
from pragmatiq_triton.cache.vectors import ENTRY_BYTES, VectorCache
from pragmatiq_triton.drain import Drain
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.serving.embedding import TextEmbedderStage
from pragmatiq_triton.serving.scoring import ScorerStage
from pragmatiq_triton.serving.tokenizing import TokenizerStage
from tests.conftest import RECORDS

DIM = 8
VERSION = "a version"


def some_keys(first, n):
    return np.stack([np.arange(first, first + n), np.full(n, 7)], axis=1).astype(np.uint64)


def vectors_of(keys):
    return (keys[:, :1] + np.arange(DIM) / 100).astype(np.float32)


def cache_of(keys, capacity=100):
    cache = VectorCache(DIM, capacity * (4 * DIM + ENTRY_BYTES))
    cache.put(keys, vectors_of(keys))
    return cache


def restored(snapshot, capacity=100):
    cache = cache_of(some_keys(0, 0), capacity)
    snapshot.restore(cache)
    return cache


def held(cache, keys):
    """How many of ``keys`` are there; their vectors must be right."""
    out = np.zeros((len(keys), DIM), np.float32)
    found = np.setdiff1d(np.arange(len(keys)), cache.take(keys, out))
    np.testing.assert_array_equal(out[found], vectors_of(keys)[found])
    return len(found)


def test_what_is_kept_comes_back(tmp_path):
    keys = some_keys(0, 20)
    Snapshot(tmp_path, VERSION).keep(cache_of(keys))
    cache = restored(Snapshot(tmp_path, VERSION))
    assert (len(cache), held(cache, keys)) == (20, 20)


def test_another_version_and_another_secret_read_nothing(tmp_path, caplog):
    Snapshot(tmp_path, VERSION).keep(cache_of(some_keys(0, 20)))
    assert len(restored(Snapshot(tmp_path, "another version"))) == 0
    (tmp_path / KEY_FILE).unlink()
    assert len(restored(Snapshot(tmp_path, VERSION))) == 0
    assert not caplog.records


def damaged(path, how):
    content = path.read_bytes()
    if how == "an array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif how == "another dim":
        np.savez(path.open("wb"), identity=np.asarray(path.stem.removeprefix("events-")), keys=some_keys(0, 2),
                 vectors=np.zeros((2, DIM + 1), np.float32))  # fmt: skip
    elif how == "a vector of NaN":
        with np.load(path) as kept:
            arrays = dict(kept)
        arrays["vectors"][7, 3] = np.nan
        np.savez(path.open("wb"), **arrays)
    else:
        path.write_bytes({
            "empty": b"",
            "no archive": b"hello",
            "cut off": content[: len(content) // 2],
            "a bit flipped": content[: len(content) // 2] + b"\xff\x00" + content[len(content) // 2 + 2 :],
        }[how])  # fmt: skip


DAMAGES = ["a vector of NaN", "an array", "another dim", "empty", "no archive", "cut off", "a bit flipped"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_broken_file_is_told_of_and_written_anew(tmp_path, caplog, how):
    snapshot = Snapshot(tmp_path, VERSION)
    snapshot.keep(cache_of(some_keys(0, 20)))
    damaged(snapshot.path, how)
    cache = restored(Snapshot(tmp_path, VERSION))
    assert len(cache) == 0
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert str(snapshot.path) in warning.getMessage()
    keys = some_keys(50, 5)
    Snapshot(tmp_path, VERSION).keep(cache_of(keys))
    assert held(restored(Snapshot(tmp_path, VERSION)), keys) == 5


def test_a_version_s_file_under_another_s_name_is_refused(tmp_path, caplog):
    one, other = Snapshot(tmp_path, VERSION), Snapshot(tmp_path, "another version")
    one.keep(cache_of(some_keys(0, 20)))
    shutil.copyfile(one.path, other.path)
    assert len(restored(other)) == 0
    assert one.identity in caplog.text


def test_what_others_left_meanwhile_stays_as_far_as_there_is_room(tmp_path):
    mine, theirs = some_keys(0, 10), some_keys(100, 10)
    first, second = Snapshot(tmp_path, VERSION), Snapshot(tmp_path, VERSION)
    cache = cache_of(mine, capacity=14)
    first.restore(cache)
    second.keep(cache_of(theirs))
    first.keep(cache)
    kept = restored(Snapshot(tmp_path, VERSION))
    assert (len(kept), held(kept, mine)) == (14, 10)
    assert held(kept, theirs[-4:]) == 4, "the last used of theirs"
    assert cache.evictions == 0


def test_all_that_keep_at_once_are_kept(tmp_path):
    writers = [(Snapshot(tmp_path, VERSION), some_keys(20 * i, 20)) for i in range(4)]
    threads = [threading.Thread(target=one.keep, args=(cache_of(keys),)) for one, keys in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held(restored(Snapshot(tmp_path, VERSION)), some_keys(0, 80)) == 80


def test_a_server_without_a_cache_leaves_the_others_snapshot(tmp_path):
    keys = some_keys(0, 20)
    Snapshot(tmp_path, VERSION).keep(cache_of(keys))
    empty = Snapshot(tmp_path, VERSION)
    empty.keep(restored(empty, capacity=0))
    assert held(restored(Snapshot(tmp_path, VERSION)), keys) == 20


def test_what_a_killed_server_left_half_written_goes(tmp_path):
    snapshot = Snapshot(tmp_path, VERSION)
    (tmp_path / f".{snapshot.path.name}.a1b2").write_bytes(b"half")
    snapshot.keep(cache_of(some_keys(0, 1)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [snapshot.path.name, KEY_FILE, snapshots.LOCK_FILE]


def test_only_the_owner_may_read(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_FOLDER_VARIABLE, str(tmp_path / "cache"))
    folder = cache_folder()
    snapshot = Snapshot(folder, VERSION)
    snapshot.keep(cache_of(some_keys(0, 1)))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, snapshot.path)] == [0o700, 0o600]


def test_a_snapshot_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    folder = tmp_path / "cache"
    folder.mkdir()
    snapshot, cache = Snapshot(folder, VERSION), cache_of(some_keys(0, 1))
    keeper = SnapshotKeeper(snapshot, cache)
    cache.put(some_keys(1, 1), vectors_of(some_keys(1, 1)))
    shutil.rmtree(folder)
    keeper.close()
    assert [(record.levelno, str(snapshot.path) in record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, True)
    ]
    with pytest.raises(ConfigError, match="could not be kept"):
        snapshot.keep(cache)


def test_a_running_server_s_entries_are_kept_without_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "PERIOD_SECONDS", 0.01)
    snapshot, cache = Snapshot(tmp_path, VERSION), cache_of(some_keys(0, 0))
    keeper = SnapshotKeeper(snapshot, cache)
    cache.put(some_keys(0, 3), vectors_of(some_keys(0, 3)))
    give_up = time.monotonic() + 60
    while not snapshot.path.exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    assert held(restored(Snapshot(tmp_path, VERSION)), some_keys(0, 3)) == 3
    keeper.close()


def test_a_server_that_stops_keeps_its_entries_before_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots, "LOOK_SECONDS", 0.01)
    drain = Drain(tmp_path / "drain")
    snapshot, cache = Snapshot(tmp_path, VERSION), cache_of(some_keys(0, 0))
    keeper = SnapshotKeeper(snapshot, cache, drain)
    cache.put(some_keys(0, 3), vectors_of(some_keys(0, 3)))
    time.sleep(0.1)
    assert not snapshot.path.exists()
    drain.begin()
    give_up = time.monotonic() + 60
    while not snapshot.path.exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    assert held(restored(Snapshot(tmp_path, VERSION)), some_keys(0, 3)) == 3
    keeper.close()


def test_nothing_new_is_not_written_again(tmp_path):
    Snapshot(tmp_path, VERSION).keep(cache_of(some_keys(0, 3)))
    snapshot, cache = Snapshot(tmp_path, VERSION), cache_of(some_keys(0, 0))
    before = snapshot.path.stat()
    keeper = SnapshotKeeper(snapshot, cache)
    assert held(cache, some_keys(0, 3)) == 3
    keeper.close()
    assert snapshot.path.stat() == before


@pytest.fixture
def ask(repository, variant):
    """Starts the stages, has them answer all records, stops them: embeddings, and what the scorer counted."""

    def answers(**parameters):
        tokenizer = TokenizerStage.load(repository / "tokenizer" / "1", {})
        scorer = ScorerStage.load(repository / "scorer" / "1", {"threads": "1", **parameters})
        (arrays,) = tokenizer([{"record": np.array([[raw] for raw in RECORDS[:12]], object)}])
        if variant == "embed":
            (vectors,) = TextEmbedderStage.load(repository / "text_embedder" / "1", {})([arrays])
            arrays |= vectors
        (answer,) = scorer([arrays])
        counted = {sample.name: sample.value for sample in scorer.samples() if sample.labels.get("cache") == "events"}
        scorer.close()
        return answer["embedding"], counted

    return answers


def test_a_scorer_goes_on_where_the_last_one_stopped(ask, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_FOLDER_VARIABLE, str(tmp_path))
    first, cold = ask(event_vectors=VERSION)
    again, warm = ask(event_vectors=VERSION)
    other, other_cold = ask(event_vectors="another version")
    assert cold["pragmatiq_cache_misses_total"] > 0
    assert warm["pragmatiq_cache_misses_total"] == 0
    assert warm["pragmatiq_cache_hits_total"] > 0
    assert other_cold["pragmatiq_cache_misses_total"] == cold["pragmatiq_cache_misses_total"]
    for embeddings in (again, other):
        np.testing.assert_allclose(embeddings, first, rtol=0, atol=1e-6)


def test_an_older_export_is_served_but_not_kept(ask, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(CACHE_FOLDER_VARIABLE, str(tmp_path))
    ask()
    assert "export the run again" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_without_a_folder_nothing_is_kept(ask, tmp_path, monkeypatch):
    monkeypatch.delenv(CACHE_FOLDER_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    ask(event_vectors=VERSION)
    assert not list(tmp_path.iterdir())
