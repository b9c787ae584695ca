from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pragmatiq_builder.finetune import encoding
from pragmatiq_builder.finetune.labels import read_labels
from pragmatiq_builder.finetune.methods import FitCase, fit_task
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.heads import Linear, Stacked
from tests.builder.finetune.customers import Bank, exported_once, make_bank
from tests.builder.finetune.test_finetune import LORA, PROBE


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    bank = make_bank(tmp_path_factory.mktemp("bank"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "exported", lambda _: exported_once(bank.run.network))
        yield bank


@pytest.mark.parametrize(
    ("settings", "kind"),
    [(PROBE, Linear), (LORA, Linear), (FinetuneSettings(method="hybrid"), Stacked)],
    ids=["probe", "lora", "hybrid"],
)
def test_only_training_labels_are_read(bank: Bank, settings: FinetuneSettings, kind: type) -> None:
    rows = read_labels(bank.labels["user"], bank.data)
    train = np.flatnonzero(rows.users % 3 > 0)
    heads = []
    for labels in (rows.labels, np.where(rows.users % 3, rows.labels, 1 - rows.labels)):
        given = replace(rows, labels=labels.astype(np.int8))
        fit = fit_task(FitCase(bank.run, bank.data, given, "churn", settings), train)
        assert len(fit.inputs.labels) == len(rows.labels)
        assert (fit.adapters is not None) == (settings.method == "lora")
        heads.append(fit.head)
    assert all(isinstance(head.classifier, kind) for head in heads)
    first, second = (
        head.classifier.linear if isinstance(head.classifier, Stacked) else head.classifier for head in heads
    )
    np.testing.assert_array_equal(first.weights, second.weights)
    assert heads[0].info == heads[1].info
    assert (heads[0].task, heads[0].method) == ("churn", settings.method)


def test_kept_inputs_are_written_and_then_read(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_labels(bank.labels["event"], bank.data)
    train, kept = np.arange(len(rows.at)), tmp_path / "inputs.npz"
    case = FitCase(bank.run, bank.data, rows, "t", PROBE)
    fits = [fit_task(case, train, kept=kept)]
    monkeypatch.setattr(encoding, "exported", None)
    fits.append(fit_task(case, train, kept=kept))
    np.testing.assert_array_equal(*(fit.inputs.inputs.event_state for fit in fits))
    np.testing.assert_array_equal(*(fit.head.classifier.weights for fit in fits))
