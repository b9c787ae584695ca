"""What is changed in an exported repository, and what is left alone."""

from bench.serving.repositories import bounded


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
