"""The models in the test's own process give the numbers that the real tritonserver gives for the same records."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.export.int8_cost import Int8Quantizer
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.predict import predict
from pragmatiq_builder.predict.parts import embedding_column
from pragmatiq_builder.runs import load_run
from pragmatiq_builder.synth import generate
from pragmatiq_client import InvalidRecordError, ScoringClient
from pragmatiq_triton.errors import RecordError
from pragmatiq_triton.in_process import InProcessModels
from pragmatiq_triton.manifest import read_manifest
from pragmatiq_triton.server import TritonServer
from tests.conftest import RECORDS, UPSTREAM
from tests.model_repository.conftest import ADAPTED

pytestmark = pytest.mark.triton

BROKEN = b'{"user_id": "x", "events": [{"ts": 1738245371663, "source": "card"}]}'


@pytest.fixture(scope="module")
def int8_repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    run = load_run(UPSTREAM / "bpe" / "run")
    generate(folder / "synth", 60, seed=5)
    tokenize(folder / "synth", folder / "tok", tokenizer_dir=run.path / "tokenizer")
    quantizer = Int8Quantizer(run, TokenizedDataset(folder / "tok"), {})
    export_repository(run, folder / "repository", quantizer=quantizer)
    return folder / "repository"


@pytest.fixture(scope="module")
def int8_server(int8_repository):
    with TritonServer(int8_repository, http_port=0, grpc_port=0, metrics_port=0) as running:
        yield running


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


def test_int8_is_the_servers(int8_repository, int8_server):
    check_equal(int8_server, int8_repository, RECORDS)


def test_a_record_is_refused_in_the_servers_words_and_the_others_are_answered(repository, server):
    with InProcessModels(repository, threads=1) as models:
        good, bad, again = models.answers([RECORDS[0], BROKEN, RECORDS[0]])
    with pytest.raises(InvalidRecordError) as told:
        served(server, "scoring", [BROKEN])
    assert isinstance(bad, RecordError)
    assert str(bad).startswith("$.events[0].ts: expected microseconds")
    assert str(bad) in str(told.value)
    np.testing.assert_array_equal(good["scoring"].embedding, again["scoring"].embedding)


def check_book(server, repository, tmp_path):
    (tmp_path / "book.jsonl").write_bytes(b"\n".join(RECORDS))
    predict(tmp_path / "book.jsonl", repository, tmp_path / "out.parquet", embeddings=True, processes=2)
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    for model, names in read_manifest(repository).tasks.items():
        answers = served(server, model, RECORDS)
        for task in names:
            np.testing.assert_allclose(table[task], [answer.scores[task] for answer in answers], rtol=0, atol=1e-6)
        vectors = np.array([answer.embedding for answer in answers])
        np.testing.assert_allclose(table[embedding_column(model)], vectors, rtol=0, atol=1e-5)


def test_a_predicted_book_is_what_the_server_says(tuned_repository, tuned_server, tmp_path):
    check_book(tuned_server, tuned_repository, tmp_path)


def test_a_predicted_book_in_int8_is_what_the_server_says(int8_repository, int8_server, tmp_path):
    check_book(int8_server, int8_repository, tmp_path)
