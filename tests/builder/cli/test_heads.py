"""The commands of task heads as a user types them; in this process, since each one loads torch."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pragmatiq_builder.finetune import encoding, fitting
from pragmatiq_builder.head_methods import METHODS
from tests.builder.finetune.customers import exported_once, make_bank

SETTINGS = {
    "probe": {"classifier": "logistic"},
    "hybrid": {"seed": 1},
    "lora": {"lora": {"max_epochs": 1, "max_events": 6, "token_budget": 600, "accelerator": "cpu"}},
}
"""What a file may say for each method: a setting that the method does not read is refused."""


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    made = make_bank(folder)
    configs = {method: folder / f"{method}.yaml" for method in SETTINGS}
    for method, config in configs.items():
        config.write_text(yaml.safe_dump(SETTINGS[method]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "exported", lambda _: exported_once(made.run.network))
        # Trying trees, too, takes most of the time.
        patch.setattr(fitting, "choose_classifier", lambda *_: "logistic")
        yield SimpleNamespace(tok=made.data.folder, run=made.run.path, labels=made.labels, configs=configs)


def options(bank, task, kind="user"):
    return (bank.tok, "--run", bank.run, "--label", bank.labels[kind], "--task", task)


def test_help_says_what_the_methods_are(call):
    text = call("finetune", "--help").text
    for method in ("probe", "hybrid", "lora"):
        assert f"{method}:" in text
    assert "two baselines" in call("evaluate", "--help").text


def test_the_command_offers_the_methods_that_there_are(call):
    shown = "".join(call("finetune", "--help").text.split())
    assert "|".join(METHODS) in shown


@pytest.mark.parametrize("method", ["probe", "hybrid", "lora"])
def test_a_head_is_fitted_and_measured(call, bank, tmp_path, method):
    fitted = call(
        "finetune", *options(bank, method), "--config", bank.configs[method], "--method", method, "--json"
    ).json
    assert (fitted["task"], fitted["kind"], fitted["settings"]["method"]) == (method, "user", method)
    for name, value in SETTINGS[method].items():
        assert fitted["settings"][name] == (fitted["settings"][name] | value if name == "lora" else value)
    assert fitted["rows"].keys() == {"train", "calibration", "test"}
    stored = json.loads((bank.run / "heads" / method / "head.json").read_text(encoding="utf-8"))
    assert stored["info"].items() <= fitted.items()
    found = call("evaluate", *options(bank, method), "--out", tmp_path, "--replicates", 40, "--json").json
    assert found == json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert found["splits"]["test"] == fitted["rows"]["test"]
    assert (tmp_path / "evaluation.html").is_file()


def test_people_get_tables_and_the_next_step(call, bank):
    done = call("finetune", *options(bank, "fraud", "event"), "--config", bank.configs["probe"])
    stored = json.loads((bank.run / "heads" / "fraud" / "head.json").read_text(encoding="utf-8"))["info"]
    train = stored["rows"]["train"]
    assert f"{train['rows']} rows, {train['positives']} positive" in done.text
    assert "skipped │ none" in done.text
    assert f"next: pragmatiq evaluate {bank.tok} --run {bank.run}" in done.text
    done = call("evaluate", *options(bank, "fraud", "event"), "--replicates", 40)
    result = json.loads((bank.run / "heads" / "fraud" / "evaluation.json").read_text(encoding="utf-8"))
    area = result["metrics"]["probe"]["roc_auc"]
    assert f"probe: roc_auc │ {area['value']:.4f} [{area['low']:.4f}, {area['high']:.4f}]" in done.text
    assert "counts: roc_auc" in done.out
    assert "than features" in done.err or "distinguishable from features" in done.err
    assert f"report: {bank.run / 'heads' / 'fraud' / 'evaluation.html'}" in done.text


def test_out_of_time_then_final(call, bank, tmp_path):
    dates = ("--test-from", "2024-01-10", "--calibration-from", "2023-12-20")
    done = call("finetune", *options(bank, "dated"), "--config", bank.configs["probe"], *dates)
    assert "by dates: test rows are later, of all users;" in done.text
    assert "is not evaluated" in call("finetune", *options(bank, "dated"), "--final", expect=2).text
    call("evaluate", *options(bank, "dated"), "--replicates", 40)
    refused = call("finetune", *options(bank, "dated"), "--final", "--method", "probe", *dates, expect=2).text
    assert "so --method, --test-from, --calibration-from would do nothing" in refused
    done = call("finetune", *options(bank, "dated"), "--final")
    assert "rows, all of them; the parts are of the evaluated head" in done.text
    assert f"next: pragmatiq export {bank.run}" in done.text
    assert "none is held out" in call("evaluate", *options(bank, "dated"), expect=2).text
    assert "dated" in call("info", bank.run, "--json").json["fitted_to_all_rows"]
    call("finetune", *options(bank, "older"), "--config", bank.configs["probe"], *dates)
    arguments = ("evaluate", *options(bank, "older"), "--out", tmp_path, "--replicates", 40)
    assert "all users, from 2024-01-20 on" in call(*arguments, "--test-from", "2024-01-20").text
    wrong = ("--unseen-users", "--config", bank.configs["probe"])
    assert (
        "unseen_users does nothing without test_from"
        in call("finetune", *options(bank, "wrong"), *wrong, expect=2).text
    )


def test_folds_are_told(call, bank, tmp_path):
    call("finetune", *options(bank, "folded"), "--config", bank.configs["probe"])
    arguments = ("evaluate", *options(bank, "folded"), "--out", tmp_path, "--replicates", 40)
    assert "2-fold cross-validation" in call(*arguments, "--folds", 2).out
    assert "1 folds: expected 2 or more" in call(*arguments, "--folds", 1, expect=2).err


def one_class(path, bank):
    table = pq.read_table(bank.labels["user"])
    ones = pa.array(np.ones(len(table), np.int8))
    pq.write_table(table.set_column(table.column_names.index("label"), "label", ones), path)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods: lora", "there is no setting methods; choose from method, classifier"),
        ("lora: {ranks: 4}", "unknown field `ranks`"),
        ("split: {test_share: 2}", "split.test_share"),
    ],
)
def test_a_setting_that_does_not_exist_or_fit_ends_with_2(call, bank, tmp_path, text, message):
    config = tmp_path / "wrong.yaml"
    config.write_text(text, encoding="utf-8")
    done = call("finetune", *options(bank, "refused"), "--config", config, expect=2)
    assert "wrong.yaml" in done.text
    assert message in done.text


def test_a_task_that_cannot_be_a_key_ends_with_2(call, bank):
    assert "error: task 'a/b': expected 1 to 64 letters" in call("finetune", *options(bank, "a/b"), expect=2).text


def test_labels_that_cannot_be_used_end_with_3(call, bank, tmp_path):
    arguments = [*options(bank, "refused")]
    arguments[arguments.index("--label") + 1] = one_class(tmp_path / "ones.parquet", bank)
    assert "ones.parquet: expected rows of both classes" in call("finetune", *arguments, expect=3).text
    assert not (bank.run / "heads" / "refused").exists()


def test_what_is_missing_ends_with_4(call, bank):
    assert "there is no head; run `pragmatiq finetune" in call("evaluate", *options(bank, "none"), expect=4).text
    arguments = ("--run", bank.tok, "--label", bank.labels["user"], "--task", "none")
    assert "no checkpoint" in call("finetune", bank.tok, *arguments, expect=4).text


def test_int8_is_exported_with_its_cost(call, bank, tmp_path):
    run, out = shutil.copytree(bank.run, tmp_path / "run", ignore=shutil.ignore_patterns("heads")), tmp_path / "out"
    labels = ("--label", bank.labels["user"], "--task", "churn")
    call("finetune", bank.tok, "--run", run, *labels, "--config", bank.configs["probe"])
    arguments = ("export", run, "--out", out, "--precision", "int8", "--data", bank.tok)
    assert "int8 costs churn would be unknown" in call(*arguments, expect=2).text
    done = call(*arguments, "--label", f"churn={bank.labels['user']}")
    manifest = call("info", out, "--json").json
    assert manifest["precision"] == "int8"
    cost = manifest["quantization"]["scoring"]["tasks"]["churn"]
    assert f"churn: ROC-AUC {cost['roc_auc']['int8'] - cost['roc_auc']['fp32']:+.5f}" in done.text
    assert f"cosine at least {manifest['quantization']['scoring']['embedding_cosine']['min']:.6f}" in done.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "int8"), "--precision int8 needs --data TOK"),
        (("--data", "TOK"), "--data and --label are for --precision int8"),
        (("--label", "churn=x.parquet"), "--data and --label are for --precision int8"),
        (("--precision", "int8", "--data", "TOK", "--label", "churn"), "--label churn: expected TASK=PARQUET"),
        (("--precision", "int8", "--data", "TOK", "--label", "=x.parquet"), "expected TASK=PARQUET"),
        (("--precision", "int8", "--data", "TOK", *("--label", "a=x", "--label", "a=y")), "one file per task"),
        (("--precision", "int8", "--data", "TOK", "--label", "none=x.parquet"), "has no such task; its tasks: "),
        (
            (
                "--precision",
                "int4",
            ),
            "int4",
        ),
    ],
)
def test_options_of_int8_that_do_not_fit_end_with_2(call, bank, tmp_path, arguments, message):
    words = [bank.tok if word == "TOK" else word for word in arguments]
    assert message in call("export", bank.run, "--out", tmp_path / "repository", *words, expect=2).text
    assert list(tmp_path.iterdir()) == []


def test_a_second_head_is_refused_with_2_and_overwrite_replaces_it(call, bank):
    call("finetune", *options(bank, "second"), "--config", bank.configs["probe"])
    done = call("finetune", *options(bank, "second"), "--config", bank.configs["probe"], expect=2)
    assert "--overwrite replaces it, another --task keeps both" in done.text
    done = call("finetune", *options(bank, "second"), "--config", bank.configs["probe"], "--overwrite")
    assert "replaced: the head of second (probe, fitted to" in done.text
