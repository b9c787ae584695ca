"""Runs listed and compared as a user types it: text, JSON, a page, exit codes."""

import shutil

import pyarrow.parquet as pq
import pytest

import pragmatiq_triton as pt
from tests.builder.comparison.conftest import evaluate_made_up
from tests.builder.export.heads_case import probe, run_with


@pytest.fixture
def runs(tmp_path):
    """A folder with two runs whose heads were evaluated on the same rows."""
    for name, strength in (("may", 1.0), ("june", 2.5)):
        run = run_with(tmp_path / "runs" / name, "bpe", probe(settings={"method": "probe"}))
        evaluate_made_up(run.path / "heads" / "churn", strength)
    return tmp_path / "runs"


def test_a_list_says_what_each_run_is(call, runs):
    text = call("runs", "list", "--runs-root", runs).out
    assert [line.split()[0] for line in text.splitlines()] == ["run", "june", "may"]
    assert "churn (probe, ROC-AUC 0." in text
    (june, may) = call("runs", "list", "--runs-root", runs, "--json").json["runs"]
    assert (june["name"], june["heads"][0]["task"], may["checkpoint"]) == ("june", "churn", True)


def test_a_damaged_run_is_named_beside_the_others(call, runs):
    shutil.copytree(runs / "may", runs / "april")
    (runs / "april" / "meta.json").write_text("{", encoding="utf-8")
    done = call("runs", "list", "--runs-root", runs, expect=4)
    assert "june" in done.out
    assert "april/meta.json" in done.err
    assert list(call("runs", "list", "--runs-root", runs, "--json", expect=4).json["damaged"]) == ["april"]


def test_an_empty_folder_has_no_runs(call, tmp_path):
    assert "no runs in" in call("runs", "list", "--runs-root", tmp_path).out


def test_a_comparison_in_text_json_and_html(call, runs, tmp_path):
    report = tmp_path / "page.html"
    done = call("runs", "compare", runs / "june", runs / "may", "--replicates", 100, "--report", report)
    assert "june: ROC-AUC better than may by 0." in done.out
    assert "400 rows" in done.out
    assert "<svg" in report.read_text(encoding="utf-8")
    values = call("runs", "compare", runs / "june", runs / "may", "--replicates", 100, "--json").json
    difference = values["tasks"]["churn"]["differences"]["may"]["roc_auc"]
    assert difference["verdict"] == "better"
    assert difference["low"] > 0
    assert set(values["curves"]) == {"june", "may"}


def test_rows_that_differ_end_with_4_after_everything_else_was_told(call, runs, tmp_path):
    file = runs / "may" / "heads" / "churn" / "evaluation.parquet"
    pq.write_table(pq.read_table(file).slice(10), file)
    report = tmp_path / "page.html"
    done = call("runs", "compare", runs / "june", runs / "may", "--report", report, expect=4)
    assert "390 are in all files" in done.err
    assert "error: not compared: churn" in done.err
    assert "Settings that differ" in done.out
    assert "Not compared" in report.read_text(encoding="utf-8")


def test_wrong_options_are_one_line(call, runs):
    assert "RUN=PARQUET" in call("runs", "compare", runs / "june", runs / "may", "--rows", "x", expect=2).err
    assert "at least two" in call("runs", "compare", runs / "june", expect=2).err
    assert "runs compare" in call("runs", "compare", "--help").out


def test_the_function_has_what_the_command_shows(call, runs, tmp_path):
    paths = (runs / "june", runs / "may")
    found = pt.compare_runs(paths, task=["churn"], replicates=100, report=tmp_path / "page.html")
    shown = call("runs", "compare", *paths, "--replicates", 100, "--json").json
    difference = shown["tasks"]["churn"]["differences"]["may"]["roc_auc"]
    assert found.tasks["churn"].differences["may"]["roc_auc"].low == difference["low"]
    assert (tmp_path / "page.html").is_file()
    file = runs / "may" / "heads" / "churn" / "evaluation.parquet"
    pq.write_table(pq.read_table(file).slice(10), file)
    assert "390 are in all files" in pt.compare_runs(paths).not_compared["churn"]
    other = tmp_path / "of=june.parquet"
    other.write_bytes((runs / "june" / "heads" / "churn" / "evaluation.parquet").read_bytes())
    call("runs", "compare", *paths, "--task", "churn", "--rows", f"may={other}", "--replicates", 40)
