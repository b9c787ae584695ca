import re

import msgspec
import numpy as np
import pytest

from pragmatiq_builder.dataset.field_table import Field, FieldTable
from pragmatiq_builder.export.manifest import FORMAT, Change, Cosine, HeadEntry, Manifest, Quantization, TaskCost
from pragmatiq_builder.export.model_card import write_model_card
from pragmatiq_builder.heads.saved import saved_heads
from pragmatiq_builder.metrics import Split, evaluate_scores
from pragmatiq_builder.metrics.wording import compared, in_words
from pragmatiq_triton.errors import ArtifactError
from tests.builder.export.heads_case import lora, probe, run_with

INFO = {
    "rows": {
        "train": {"rows": 4001, "positives": 1203, "users": 2005},
        "calibration": {"rows": 807, "positives": 241, "users": 409},
        "test": {"rows": 611, "positives": 163, "users": 307},
    },
    "cutoff": "2017-07-01T00:00:00",
    "left_out": 77,
    "skipped": {"no event before | eval_ts": 31},
    "label_file": "a|b_`c`.parquet",
    "labels_sha256": "ab" * 32,
    "settings": {"method": "probe", "split": {"seed": 0}},
}


def evaluation_of(task, baseline="counts"):
    rng = np.random.default_rng(0)
    labels = rng.random(200) < 0.3
    informed, guessed = (1 / (1 + np.exp(1 - strength * labels - rng.normal(size=200))) for strength in (2, 0.3))
    return evaluate_scores(
        labels.astype(int),
        np.arange(200).astype(str),
        {"probe": informed, baseline: guessed},
        "probe",
        task=task,
        kind="user",
        method="probe",
        run="run",
        protocol="held-out users",
        train=Split(10, 5, 10),
        uncalibrated=informed**2,
        calibration_method="platt",
        replicates=50,
    )


@pytest.fixture
def card(tmp_path):
    """Writes the card of a run with heads and evaluations, whose files are ``cut``."""

    def write(*heads, evaluations=(), folded=None, cut=None, origin="upstream", quantization=None, fields=None):
        run = run_with(tmp_path / "run", "bpe", *heads)
        if fields:
            fields.save(run.path)
        saved = saved_heads(run.path)
        for evaluation in evaluations:
            file = run.path / "heads" / evaluation.task / "evaluation.json"
            file.write_bytes(msgspec.json.encode(evaluation)[:cut])
        if folded:
            file.with_name("evaluation-folds5.json").write_bytes(msgspec.json.encode(folded))
        manifest = Manifest(
            format=FORMAT,
            run=run.name,
            origin=origin,
            variant="bpe",
            tokenizer_hash=run.tokenizer_hash,
            weights_hash="cd" * 32,
            text_encoder=None,
            tasks={"scoring": [each.head.task for each in saved]},
            heads=[HeadEntry(h.head.task, h.head.method, h.head.kind, "scoring", h.sha256) for h in saved],
            dim=64,
            vocab_size=9,
            precision="int8" if quantization else "fp32",
            quantization=quantization,
            versions={"torch": "2.0"},
            files={},
        )
        pages = []
        for name in ("one.md", "other.md"):
            write_model_card(run, manifest, saved, tmp_path / name)
            pages.append((tmp_path / name).read_text(encoding="utf-8"))
        assert pages[0] == pages[1]
        assert str(tmp_path) not in pages[0]
        return pages[0]

    return write


def tables(page):
    """Each table as rows of cells; a bar behind a backslash parts no cells."""
    blocks = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", row)[1:-1] for row in block.splitlines()] for block in blocks]


def test_what_fine_tuning_noted_is_told(card):
    page = card(probe(**INFO))
    for counts in INFO["rows"].values():
        assert " | ".join(str(count) for count in counts.values()) in page
    for fact in ("2017-07-01T00:00:00", "77 rows were of no part", "ab" * 32, "cd" * 32, 'split: {"seed": 0}'):
        assert fact in page
    assert "Training and calibration rows are at or before" in page
    assert "served head was" not in page
    assert re.search(r"SHA-256 \| `[0-9a-f]{64}`", page)


def test_a_head_that_was_fitted_to_all_rows_is_told_apart_from_its_evaluation(card):
    final = {"rows": {"rows": 5419, "positives": 1607, "users": 9}, "calibration_folds": 5}
    final["evaluated_head_sha256"] = "ef" * 32
    words = "by dates: test rows are later, of all users; 3 of 611 test rows are of users that train or calibrate"
    info = {**INFO, "split_by": "dates", "split": words, "final": final, "left_out": 0}
    page = card(probe(**info), evaluations=[evaluation_of("churn")])
    assert f"Divided {words}." in page
    assert "No user is in two parts" not in page
    assert "**The served head was fitted to all 5419 rows** (1607 positive)" in page
    assert "`" + "ef" * 32 + "`" in page


def test_an_evaluation_is_told_in_its_own_words(card):
    found = evaluation_of("churn")
    page = card(probe(**INFO), evaluations=[found])
    assert "Not evaluated" not in page
    for metric in ("roc_auc", "brier", "recall_at_1pct"):
        assert in_words(found.metrics["probe"][metric]) in page
        assert in_words(found.metrics["counts"][metric]) in page
        assert compared(found.differences["counts"][metric], "counts") in page
    assert f"{found.calibration.before['log_loss']:.5f}" in page


