"""Runs side by side: what differs is said, and heads are compared on the same rows or not at all."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pragmatiq_builder.comparison import compare, facts_of, runs_in, write_page
from pragmatiq_builder.comparison.rows import read_rows
from pragmatiq_builder.metrics import bootstrap
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError
from tests.builder.comparison.conftest import evaluate_made_up

METRICS = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 2, "val_loss": 2.5}]


@pytest.fixture
def may(made_up):
    return made_up("may", 1.0, metrics=METRICS)


@pytest.fixture
def june(made_up):
    return made_up("june", 2.5, {"seed": 7}, metrics=[{"step": 1, "loss": 1.5}])


def test_heads_are_compared_by_paired_draws_of_the_same_rows(may, june):
    found = compare([june, may], replicates=200)
    task = found.tasks["churn"]
    rows = {name: read_rows(path / "heads/churn/evaluation.parquet", "probe") for name, path in
            (("june", june), ("may", may))}  # fmt: skip
    first = rows["june"]
    scores = {name: each.scores for name, each in rows.items()}
    expected = bootstrap(first.labels, first.users, scores, "june", replicates=200)
    assert task.metrics == expected.estimates
    assert task.differences == {"may": expected.differences["may"]}
    assert task.differences["may"]["roc_auc"].verdict == "better"
    assert (task.rows, task.users, task.positives) == (400, 200, int(first.labels.sum()))
    assert found.not_compared == {}


def test_rows_of_another_order_are_the_same_rows(may, june):
    before = compare([june, may], replicates=40)
    file = june / "heads/churn/evaluation.parquet"
    table = pq.read_table(file)
    pq.write_table(table.take(pa.array(np.random.default_rng(0).permutation(len(table)))), file)
    assert compare([june, may], replicates=40).tasks == before.tasks


@pytest.mark.parametrize("change", ["fewer rows", "another label", "another moment"])
def test_other_rows_are_counted_and_none_is_compared(may, june, change):
    file = june / "heads/churn/evaluation.parquet"
    table = pq.read_table(file)
    if change == "fewer rows":
        table = table.slice(30)
    elif change == "another label":
        table = table.set_column(2, "label", pa.array(1 - table["label"].to_numpy(), pa.int8()))
    else:
        later = pa.array(table["eval_ts"].cast(pa.int64()).to_numpy() + 1).cast(pa.timestamp("us", tz="UTC"))
        table = table.set_column(1, "eval_ts", later)
    pq.write_table(table, file)
    found = compare([june, may], replicates=40)
    counts = {"fewer rows": "370 are in all files, and 0 more of june, 30 more of may"}
    assert (
        counts.get(change, "0 are in all files, and 400 more of june, 400 more of may") in found.not_compared["churn"]
    )
    assert "--test-from" in found.not_compared["churn"]
    assert found.tasks["churn"].metrics == {}


def test_settings_that_differ_are_listed_and_the_others_counted(may, june):
    settings = json.loads(json.dumps({"max_steps": 10, "p_token": 0.15}))
    for path, steps in ((may, 10), (june, 20)):
        (path / "run.yaml").write_text(json.dumps({**settings, "max_steps": steps}), encoding="utf-8")
    began = {"run": "may", "origin": "pragmatiq-triton", "weights_hash": "ab" * 32}
    meta = json.loads((june / "meta.json").read_text(encoding="utf-8"))
    (june / "meta.json").write_text(json.dumps({**meta, "init_from": began}), encoding="utf-8")
    found = compare([june, may], replicates=40)
    assert found.settings == {"max_steps": [20, 10], "init_from": ["may (abababababab)", None]}
    assert found.same_settings >= 2
    assert found.tasks["churn"].settings == {"seed": [7, None]}


def test_a_head_without_rows_names_the_command_that_makes_them(made_up, may):
    other = made_up("other")
    reason = compare([other, may]).not_compared["churn"]
    assert f"pragmatiq evaluate TOK --run {other} --label PARQUET --task churn" in reason
    assert "--rows other=FILE" in reason


def test_rows_of_another_file_take_the_place_of_the_stored_ones(made_up, may, tmp_path):
    other = made_up("other")
    evaluate_made_up(tmp_path / "out" / "churn", 2.5)
    file = tmp_path / "out" / "churn" / "evaluation.parquet"
    found = compare([other, may], rows={"other": file}, replicates=40)
    assert found.tasks["churn"].differences["may"]["roc_auc"].verdict == "better"


def test_too_few_users_of_a_class_are_a_reason(made_up):
    paths = [made_up(name, 1.0, n_rows=6, seed=seed) for seed, name in enumerate(("a", "b"))]
    for path in paths:
        file = path / "heads/churn/evaluation.parquet"
        table = pq.read_table(file)
        pq.write_table(table.set_column(2, "label", pa.array([1, 0, 0, 0, 0, 0], pa.int8())), file)
        one_user = pa.array(["u0", "u1", "u1", "u1", "u1", "u1"])
        pq.write_table(pq.read_table(file).set_column(0, "user_id", one_user), file)
    found = compare(paths, replicates=40)
    task = found.tasks["churn"]
    assert "lack a class" in (task.not_compared or "") or task.left_out_draws


def test_a_head_that_was_fitted_to_all_rows_afterwards_is_told(made_up, may, tmp_path):
    final = made_up("final", 2.0)
    file = final / "heads" / "churn" / "head.json"
    head = json.loads(file.read_text(encoding="utf-8"))
    head["info"]["final"] = {"rows": {"rows": 400}}
    file.write_text(json.dumps(head), encoding="utf-8")
    found = compare([final, may], replicates=40)
    (caution,) = found.tasks["churn"].cautions
    assert caution.startswith("The head of final was fitted to all rows after its evaluation")
    write_page(found, tmp_path / "page.html")
    assert caution in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_runs_of_one_name_are_told_apart_by_their_paths(may, tmp_path):
    again = shutil.copytree(may, tmp_path / "copy" / "may")
    found = compare([may, again], replicates=40)
    assert found.runs == [str(may), str(again)]
    difference = found.tasks["churn"].differences[str(again)]["roc_auc"]
    assert (difference.value, difference.verdict) == (0, "not distinguishable")


def test_what_cannot_be_compared_is_an_error_of_the_options(may, june, made_up):
    for arguments, words in (
        (([may],), "at least two runs"),
        (([may, may],), "given twice"),
    ):
        with pytest.raises(ConfigError, match=words):
            compare(*arguments)
    with pytest.raises(ConfigError, match="--task loan: no run has a head of it; there are churn"):
        compare([may, june], tasks=["loan"])
    with pytest.raises(ConfigError, match="--rows april: expected one of the runs may, june"):
        compare([may, june], rows={"april": may})


def test_files_that_are_no_rows_are_named(may, june, tmp_path):
    file = tmp_path / "rows.parquet"
    table = pq.read_table(june / "heads/churn/evaluation.parquet")
    for changed, words in (
        (table.drop_columns(["probe"]), "expected the rows of an evaluation.*'probe'"),
        (table.set_column(3, "probe", pa.array(table["probe"].to_numpy() + 1)), "no probability"),
        (table.set_column(2, "label", pa.nulls(len(table), pa.int8())), "400 rows have no label"),
        (table.slice(0, 0), "no rows"),
    ):
        pq.write_table(changed, file)
        with pytest.raises(DataError, match=words):
            compare([june, may], rows={"june": file})


def test_damaged_files_of_a_run_are_named(may):
    for file, content in (("run.yaml", "[1"), ("meta.json", "[]"), ("metrics.jsonl", "text\n")):
        whole = (may / file).read_bytes() if (may / file).exists() else None
        (may / file).write_text(content, encoding="utf-8")
        with pytest.raises(ArtifactError, match=file):
            facts_of(may)
        if whole is None:
            (may / file).unlink()
        else:
            (may / file).write_bytes(whole)


def test_runs_of_a_folder(may, june):
    (may.parent / "letter").mkdir()
    assert runs_in(may.parent) == [june, may]
    facts = facts_of(may)
    assert (facts.steps, facts.newest("loss"), facts.newest("val_loss"), facts.origin) == (2, 2.0, 2.5, "upstream")
    with pytest.raises(ArtifactError, match="expected a folder of runs"):
        runs_in(may.parent / "nowhere")


def test_the_page_is_whole_escaped_and_the_same_each_time(may, june, tmp_path):
    odd = june.rename(june.with_name("june <b>"))
    found = compare([odd, may], replicates=40)
    for name in ("a.html", "b.html"):
        write_page(found, tmp_path / name)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "june &lt;b&gt;" in page
    assert "<b>" not in page
    assert page.count("<svg") >= 5
    for words in ("Settings that differ", "Training loss", "Validation loss", "ROC-AUC", "better than may by"):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_page_says_why_a_task_is_not_compared(made_up, may, tmp_path):
    write_page(compare([made_up("other"), may]), tmp_path / "page.html")
    assert "Not compared: no tested rows of other" in (tmp_path / "page.html").read_text(encoding="utf-8")
