"""The three ways to ask the gateway give what Triton itself gives."""

import json
import urllib.error
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from pragmatiq_client import InvalidRecordError, ProtocolError, ScoringClient
from tests.conftest import RECORDS

pytestmark = pytest.mark.triton


def post(server, path, body, headers=None):
    request = urllib.request.Request(f"http://{server.http_url}{path}", body, headers or {})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read() or b"{}")


@pytest.fixture(scope="module")
def expected(server):
    """What Triton itself answers."""
    with ScoringClient(server.grpc_url, protocol="grpc") as client:
        return client.score(RECORDS[:4])


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_our_client_gets_the_same_answers_as_from_triton(scoring_server, expected, protocol):
    url = scoring_server.grpc_url if protocol == "grpc" else scoring_server.http_url
    with ScoringClient(url, protocol=protocol) as client:
        answers = client.score(RECORDS[:4])
        with pytest.raises(InvalidRecordError, match=r"\$: object contains unknown field `?x"):
            client.score_one({"events": [], "x": 1})
    for answer, wanted in zip(answers, expected, strict=True):
        assert answer.scores == pytest.approx(wanted.scores, abs=1e-6)
        np.testing.assert_allclose(answer.embedding, wanted.embedding, atol=1e-6)


@pytest.mark.parametrize("module", [tritonclient.grpc, tritonclient.http])
def test_tritonclient_infers_and_reads_metadata_and_config(scoring_server, expected, module):
    url = scoring_server.grpc_url if module is tritonclient.grpc else scoring_server.http_url
    client = module.InferenceServerClient(url)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("scoring")
    tensor = module.InferInput("record", [2, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[RECORDS[0]], [RECORDS[1]]], object))
    embedding = client.infer("scoring", [tensor]).as_numpy("embedding")
    np.testing.assert_allclose(embedding, [each.embedding for each in expected[:2]], atol=1e-6)
    assert module is tritonclient.grpc or client.get_model_config("scoring")["max_batch_size"] == 64
    client.close()


@pytest.mark.parametrize("module", [tritonclient.grpc, tritonclient.http])
def test_who_asks_for_scores_of_a_repository_without_tasks_gets_none(scoring_server, module):
    """As the client of the version before does."""
    url = scoring_server.grpc_url if module is tritonclient.grpc else scoring_server.http_url
    tensor = module.InferInput("record", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[RECORDS[0]]], object))
    outputs = [module.InferRequestedOutput(name) for name in ("scores", "embedding", "tasks")]
    with module.InferenceServerClient(url) as client:
        answer = client.infer("scoring", [tensor], outputs=outputs)
    assert [answer.as_numpy(name).shape for name in ("scores", "tasks")] == [(1, 0), (1, 0)]


@pytest.mark.parametrize("module", [tritonclient.grpc, tritonclient.http])
def test_models_within_the_ensemble_do_not_exist_for_callers(scoring_server, module):
    url = scoring_server.grpc_url if module is tritonclient.grpc else scoring_server.http_url
    client = module.InferenceServerClient(url)
    tensor = module.InferInput("record", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[RECORDS[0]]], object))
    with pytest.raises(InferenceServerException, match="no such model"):
        client.infer("tokenizer", [tensor])
    client.close()


def test_rest_takes_records_as_objects_and_gives_each_its_answer_or_its_error(scoring_server, expected):
    body = {"records": [json.loads(RECORDS[0]), {"events": 3}, json.loads(RECORDS[1])], "embedding": True}
    status, headers, answer = post(scoring_server, "/v1/score", json.dumps(body).encode(), {"x-request-id": "mine-7"})
    assert status == 200
    assert headers["x-request-id"] == answer["request_id"] == "mine-7"
    assert headers["x-model-hash"] == answer["model"]["hash"]
    first, second, third = answer["answers"]
    np.testing.assert_allclose(first["embedding"], expected[0].embedding, atol=1e-6)
    np.testing.assert_allclose(third["embedding"], expected[1].embedding, atol=1e-6)
    assert second["error"]["code"] == "refused_record"
    assert "$.events" in second["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/score", b"{", 400),
        ("/v1/score", b'{"record": {"events": 3}}', 400),
        ("/v1/score", b'{"record": {"events": []}, "tasks": ["no such"]}', 400),
        ("/v1/nothing", b"{}", 404),
        ("/v1/model", b"{}", 405),
        ("/v2/models/scorer/infer", b"{}", 404),
        ("/v2/repository/index", b"{}", 404),
        ("/v2/models/scoring/infer", b'{"inputs": [], "outputs": [{"name": "tasks"}]}', 400),
    ],
)
def test_what_cannot_be_asked_gets_an_error_in_json(scoring_server, path, body, status):
    found, _, answer = post(scoring_server, path, body)
    assert found == status
    assert answer["error"]


def test_a_client_for_a_model_that_is_not_there_says_so(scoring_server):
    with (
        ScoringClient(scoring_server.http_url, model="scorer", protocol="http") as client,
        pytest.raises(ProtocolError),
    ):
        client.score_one(RECORDS[0])
