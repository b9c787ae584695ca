"""Task heads on the real tritonserver: the probabilities that were evaluated, by name, from the moment asked about."""

import json

import numpy as np
import pytest

from pragmatiq_builder.export.layout import tokenizer_of
from pragmatiq_builder.export.manifest import altered_files, read_manifest
from pragmatiq_builder.heads import HeadScorer, heads_graph
from pragmatiq_builder.heads.lora import merged
from pragmatiq_builder.heads.saved import saved_heads
from pragmatiq_builder.info import describe
from pragmatiq_builder.onnx.graphs import export_graphs
from pragmatiq_client import InvalidRecordError, ScoringClient
from pragmatiq_triton.batch import collate
from pragmatiq_triton.records import decode_record
from pragmatiq_triton.scorer import Scorer
from pragmatiq_triton.text_encoders import create_text_encoder
from pragmatiq_triton.tokenizer.assemble import newest
from tests.builder.export.heads_case import some_adapters
from tests.conftest import RECORDS, UPSTREAM
from tests.model_repository.conftest import ADAPTED, MAX_EVENTS

pytestmark = pytest.mark.triton

BASE = json.loads(RECORDS[11])
DAY = 86_400_000_000


@pytest.fixture(params=["grpc", "http"])
def connect(request, tuned_server):
    """Makes clients of the server's models."""
    opened = []

    def open_client(model="scoring"):
        url = getattr(tuned_server, f"{request.param}_url")
        opened.append(ScoringClient(url, protocol=request.param, model=model, timeout=60))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture(scope="session")
def offline(tuned, tuned_repository, tmp_path_factory):
    """Scores by task of one record, of each model, without a server."""
    tokenizer = tokenizer_of(saved_heads(tuned.path), tuned.vocabulary)
    encoder = create_text_encoder(tokenizer.config.text_encoder_spec) if tokenizer.config.embeds_text else None
    folder = tmp_path_factory.mktemp("adapted")
    export_graphs(merged(tuned.network, some_adapters(tuned)), folder)
    plain, adapted = Scorer(tuned_repository / "scorer" / "1"), Scorer(folder)
    dims = dict.fromkeys(("user_embedding", "event_state"), tuned.network.config.dim)
    heads = {
        saved.head.task: HeadScorer(heads_graph([saved.head], dims, tokenizer.feature_names))
        for saved in saved_heads(tuned.path)
    }

    def score(raw, *tasks):
        encoded = tokenizer.encode(decode_record(raw))
        given = json.loads(raw).get("features")
        user = tokenizer.user(newest(encoded, MAX_EVENTS) if tasks == (ADAPTED,) else encoded, given)
        batch = collate([user], [encoder.encode(user.texts)] if encoder else [])
        embeddings = (adapted if tasks == (ADAPTED,) else plain).embed(batch)
        inputs = {**embeddings._asdict(), "features": batch.features}
        return {task: float(heads[task](inputs)[0, 0]) for task in tasks}

    return score


def test_scores_are_those_of_the_heads_offline(connect, offline):
    client = connect()
    answers = client.score(RECORDS[:8]) + [client.score_one(raw) for raw in RECORDS[8:]]
    expected = [offline(raw, "amount", "churn") for raw in RECORDS]
    assert [list(answer.scores) for answer in answers] == [["amount", "churn"]] * len(RECORDS)
    for task in ("amount", "churn"):
        got = [answer.scores[task] for answer in answers]
        np.testing.assert_allclose(got, [scores[task] for scores in expected], rtol=0, atol=1e-6)
        assert np.ptp(got) > 0.01, "heads that say the same of everyone tell no right answer from a wrong one"


