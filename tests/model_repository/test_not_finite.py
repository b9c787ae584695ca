"""Damaged numbers on the real tritonserver: an error that names them, never an answer."""

import shutil

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pragmatiq_builder.export.manifest import FILE, file_hashes, read_manifest, write_manifest
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_client import ScoringClient, ScoringError
from pragmatiq_triton.server import TritonServer
from tests.builder.export.heads_case import hybrid_head, probe, run_with
from tests.conftest import RECORDS

pytestmark = pytest.mark.triton

RECORD = RECORDS[11]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """A repository with two heads; both make a probability of an embedding of NaN."""
    folder = tmp_path_factory.mktemp("not-finite")
    run = run_with(folder / "run", "bpe", probe(), hybrid_head("fraud", ("recency",)))
    export_repository(run, folder / "repository")
    return folder / "repository"


def test_a_graph_that_gives_nan_is_an_internal_error_over_both_protocols(healthy, tmp_path):
    repository = shutil.copytree(healthy, tmp_path / "repository")
    put_nan_into(repository / "scorer" / "1" / "history_encoder.onnx")
    manifest = read_manifest(repository)
    (repository / FILE).unlink()
    write_manifest(msgspec.structs.replace(manifest, files=file_hashes(repository)), repository)
    with TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as server:
        for protocol in ("grpc", "http"):
            url = getattr(server, f"{protocol}_url")
            with (
                ScoringClient(url, protocol=protocol, timeout=60) as client,
                pytest.raises(ScoringError, match="scorer: internal error: user_embedding: 1 of 1 rows hold NaN"),
            ):
                client.score_one(RECORD)


def test_a_snapshot_with_nan_is_not_taken_in(healthy, tmp_path):
    cache = tmp_path / "cache"
    expected = ask(healthy, cache)
    (snapshot,) = cache.glob("events-*.npz")
    with np.load(snapshot) as kept:
        arrays = dict(kept)
    arrays["vectors"][:] = np.nan
    with snapshot.open("wb") as file:
        np.savez(file, **arrays)
    answer = ask(healthy, cache)
    np.testing.assert_allclose(answer.embedding, expected.embedding, rtol=0, atol=1e-6)
    assert answer.scores == pytest.approx(expected.scores, abs=1e-6)


def ask(repository, cache):
    with (
        TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, cache_folder=cache) as server,
        ScoringClient(server.grpc_url, protocol="grpc", timeout=60) as client,
    ):
        return client.score_one(RECORD)


def put_nan_into(graph):
    """One number of the first weight matrix, whether it lies in the graph or beside it."""
    model = onnx.load(graph)
    tensor = next(each for each in model.graph.initializer if len(each.dims) == 2)
    array = numpy_helper.to_array(tensor).copy()
    array[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for beside in graph.parent.glob(f"{graph.name}.*"):
        beside.unlink()
    onnx.save(model, graph)
