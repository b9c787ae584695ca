from pathlib import Path

import pytest

from pragmatiq_builder.export.layout import require_fitted_to, scoring_models, tokenizer_of
from pragmatiq_builder.heads.saved import SavedHead
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.tokenizer.features import HistoryFeatures
from tests.builder.export.heads_case import hybrid_head, linear_head, lora, probe


def saved(*heads):
    return [SavedHead(head, Path(head.task)) for head in heads]


def names(heads):
    return [(model.ensemble, model.scorer, model.tasks, model.max_events) for model in scoring_models(heads)]


def test_heads_on_the_plain_network_share_one_scorer():
    heads = saved(hybrid_head("amount", ("x",)), probe())
    assert names([]) == [("scoring", "scorer", [], 0)]
    assert names(heads) == [("scoring", "scorer", ["amount", "churn"], 0)]
    assert scoring_models(heads)[0].adapted is None


def test_a_lone_head_with_adapters_takes_the_scorer():
    (model,) = scoring_models(saved(lora(max_events=256)))
    assert (model.ensemble, model.scorer, model.tasks, model.max_events) == ("scoring", "scorer", ["loan"], 256)
    assert model.adapted.head.task == "loan"


def test_adapters_beside_others_get_models_of_their_own():
    assert names(saved(probe(), lora(max_events=None))) == [
        ("scoring", "scorer", ["churn"], 0),
        ("scoring_loan", "scorer_loan", ["loan"], 0),
    ]


def test_two_sets_of_adapters_leave_the_plain_network_without_tasks():
    assert names(saved(lora("a", max_events=3), lora("b.c-1"))) == [
        ("scoring", "scorer", [], 0),
        ("scoring_a", "scorer_a", ["a"], 3),
        ("scoring_b.c-1", "scorer_b.c-1", ["b.c-1"], 0),
    ]


def test_model_names_that_differ_in_case_only_are_refused():
    with pytest.raises(ArtifactError, match=r"tasks Loan and loan: .* rename one"):
        scoring_models(saved(lora("Loan"), lora("loan")))
    # Tasks without models of their own are no folders.
    assert len(scoring_models(saved(linear_head("A", "probe", "user"), linear_head("a", "probe", "user")))) == 1


@pytest.mark.parametrize("level", ["none", "recency", "all"])
def test_the_tokenizer_computes_no_more_than_some_head_reads(run, level):
    columns = tuple(HistoryFeatures.of(run.vocabulary, level).names)
    heads = saved(lora(), linear_head("x", "probe", "user", features=columns[-1:]))
    assert tokenizer_of(heads, run.vocabulary).features.level == level


@pytest.mark.parametrize("name", ["weights_hash", "tokenizer_hash"])
def test_a_head_of_another_run_is_named(name):
    hashes = {"weights_hash": "w", "tokenizer_hash": "t"}
    require_fitted_to(saved(probe(), lora(**hashes)), "t", "w")
    with pytest.raises(ArtifactError, match=f"head loan: fitted with {name} other, .* fine-tune the task again"):
        require_fitted_to(saved(probe(**hashes), lora(**hashes | {name: "other"})), "t", "w")