def test_features_of_a_caller_s_own_reach_the_head_that_reads_them(connect, offline):
    client = connect()
    records = [{**BASE, "features": given} for given in ({"bureau": -9.0}, {"bureau": 9}, {"bureau": None}, {"x": 1})]
    expected = [offline(json.dumps(record), "amount", "churn") for record in records]
    for record, scores in zip(records, expected, strict=True):
        assert client.score_one(record).scores == pytest.approx(scores, abs=1e-6)
    assert abs(expected[0]["amount"] - expected[1]["amount"]) > 0.01
    assert expected[2] == expected[3] == offline(RECORDS[11], "amount", "churn")
    assert expected[0]["churn"] == expected[1]["churn"]
    for value in (b'"high"', b"1e999", b"[1]"):
        with pytest.raises(InvalidRecordError, match=r"\$\.features"):
            client.score_one(b'{"events": [], "features": {"bureau": %b}}' % value)


def test_a_head_with_adapters_answers_under_its_own_name(connect, offline):
    answers = connect(f"scoring_{ADAPTED}").score(RECORDS)
    assert [list(answer.scores) for answer in answers] == [[ADAPTED]] * len(RECORDS)
    expected = [offline(raw, ADAPTED)[ADAPTED] for raw in RECORDS]
    got = [answer.scores[ADAPTED] for answer in answers]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    assert np.ptp(got) > 0.01


def test_the_plain_network_s_embedding_is_left_alone(connect, variant):
    expected = np.load(UPSTREAM / variant / "embeddings.npy")[11]
    np.testing.assert_allclose(connect().score_one(RECORDS[11]).embedding, expected, rtol=0, atol=1e-5)
    adapted = connect(f"scoring_{ADAPTED}").score_one(RECORDS[11]).embedding
    assert np.abs(adapted - expected).max() > 1e-2


@pytest.mark.parametrize("model", ["scoring", f"scoring_{ADAPTED}"])
def test_what_happens_from_eval_ts_on_changes_nothing(connect, model):
    client = connect(model)
    events = sorted(BASE["events"], key=lambda event: event["ts"])
    eval_ts = events[-2]["ts"]
    earlier = {**BASE, "events": [event for event in events if event["ts"] < eval_ts]}
    planted = {
        **BASE,
        "events": [*events, *({**events[0], "ts": eval_ts + days * DAY} for days in range(3))],
        "lifelong": [*BASE.get("lifelong", []), {"key": "account_opened", "ts": eval_ts}],
    }
    then = client.score_one({**earlier, "as_of": eval_ts})
    for record in (earlier, BASE, planted):
        answer = client.score_one({**record, "eval_ts": eval_ts})
        assert answer.scores == pytest.approx(then.scores, abs=1e-6)
        np.testing.assert_allclose(answer.embedding, then.embedding, rtol=0, atol=1e-6)
    assert client.score_one(planted).scores != pytest.approx(then.scores, abs=1e-4)


def test_a_forecast_moves_with_the_time_that_goes_by(connect):
    client = connect()
    newest_ts = max(event["ts"] for event in BASE["events"])
    today, later = (client.score_one({**BASE, "as_of": newest_ts + days * DAY}) for days in (0, 400))
    assert today.scores["churn"] != pytest.approx(later.scores["churn"], abs=1e-4)


def test_the_repository_says_what_it_holds(tuned_server, tuned_repository):
    manifest = read_manifest(tuned_repository)
    assert manifest.tasks == {"scoring": ["amount", "churn"], f"scoring_{ADAPTED}": [ADAPTED]}
    assert [(head.task, head.model) for head in manifest.heads] == [
        ("amount", "scoring"),
        ("churn", "scoring"),
        (ADAPTED, f"scoring_{ADAPTED}"),
    ]
    assert altered_files(tuned_repository) == []
    _, told, _ = describe(tuned_repository)
    assert told["tasks"] == manifest.tasks
    assert told["altered"] == []
    card = (tuned_repository / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert all(head.sha256 in card for head in manifest.heads)


def test_a_run_tells_its_tasks(tuned):
    _, told, _ = describe(tuned.path)
    assert told["tasks"] == {"amount": "hybrid", "churn": "probe", ADAPTED: "lora"}
