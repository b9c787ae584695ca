"""What an operator sets of models: the variable over the file over the repository; a wrong word is refused by name."""

import re

import pytest

from pragmatiq_builder.export.configs import template_folder
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.model_config import config_facts
from pragmatiq_triton.operator_settings import changed, lines, read_model_settings, read_settings_file, unread_variables
from pragmatiq_triton.repository_view import view_of


@pytest.fixture
def models(tmp_path):
    """The configs of a repository with a second scorer, in a folder that Triton itself could not read."""
    folder = tmp_path / "with space and ü"
    for name in ("scorer", "scoring", "text_embedder", "tokenizer"):
        for copy in (name, "scorer_loan") if name == "scorer" else (name,):
            (folder / copy / "1").mkdir(parents=True)
            (folder / copy / "1" / "model.py").write_text(copy)
            text = (template_folder() / name / "config.pbtxt").read_text(encoding="utf-8")
            (folder / copy / "config.pbtxt").write_text(text, encoding="utf-8")
    (folder / "manifest.json").write_text("{}")
    return folder


def test_the_variable_wins_over_the_file_and_the_file_over_the_repository(models):
    parts = {"gateway": {}, "scorer": {"threads": 2, "instances": 3}, "tokenizer": {"latest_time": "2050-12-31"}}
    variables = {
        "PRAGMATIQ_SCORER_THREADS": "4",
        "PRAGMATIQ_SCORER_LOAN_EVENT_CACHE_BYTES": "0",
        "PRAGMATIQ_TEXT_EMBEDDER_DEVICE": "cuda:0",
        "PRAGMATIQ_GATEWAY_LIMITS_MAX_RECORDS": "1",
        "PRAGMATIQ_DRAIN_SECONDS": "3",
        "OTHER_SCORER_THREADS": "9",
    }
    found = read_model_settings(models, parts, variables, "s.yaml")
    assert changed(found) == {
        "scorer": {"threads": "4", "instances": "3"},
        "scorer_loan": {"event_cache_bytes": "0"},
        "text_embedder": {"device": "cuda:0"},
        "tokenizer": {"latest_time": "2050-12-31"},
    }
    assert found["scorer"]["event_cache_bytes"] == ("268435456", "repository")
    assert "scorer: threads = 4 (PRAGMATIQ_SCORER_THREADS)" in lines(found)
    assert "scorer: instances = 3 (s.yaml)" in lines(found)
    assert changed(read_model_settings(models, {}, {})) == {}


@pytest.mark.parametrize(
    ("parts", "variables", "problem"),
    [
        ({"scorrer": {}}, {}, "s.yaml: scorrer: no such model; expected gateway or scorer, scorer_loan, "),
        ({"scorer": {"thread": 1}}, {}, "s.yaml: scorer.thread: no such setting; expected one of .*threads"),
        ({"scorer": {"tasks": "[]"}}, {}, "s.yaml: scorer.tasks: belongs to the model"),
        ({"scorer": {"event_vectors": "x"}}, {}, "belongs to the model"),
        ({"scorer": {"latest_time": "2050-12-31"}}, {}, "scorer.latest_time: no such setting"),
        ({"scorer": {"threads": "two"}}, {}, "expected a whole number of at least 0, got 'two'"),
        ({"scorer": {"threads": -1}}, {}, "expected a whole number of at least 0, got -1"),
        ({"scorer": {"threads": True}}, {}, "expected a whole number, got True"),
        ({"scorer": {"threads": 1.5}}, {}, "expected a whole number, got 1.5"),
        ({"scorer": {"threads": None}}, {}, "expected a whole number, got None"),
        ({"scorer": {"instances": 0}}, {}, "expected a whole number of at least 1, got 0"),
        ({"text_embedder": {"device": 'cpu" } }'}}, {}, "expected a word of printable ASCII without quotes"),
        ({"text_embedder": {"device": "a\\b"}}, {}, "expected a word of printable ASCII without quotes"),
        (
            {"text_embedder": {"device": "gpu"}},
            {},
            "device: expected cpu, cuda, .* or one of several as cuda:1, got 'gpu'",
        ),
        ({}, {"PRAGMATIQ_TEXT_EMBEDDER_DEVICE": "cuda:x"}, "DEVICE: expected cpu, cuda"),
        ({"scorer": 3}, {}, "scorer: expected settings by name, got int"),
        ({}, {"PRAGMATIQ_SCORER_THREAD": "1"}, "PRAGMATIQ_SCORER_THREAD: no such setting"),
        ({}, {"PRAGMATIQ_SCORER_THREADS": "x"}, "PRAGMATIQ_SCORER_THREADS: expected a whole number .*got 'x'"),
        (
            {},
            {"PRAGMATIQ_SCORER_EVENT_CACHE_BYTES": ""},
            "^PRAGMATIQ_SCORER_EVENT_CACHE_BYTES is set but empty: expected a whole number; give it a value, "
            r"or unset it, which leaves 268435456 \(repository\)$",
        ),
        ({}, {"PRAGMATIQ_TOKENIZER_LATEST_TIME": ""}, "LATEST_TIME is set but empty: expected a date; .* unset it$"),
        ({"scorer": {"threads": ""}}, {}, "s.yaml: scorer.threads: expected a whole number of at least 0, got ''"),
        ({}, {"PRAGMATIQ_SCORRER_THREADS": "1"}, "PRAGMATIQ_SCORRER_THREADS: no model of that name"),
    ],
)
def test_a_wrong_word_is_refused_by_its_name(models, parts, variables, problem):
    with pytest.raises(ConfigError, match=problem):
        read_model_settings(models, parts, variables, "s.yaml")


