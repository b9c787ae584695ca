"""The program as a user runs it: fetched, exported, served and measured."""

import json

import pytest

from bench.serving.__main__ import main
from bench.serving.options import parse


@pytest.mark.slow
@pytest.mark.triton
def test_a_quick_run_measures_every_cell_and_ends_without_errors(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("bench.serving.options.SHARED", tmp_path / "nothing")
    files = [tmp_path / "report.json", tmp_path / "report.png"]
    where = ["--work", tmp_path / "work", "--json", files[0], "--plot", files[1]]
    main([*map(str, where), "--preset", "quick", "--variants", "embed", "--memory", "--customers", "40"])
    report = json.loads(files[0].read_text(encoding="utf-8"))
    assert {(cell["mode"], cell["callers"]) for cell in report["cells"]} == {
        ("empty", 1),
        ("cold", 1),
        ("warm", 1),
        ("warm", 8),
        ("warm", 0),
    }
    for cell in report["cells"]:
        (measured,) = cell["rounds"]
        assert 0 < measured["p50"] <= measured["p95"] <= measured["p99"]
        assert measured["requests_per_second"] > 0
    assert report["memory"]["customers"][-1] == 40
    assert {"tokenizer", "text_embedder", "scorer"} <= report["memory"]["models"].keys()
    assert files[1].stat().st_size > 0
    assert "warm, 16 events, 8 callers" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.triton
def test_upstream_is_measured_on_a_machine_where_nothing_is_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.serving.options.SHARED", tmp_path / "nothing")
    monkeypatch.chdir(tmp_path)
    main(["--vs-upstream", "--preset", "quick", "--json", "report.json"])
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {cell["variant"] for cell in report["cells"] if cell["toolkit"] == "upstream"} == {"bpe", "embed"}
    assert len(report["largest_difference"]) == 2
    assert max(report["largest_difference"].values()) < 1e-4


def test_a_folder_without_runs_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.serving.__main__.perf_analyzer", lambda folder: None)
    with pytest.raises(SystemExit, match="run_bpe_small"):
        main(["--given", str(tmp_path), "--work", str(tmp_path / "work")])


@pytest.mark.parametrize(
    "words",
    [["--variants", "bpe,text"], ["--events", "0"], ["--rounds", "0"], ["--seconds", "-1"], ["--requests", "0"]],
)
def test_impossible_options_are_refused(words):
    with pytest.raises(SystemExit):
        parse(words, None)


def test_rounds_and_seconds_depend_on_the_preset_unless_they_are_named():
    assert parse(["--preset", "quick"], None).rounds == 1
    assert parse([], None).rounds == 3
    assert parse(["--preset", "quick", "--rounds", "4", "--seconds", "2"], None).rounds == 4
    assert parse(["--seconds", "2"], None).seconds == 2
