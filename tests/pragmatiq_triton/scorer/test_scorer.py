import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pragmatiq_builder.onnx.graphs import export_graphs
from pragmatiq_builder.runs import load_run
from pragmatiq_triton.batch import Event, UserFeatures
from pragmatiq_triton.scorer import Scorer, scorer
from tests.builder.upstream_case import N_RECORDS, UPSTREAM, UpstreamCase

from .conftest import Exported

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("threads", [1, 2])
def test_embeddings_are_the_networks(exported: Exported, users: list[UserFeatures], threads: int) -> None:
    batch = exported.batch(users)
    embeddings = Scorer(exported.folder, threads=threads).embed(batch)
    user_embedding, event_state = exported.expected(batch)
    assert embeddings.user_embedding.dtype == embeddings.event_state.dtype == np.float32
    np.testing.assert_allclose(embeddings.user_embedding, user_embedding, atol=2e-5)
    np.testing.assert_allclose(embeddings.event_state, event_state, atol=2e-5)


@pytest.mark.parametrize("variant", ["bpe", "embed"])
def test_upstreams_embeddings(variant: str, tmp_path: Path) -> None:
    case = UpstreamCase(UPSTREAM / variant)
    export_graphs(load_run(case.folder / "run").network, tmp_path)
    embeddings = Scorer(tmp_path).embed(case.batch(list(range(N_RECORDS)))).user_embedding
    np.testing.assert_allclose(embeddings, case.embeddings, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_embedding_is_the_same_whoever_shares_the_batch(
    exported: Exported, users: list[UserFeatures], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Scorer(exported.folder, threads=threads)
    together = np.stack(engine.embed(exported.batch(users)))
    alone = [engine.embed(exported.batch([user])) for user in users]
    np.testing.assert_allclose(together, np.concatenate(alone, axis=1), atol=1e-6)
    monkeypatch.setattr(scorer, "CHUNK_TOKENS", 16)
    np.testing.assert_allclose(engine.embed(exported.batch(users[::-1])), together[:, ::-1], atol=1e-6)


def test_event_vectors_depend_on_tokens_alone(exported: Exported, users: list[UserFeatures]) -> None:
    engine, batch = Scorer(exported.folder), exported.batch(users)
    vectors = engine.event_vectors(batch)
    assert vectors.shape == (len(batch.events), exported.network.config.dim)
    events = batch.events.copy()
    events[:, Event.LOG_SECONDS :] = 1
    np.testing.assert_array_equal(engine.event_vectors(replace(batch, events=events)), vectors)
    np.testing.assert_array_equal(engine.histories(batch, vectors), engine.embed(batch))


@pytest.mark.parametrize("exported", ["embed"], indirect=True)
def test_texts_reach_the_event_vectors(exported: Exported, make_user: Callable[..., UserFeatures]) -> None:
    engine, batch = Scorer(exported.folder), exported.batch([make_user([3], 1)])
    silenced = batch.tokens.copy()
    silenced[:, 3] = -1
    moved = engine.event_vectors(batch) - engine.event_vectors(replace(batch, tokens=silenced))
    assert np.abs(moved).max() > 1e-2


def test_a_batch_without_users(exported: Exported) -> None:
    assert Scorer(exported.folder).embed(exported.batch([])).event_state.shape == (0, exported.network.config.dim)


def test_concurrent_callers(exported: Exported, users: list[UserFeatures]) -> None:
    engine = Scorer(exported.folder, threads=2)
    batches = [exported.batch([user]) for user in users] * 4
    expected = [engine.embed(batch) for batch in batches]
    with ThreadPoolExecutor(4) as callers:
        for got, want in zip(callers.map(engine.embed, batches), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_serving_environment_agrees(exported: Exported, users: list[UserFeatures], tmp_path: Path) -> None:
    python = ROOT / ".venv-serve" / "bin" / "python"
    if not python.exists():
        pytest.fail(f"{python} is missing: `make setup` makes the serving environment")
    batch = exported.batch(users)
    np.savez(tmp_path / "batch.npz", **{name: getattr(batch, name) for name in batch.__slots__})
    script = (
        "import sys, pathlib, numpy as np; from pragmatiq_triton.batch import Batch; "
        "from pragmatiq_triton.scorer import Scorer; "
        "assert np.__version__ < '2' and 'torch' not in sys.modules; "
        "folder, work = map(pathlib.Path, sys.argv[1:]); "
        "np.save(work / 'out.npy', Scorer(folder).embed(Batch(**np.load(work / 'batch.npz'))).user_embedding)"
    )
    subprocess.run([python, "-c", script, exported.folder, tmp_path], check=True, cwd=ROOT)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), exported.expected(batch)[0], atol=2e-5)
