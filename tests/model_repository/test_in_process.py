"""The models in the test's own process give the numbers that the real tritonserver gives for the same records."""

import numpy as np
import pytest

from builder.dataset.store import TokenizedDataset
from builder.dataset.tokenize import tokenize
from builder.export.repository import export_repository
from builder.quantization import Int8Quantizer
from builder.runs import load_run
from builder.synth import generate
from pragmatiq_client import InvalidRecordError, ScoringClient
from pragmatiq_triton.embedded import TritonServer
from pragmatiq_triton.errors import RecordError
from pragmatiq_triton.in_process import InProcessModels
from tests.conftest import RECORDS, UPSTREAM
from tests.model_repository.conftest import ADAPTED

pytestmark = pytest.mark.triton

BROKEN = b'{"user_id": "x", "events": [{"ts": 1738245371663, "source": "card"}]}'


def served(server, model, records):
    with ScoringClient(server.grpc_url, protocol="grpc", model=model, timeout=60) as client:
        return client.score(records)


def check_equal(server, repository, records):
    """Every model of the repository, record by record; returns the tasks that were compared."""
    with InProcessModels(repository, threads=1) as models:
        own = models.answers(records)
        tasks = models.tasks
    for model, names in tasks.items():
        theirs = served(server, model, records)
        for answer, said in zip(theirs, own, strict=True):
            assert list(answer.scores) == names
            np.testing.assert_allclose(said[model].scores, [*answer.scores.values()], rtol=0, atol=1e-6)
            np.testing.assert_allclose(said[model].embedding, answer.embedding, rtol=0, atol=1e-5)
        spread = np.ptp([said[model].embedding for said in own], axis=0).max()
        assert spread > 0.01, "vectors that are the same of everyone tell no right answer from a wrong one"
    return tasks


def test_embeddings_of_both_variants_are_the_servers(repository, server):
    check_equal(server, repository, RECORDS)


def test_scores_of_heads_with_and_without_adapters_are_the_servers(tuned_repository, tuned_server):
    tasks = check_equal(tuned_server, tuned_repository, RECORDS)
    assert tasks == {"scoring": ["amount", "churn"], f"scoring_{ADAPTED}": [ADAPTED]}


def test_int8_is_the_servers(tmp_path):
    run = load_run(UPSTREAM / "bpe" / "run")
    generate(tmp_path / "synth", 60, seed=5)
    tokenize(tmp_path / "synth", tmp_path / "tok", tokenizer_dir=run.path / "tokenizer")
    quantizer = Int8Quantizer(run, TokenizedDataset(tmp_path / "tok"), {})
    export_repository(run, tmp_path / "int8", quantizer=quantizer)
    with TritonServer(tmp_path / "int8", http_port=0, grpc_port=0, metrics_port=0) as server:
        check_equal(server, tmp_path / "int8", RECORDS)


def test_a_record_is_refused_in_the_servers_words_and_the_others_are_answered(repository, server):
    with InProcessModels(repository, threads=1) as models:
        good, bad, again = models.answers([RECORDS[0], BROKEN, RECORDS[0]])
    with pytest.raises(InvalidRecordError) as told:
        served(server, "scoring", [BROKEN])
    assert isinstance(bad, RecordError)
    assert str(bad).startswith("$.events[0].ts: expected microseconds")
    assert str(bad) in str(told.value)
    np.testing.assert_array_equal(good["scoring"].embedding, again["scoring"].embedding)
