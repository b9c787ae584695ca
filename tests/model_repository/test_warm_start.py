"""Event vectors across starts of the real tritonserver: found again where they are right, and nowhere else."""

import time
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.export.warm import warm
from pragmatiq_builder.runs import load_run
from pragmatiq_client import ScoringClient
from pragmatiq_triton.cache.fingerprints import KEY_FILE
from pragmatiq_triton.server import TritonServer
from pragmatiq_triton.serving.metrics import PERIOD_SECONDS
from tests.conftest import RECORDS, UPSTREAM

pytestmark = pytest.mark.triton


class Served:
    """A running server's answers, and what its event cache counted on the way."""

    def __init__(self, server, client):
        self._server = server
        self._client = client

    def embeddings(self, records=RECORDS):
        return np.stack([self._client.score_one(raw).embedding for raw in records])

    def counted(self):
        """(hits, misses), once the metrics of every answered event are published: they no longer move."""
        give_up = time.monotonic() + 60 * PERIOD_SECONDS
        before, found = None, self._published()
        while found != before or not found[0] or sum(found[1:]) < found[0]:
            assert time.monotonic() < give_up, found
            time.sleep(2 * PERIOD_SECONDS)
            before, found = found, self._published()
        return found[1:]

    def _published(self):
        return self._metric('pragmatiq_events_total{model="tokenizer"'), *self._lookups()

    def _lookups(self):
        return [
            self._metric(f'pragmatiq_cache_{what}_total{{cache="events",model="scorer"') for what in ("hits", "misses")
        ]

    def _metric(self, start):
        with urllib.request.urlopen(self._server.metrics_url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(start))


@contextmanager
def serve(repository, folder):
    """Stopped as by SIGTERM, after its client has hung up."""
    with (
        TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, cache_folder=folder) as server,
        ScoringClient(server.grpc_url, protocol="grpc", timeout=60) as client,
    ):
        yield Served(server, client)


def snapshots(folder):
    return list(folder.glob("events-*.npz"))


def test_a_restarted_server_goes_on_warm(repository, tmp_path):
    folder = tmp_path / "cache"
    with serve(repository, folder) as first:
        before = first.embeddings()
        assert first.counted()[1] > 0
    with serve(repository, folder) as second:
        np.testing.assert_allclose(second.embeddings(), before, rtol=0, atol=1e-6)
        hits, misses = second.counted()
    assert hits > 0
    assert misses == 0
    (snapshot,) = snapshots(folder)
    snapshot.write_bytes(snapshot.read_bytes()[:1000])
    with serve(repository, folder) as third:
        np.testing.assert_allclose(third.embeddings(), before, rtol=0, atol=1e-6)
        assert third.counted()[1] > 0


def test_a_book_that_was_warmed_is_all_hits(repository, tmp_path, variant):
    folder = tmp_path / "cache"
    warm(repository, UPSTREAM / "records.jsonl", folder)
    with serve(repository, folder) as server:
        embeddings = server.embeddings()
        hits, misses = server.counted()
    assert hits > 0
    assert misses == 0
    np.testing.assert_allclose(embeddings, np.load(UPSTREAM / variant / "embeddings.npy"), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory):
    """A repository, and one of the same run with the events' encoder altered."""
    folder = tmp_path_factory.mktemp("versions")
    run = load_run(UPSTREAM / "bpe" / "run")
    export_repository(run, folder / "old")
    with torch.no_grad():
        for weights in run.network.event_encoder.parameters():
            weights += 0.02
    export_repository(run, folder / "new")
    return folder / "old", folder / "new"


def test_another_version_of_the_model_starts_cold_and_is_right(two_versions, tmp_path):
    old, new = two_versions
    with serve(old, tmp_path / "cache") as server:
        of_old = server.embeddings()
        _, cold_misses = server.counted()
    with serve(new, tmp_path / "elsewhere") as server:
        expected = server.embeddings()
    with serve(new, tmp_path / "cache") as server:
        np.testing.assert_allclose(server.embeddings(), expected, rtol=0, atol=1e-6)
        assert server.counted()[1] == cold_misses
    assert np.abs(expected - of_old).max() > 1e-3
    assert len(snapshots(tmp_path / "cache")) == 2
    with serve(old, tmp_path / "cache") as server:
        np.testing.assert_allclose(server.embeddings(), of_old, rtol=0, atol=1e-6)
        assert server.counted()[1] == 0, "the way back is warm"


def test_servers_share_a_folder(two_versions, tmp_path):
    """Each one's customers are known to whoever starts next."""
    repository, folder = two_versions[0], tmp_path / "cache"
    with serve(repository, folder) as one, serve(repository, folder) as other:
        before = np.concatenate([one.embeddings(RECORDS[::2]), other.embeddings(RECORDS[1::2])])
    assert [path.name for path in folder.glob("*.key")] == [KEY_FILE]
    with serve(repository, folder) as third:
        np.testing.assert_allclose(third.embeddings(RECORDS[::2] + RECORDS[1::2]), before, rtol=0, atol=1e-6)
        assert third.counted()[1] == 0