def test_without_an_evaluation_the_card_says_so_for_that_task(card):
    page = card(probe(**INFO), lora(max_events=256), evaluations=[evaluation_of("churn")])
    churn, loan = page.split("## Task loan")
    assert "Not evaluated" not in churn
    assert "`pragmatiq evaluate`" in loan
    assert "the newest 256 events" in loan


def test_nothing_is_needed(card):
    page = card(probe(), lora())
    assert "What it was fitted to was not recorded." in page
    assert "It reads all events of a history." in page
    assert "None" not in page


def test_a_run_without_tasks_has_a_card(card):
    page = card()
    assert "## Task" not in page
    assert "It has no tasks" in page
    assert "eval_ts" not in page


def test_no_name_breaks_a_table_or_becomes_markup(card):
    found = evaluation_of("churn", baseline="a|b\n*c* [d](e)")
    page = card(probe(**INFO), evaluations=[found], origin="x | _y_\n| z")
    assert len(tables(page)) == 7
    for table in tables(page):
        assert len({len(row) for row in table}) == 1, table
    assert "\\*c\\* \\[d\\](e)" in page
    assert "\\_y\\_" in page
    assert "`a\\|b_'c'.parquet`" in page


def test_every_heading_and_table_stands_apart(card):
    """Markdown takes a table for a paragraph's next line, and a heading's next line for its text."""
    lines = card(probe(**INFO), lora(), evaluations=[evaluation_of("churn")]).split("\n")
    for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
        if line.startswith("#"):
            assert before == after == ""
        if line.startswith("|") and not before.startswith("|"):
            assert before == ""
        assert (before, line, after) != ("", "", "")
    assert lines[0].startswith("# ")
    assert lines[-1] == ""


def field(name, values=1000, **counts):
    zeros = dict.fromkeys(("missing", "numbers", "unknown", "tokens", "cut_tokens"), 0)
    rest = {"kind": "text", "distinct": 7, "distinct_at_least": False, "examples": ["a|b", "`c`"], **zeros, **counts}
    return Field(name=name, part="events", values=values, **rest)


def section(page):
    return page.split("## What it was trained on")[1].split("\n## ")[0]


def test_the_fields_of_the_training_data_are_told(card):
    odd = field("am|ount", missing=250, numbers=990, unknown=1, cut_tokens=31, kind="numeric", distinct_at_least=True)
    table = FieldTable(fields=[odd], left_out=0, warnings=["field 'am|ount': *odd*"])
    page = card(probe(**INFO), fields=table)
    header, _, row = tables(section(page))[0]
    assert len(row) == len(header)
    assert [cell.strip() for cell in row] == [
        *("`am\\|ount`", "events", "numeric", "1000", "20.0%", "7+", "99.0%", "0.1%", "31", "`a\\|b`, `'c'`")
    ]
    assert "- field 'am\\|ount': \\*odd\\*" in page


def test_fields_that_are_not_listed_are_counted(card):
    table = FieldTable(fields=[field(f"f{i:02d}", values=100 - i) for i in range(70)], left_out=5, warnings=[])
    told = section(card(fields=table))
    assert "`f59`" in told
    assert "`f60`" not in told
    assert "15 further fields, with fewer values, are not listed." in told
    assert "odd" not in told


def test_a_run_without_a_table_tells_the_kinds(card):
    told = section(card())
    assert "was not recorded" in told
    assert "| `amount` | numeric |" in told


def test_a_damaged_evaluation_is_named(card):
    with pytest.raises(ArtifactError, match=r"churn/evaluation\.json.*evaluate the task again"):
        card(probe(), evaluations=[evaluation_of("churn")], cut=100)


def test_what_int8_costs_is_told(card):
    cost = TaskCost(611, 163, Change(0.8125, 0.81), Change(0.5, 0.5013), max_score_change=0.00721)
    found = Quantization(64, 9876, 128, Cosine(0.991234, 0.992345, 0.993456, 0.994567), {"churn": cost})
    page = card(probe(), quantization={"scoring": found})
    scorers, tasks = (table[2:] for table in tables(page.split("## Precision")[1].split("## Limits")[0]))
    assert [cell.strip() for cell in scorers[0]] == [
        *("`scoring`", "64 users, 9876 events", "128", "0.991234", "0.992345", "0.993456", "0.994567")
    ]
    assert [cell.strip() for cell in tasks[0]] == [
        *("`churn`", "611", "163", "0.8125", "0.8100", "-0.00250", "0.5000", "0.5013", "+0.00130", "0.00721")
    ]


def test_a_card_in_float32_says_nothing_of_precision(card):
    assert "Precision" not in card(probe())


def test_folds_stand_beside_the_held_out_part(card, tmp_path):
    held_out, folded = evaluation_of("churn"), msgspec.structs.replace(evaluation_of("churn"), protocol="5 folds")
    page = card(probe(**INFO), evaluations=[held_out], folded=folded)
    assert page.count("Protocol: ") == 2
    assert page.index(f"Protocol: {held_out.protocol}") < page.index("Protocol: 5 folds")
    assert page.count("| Metric | Before | After |") == 1
