"""Every combination of heads and variants: each tensor of a step is one that its model declares, with one producer."""

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import TYPE_STRING

from pragmatiq_builder.export.configs import Templates, template_folder
from pragmatiq_builder.export.layout import scoring_models, tokenizer_of
from pragmatiq_builder.heads.saved import SavedHead
from tests.builder.export.heads_case import all_features, hybrid_head, linear_head, lora, probe

COMBINATIONS = ["no heads", "probe", "probe, recency", "hybrid", "lora alone", "lora beside others", "two loras"]


@pytest.fixture(params=COMBINATIONS)
def combination(request, run):
    names = all_features(run)
    heads = {
        "no heads": [],
        "probe": [linear_head("fraud", "probe", "event")],
        "probe, recency": [probe()],
        "hybrid": [hybrid_head("amount", names[::-1]), probe()],
        "lora alone": [lora(max_events=3)],
        "lora beside others": [probe(), lora(max_events=3)],
        "two loras": [lora("a"), lora("b")],
    }
    return request.param, [SavedHead(head, Path(head.task)) for head in heads[request.param]]


@pytest.fixture
def templates(run, combination):
    config = run.network.config
    return Templates(config.dim, config.text_dim, tokenizer_of(combination[1], run.vocabulary))


def configs_of(templates, models):
    parts = [templates.tokenizer(), *([templates.text_embedder()] if templates.text_dim else [])]
    parts += [config for model in models for config in (templates.scorer(model, ""), templates.ensemble(model))]
    return {config.name: config for config in parts}


def test_steps_fit_their_models(templates, combination, run):
    configs = configs_of(templates, scoring_models(combination[1]))
    for ensemble in (config for config in configs.values() if config.platform == "ensemble"):
        sizes = {tensor.name: tensor for tensor in ensemble.input}
        for step in ensemble.ensemble_scheduling.step:
            config = configs[step.model_name]
            assert {tensor.name for tensor in config.input} == set(step.input_map)
            assert {tensor.name for tensor in config.output} == set(step.output_map)
            assert set(step.input_map.values()) <= set(sizes)
            for tensor in config.input:
                produced = sizes[step.input_map[tensor.name]]
                assert (tensor.data_type, list(tensor.dims)) == (produced.data_type, list(produced.dims))
                assert tensor.allow_ragged_batch or min(tensor.dims) > 0
            assert not {step.output_map[tensor.name] for tensor in config.output} & set(sizes)
            sizes |= {step.output_map[tensor.name]: tensor for tensor in config.output}
        for tensor in ensemble.output:
            assert list(tensor.dims) == list(sizes[tensor.name].dims)
    assert ("text_embedder" in configs) == bool(run.network.config.text_dim)


def test_tasks_are_named_where_they_are_scored(templates, combination):
    for model in scoring_models(combination[1]):
        ensemble, scorer = templates.ensemble(model), templates.scorer(model, "")
        assert json.loads(ensemble.parameters["tasks"].string_value) == model.tasks
        for config in (ensemble, scorer):
            dims = {tensor.name: list(tensor.dims) for tensor in config.output}
            assert dims.get("scores") == ([len(model.tasks)] if model.tasks else None)
            assert dims["task_names"] == [len(json.dumps(model.tasks))]
        assert [step.model_name for step in ensemble.ensemble_scheduling.step][-1] == scorer.name


def test_no_output_is_of_strings_or_of_width_0(templates, combination):
    """A request with `classification` for an output of strings ends Triton."""
    for config in configs_of(templates, scoring_models(combination[1])).values():
        for tensor in config.output:
            assert tensor.data_type != TYPE_STRING
            assert 0 not in tensor.dims


def test_features_are_there_where_a_head_reads_some(templates, combination):
    level = {"probe, recency": "recency", "hybrid": "all", "lora beside others": "recency"}.get(combination[0])
    for config in configs_of(templates, scoring_models(combination[1])).values():
        text = text_format.MessageToString(config)
        assert ("features" in text) == (level is not None and config.name != "text_embedder")
        widths = [list(t.dims) for t in [*config.input, *config.output] if t.name == "features"]
        assert all(width == [len(templates.encoding.feature_names)] for width in widths)
    if level:
        assert templates.tokenizer().parameters["features"].string_value == level


def test_only_a_scorer_with_a_limit_states_it(templates, combination):
    limits = {
        model.ensemble: templates.scorer(model, "").parameters["max_events"].string_value
        for model in scoring_models(combination[1])
        if "max_events" in templates.scorer(model, "").parameters
    }
    expected = {"lora alone": {"scoring": "3"}, "lora beside others": {"scoring_loan": "3"}}
    assert limits == expected.get(combination[0], {})


def test_without_heads_the_templates_parameters_stand(run):
    config = run.network.config
    templates = Templates(config.dim, config.text_dim, tokenizer_of([], run.vocabulary))
    for name, written in configs_of(templates, scoring_models([])).items():
        text = (template_folder() / name / "config.pbtxt").read_text(encoding="utf-8")
        template = text_format.Parse(text, type(written)())
        assert written.parameters == template.parameters
        assert (written.backend, written.platform) == (template.backend, template.platform)
