"""What is changed in an exported repository, and what is left alone."""

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from bench.serving.repositories import bounded, without_empty_scores
from builder.export.configs import template_folder


def test_only_parameters_that_a_model_has_are_set(tmp_path):
    repository, copy = tmp_path / "repository", tmp_path / "copy"
    for model, parameter in (("scorer", "event_cache_bytes"), ("tokenizer", "max_events")):
        folder = repository / model
        folder.mkdir(parents=True)
        text = f'name: "{model}"\nparameters {{ key: "{parameter}" value {{ string_value: "5" }} }}\n'
        (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    assert bounded(repository, copy, {"event_cache_bytes": 77, "text_cache_bytes": 78}) == {"event_cache_bytes": 77}
    assert '"77"' in (copy / "scorer" / "config.pbtxt").read_text(encoding="utf-8")
    assert '"5"' in (copy / "tokenizer" / "config.pbtxt").read_text(encoding="utf-8")
    assert '"5"' in (repository / "scorer" / "config.pbtxt").read_text(encoding="utf-8")


@pytest.mark.parametrize(("tasks", "outputs"), [([], ["embedding"]), (["fraud"], ["scores", "embedding", "tasks"])])
def test_scores_go_where_there_are_no_tasks(tmp_path, tasks, outputs):
    folder = tmp_path / "scoring"
    folder.mkdir()
    text = (template_folder() / "scoring" / "config.pbtxt").read_text(encoding="utf-8")
    ensemble = text_format.Parse(text, ModelConfig())
    ensemble.parameters["tasks"].string_value = str(tasks).replace("'", '"')
    (folder / "config.pbtxt").write_text(text_format.MessageToString(ensemble), encoding="utf-8")
    without_empty_scores(tmp_path)
    changed = text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), ModelConfig())
    assert [output.name for output in changed.output] == outputs
    scorer = changed.ensemble_scheduling.step[-1]
    assert sorted(scorer.output_map) == sorted(outputs)
    assert changed.input == ensemble.input
