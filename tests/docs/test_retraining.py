"""The commands of docs/retraining.md, one after the other, on two months of made-up customers."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import pragmatiq_triton as pt
from pragmatiq_builder.cli import main
from pragmatiq_builder.synth import generate

PAGE = Path(__file__).parents[2] / "docs" / "retraining.md"
SMALLER = {"--model-size": "nano", "--max-steps": "2", "--users": "12"}
"""Values of options, in the place of the page's."""
JUNE = np.datetime64("2024-06-01", "us")


def commands() -> list[list[str]]:
    """The commands of the page's code blocks."""
    lines = re.findall(r"^    pragmatiq (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    found = [shlex.split(line) for line in lines]
    for words in found:
        for option, value in SMALLER.items():
            if option in words:
                words[words.index(option) + 1] = value
    return found


def write_month(folder: Path, whole: Path, until: str) -> None:
    """What of the customers in ``whole`` is known at the end of a month; labels are mostly amounts over the median."""
    folder.mkdir(parents=True)
    events = pq.read_table(whole / "events.parquet")
    events = events.filter(pc.less(events["ts"], pa.scalar(np.datetime64(until, "us").item(), events["ts"].type)))
    pq.write_table(events, folder / "events.parquet")
    amounts = np.array([float(dict(fields).get("amount") or "nan") for fields in events["fields"].to_pylist()])
    users, at = (events[name].to_numpy(zero_copy_only=False) for name in ("user_id", "ts"))
    _, place, n_there = np.unique(np.char.add(users.astype(str), at.astype(str)), return_index=True, return_counts=True)
    alone = place[(n_there == 1) & np.isfinite(amounts[place])]
    some = np.sort(np.random.default_rng(0).permutation(alone)[:600])
    (folder / "labels").mkdir()
    noise = np.random.default_rng(1).random(len(some)) < 0.2
    label = ((amounts[some] > np.nanmedian(amounts)) ^ noise).astype(np.int8)
    rows = events.select(["user_id", "ts"]).take(pa.array(some)).append_column("label", pa.array(label))
    pq.write_table(rows, folder / "labels" / "fraud.parquet")


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("months")
    generate(folder / "whole", 24, 0)
    (folder / "small.yaml").write_text("{model_size: nano, token_budget: 4096, held_out: 0.1}", encoding="utf-8")
    write_month(folder / "data" / "may", folder / "whole", "2024-06-01")
    write_month(folder / "data" / "june", folder / "whole", "2024-07-01")
    return folder


@pytest.mark.slow
def test_the_page_s_commands_run_one_after_the_other(
    months: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(months)
    monkeypatch.setenv("COLUMNS", "200")
    said: dict[str, str] = {}
    for words in commands():
        monkeypatch.setattr(sys, "argv", ["pragmatiq", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        assert (end.value.code or 0) == 0, f"pragmatiq {shlex.join(words)}\n{err}"
        said[shlex.join(words)] = out + err

    compared = next(text for line, text in said.items() if line.startswith("runs compare"))
    for other in ("may", "june-new"):
        assert re.search(rf"june: ROC-AUC (better|worse|not distinguishable) \w+ {other}", compared)
    assert (months / "compare" / "fraud.html").is_file()
    (tested, *_) = re.findall(r"(\d+) rows, \d+ positive", compared)
    labels = pq.read_table(months / "data" / "june" / "labels" / "fraud.parquet")["ts"].to_numpy()
    assert int(tested) == np.count_nonzero(labels >= JUNE) > 20
    card = (months / "repository-june" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "The served head was fitted to all" in card
    assert "| began with the weights of | may" in card
    manifest = json.loads((months / "repository-june" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["init_from"]["run"] == "may"
    assert manifest["heads"][0]["fitted"]["final"]["rows"]["rows"] == len(labels)
    record = {"events": [{"ts": 1_719_000_000_000_000, "source": "transaction", "fields": {"amount": "24.32"}}]}
    assert 0 < pt.load(months / "repository-june", threads=1).score(record)["fraud"] < 1


def test_the_page_names_what_there_is() -> None:
    """Every file and command in its prose, too."""
    found = commands()
    assert {words[0] for words in found} == {
        "export", "evaluate", "finetune", "info", "pretrain", "runs", "synth", "tokenize", "validate",
    }  # fmt: skip
    text = PAGE.read_text(encoding="utf-8")
    for page, anchor in re.findall(r"\]\(([\w-]+\.md)#([\w-]+)\)", text):
        headings = re.findall(r"^#+ (.+)$", (PAGE.parent / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, anchor
