"""Parameters of a config: typed, with one default each, and never a misspelt one."""

import pytest

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.records import RecordLimits
from pragmatiq_triton.serving.parameters import (
    ScorerParameters,
    TextEmbedderParameters,
    TokenizerParameters,
    read_parameters,
)


def test_what_is_not_given_has_its_default():
    assert read_parameters(TokenizerParameters, {}).limits == RecordLimits()
    assert read_parameters(TokenizerParameters, {"max_events": "7"}).limits == RecordLimits(max_events=7)
    assert read_parameters(ScorerParameters, {"tasks": '["churn", "fraud"]'}).task_list == ["churn", "fraud"]
    assert read_parameters(TextEmbedderParameters, {"device": "cuda:1"}).device == "cuda:1"


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (TokenizerParameters, {"max_event": "5"}, "no parameter is called max_event; is max_events meant"),
        (ScorerParameters, {"limit": "5"}, "called limit; expected one of threads, event_ca"),
        (
            ScorerParameters,
            {"threads": "two"},
            "threads in config.pbtxt: expected a whole number of at least 0, got 't",
        ),
        (ScorerParameters, {"threads": "-1"}, "threads in config.pbtxt: expected a whole number of at least 0"),
        (TokenizerParameters, {"features": "most"}, "features in config.pbtxt: expected one of none, .*got 'most'"),
        (ScorerParameters, {"tasks": "churn"}, "tasks in config.pbtxt: .* expected a JSON list of names"),
    ],
)
def test_what_is_unknown_or_no_value_is_named(kind, given, told):
    with pytest.raises(ConfigError, match=told):
        read_parameters(kind, given).task_list  # noqa: B018


def test_triton_s_own_parameters_are_left_to_it():
    given = {"EXECUTION_ENV_PATH": "/env.tar.gz", "FORCE_CPU_ONLY_INPUT_TENSORS": "no"}
    assert read_parameters(ScorerParameters, given) == ScorerParameters()