def test_a_variable_that_nothing_reads_is_told_by_name(models):
    variables = {
        "PRAGMATIQ_SCORRER_THREDS": "1",
        "PRAGMATIQ_SETINGS": "/etc/settings.yaml",
        "PRAGMATIQ_FROBNICATE": "1",
        # Read: by models, the gateway, the container, or put there by Kubernetes.
        "PRAGMATIQ_SCORER_THREADS": "1",
        "PRAGMATIQ_GATEWAY_LIMITS_MAX_RECORDS": "1",
        "PRAGMATIQ_DRAIN_SECONDS": "1",
        "PRAGMATIQ_SCORER_SERVICE_HOST": "10.0.0.1",
        "PRAGMATIQ_SCORER_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PRAGMATIQ_SCORER_PORT": "tcp://10.0.0.1:8000",
    }
    assert unread_variables(read_model_settings(models, {}, variables), variables) == [
        "warning: PRAGMATIQ_FROBNICATE: nothing reads this variable",
        "warning: PRAGMATIQ_SCORRER_THREDS: nothing reads this variable; is PRAGMATIQ_SCORER_THREADS meant?",
        "warning: PRAGMATIQ_SETINGS: nothing reads this variable; is PRAGMATIQ_SETTINGS meant?",
    ]


@pytest.mark.parametrize("content", ["- 1", "a: [", "\xff", "3", "1: 2", "scorer: {threads: 1}\nscorer: {threads: 2}"])
def test_a_file_that_is_no_settings_is_refused_by_its_name(tmp_path, content):
    file = tmp_path / "settings.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=re.escape(str(file))):
        read_settings_file(file)


def test_dates_need_no_quotation_marks(models, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("tokenizer: {latest_time: 2050-12-31}\n")
    assert changed(read_model_settings(models, read_settings_file(file), {})) == {
        "tokenizer": {"latest_time": "2050-12-31"}
    }


def test_a_view_has_the_settings_and_links_to_all_else(models, tmp_path):
    before = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    folder = tmp_path / "server"
    folder.mkdir()
    settings = {"scorer": {"threads": "4", "instances": "3"}, "tokenizer": {"latest_time": "2050-12-31"}}
    view = view_of(models, folder, settings)
    assert view.parent == folder
    for model, values in settings.items():
        was, found = (config_facts((each / model / "config.pbtxt").read_text()) for each in (models, view))
        assert (found.fixed, found.settings) == (was.fixed, {**was.settings, **values})
        assert (view / model / "1").is_symlink()
        assert (view / model / "1" / "model.py").read_text() == model
    for link in ("scoring", "scorer_loan", "text_embedder", "manifest.json"):
        assert (view / link).is_symlink()
    assert {path: path.read_bytes() for path in models.rglob("*") if path.is_file()} == before


def test_what_is_no_model_is_not_in_the_view(models, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    (models / "lost+found").mkdir()
    view = view_of(models, folder, {})
    assert sorted(each.name for each in view.iterdir()) == [
        "manifest.json", "scorer", "scorer_loan", "scoring", "text_embedder", "tokenizer"
    ]  # fmt: skip
    assert all(each.is_symlink() for each in view.iterdir())


@pytest.mark.parametrize("name", ["with space", "ümlaut", "$HOME", "a'b", "(1)", "a;b"])
def test_a_repository_whose_path_a_shell_reads_otherwise_is_linked(name, tmp_path):
    repository, folder = tmp_path / name, tmp_path / "server"
    repository.mkdir()
    folder.mkdir()
    assert view_of(repository, folder, {}) == folder / "repository"
    assert (folder / "repository").resolve() == repository
    assert view_of(folder, folder, {}) == folder


def test_a_config_in_which_a_setting_has_no_place_is_named(models, tmp_path):
    config = models / "scorer" / "config.pbtxt"
    config.write_text(config.read_text().replace("instance_group [ { count: 1 kind: KIND_CPU } ]", ""))
    with pytest.raises(ConfigError, match=r"scorer/config\.pbtxt: instances cannot be set in it"):
        view_of(models, tmp_path, {"scorer": {"instances": "2"}})
