from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.finetune.encoding import users_of
from pragmatiq_builder.finetune.fitted import labels_for, settings_of, split_of
from pragmatiq_builder.finetune.settings import FinetuneSettings
from pragmatiq_builder.finetune.splits import SplitSettings, split_rows
from pragmatiq_builder.heads.saved import SavedHead
from pragmatiq_triton.errors import ArtifactError, DataError
from tests.builder.export.heads_case import linear_head
from tests.builder.finetune.customers import make_rows, write_labels

SETTINGS = FinetuneSettings(seed=3, split=SplitSettings(seed=7, min_per_class=1))


def saved(**info: object) -> SavedHead:
    return SavedHead(linear_head("churn", "probe", "user", **info), Path("runs/r/heads/churn"))


def test_rows_are_divided_again_as_they_were(data: TokenizedDataset) -> None:
    rows = make_rows(data, "user", 8)
    split = split_rows(users_of(data, rows).tolist(), rows, SETTINGS.split)
    assert split.cutoff is not None
    head = saved(settings=msgspec.to_builtins(SETTINGS), cutoff_ts=split.cutoff)
    order = np.random.default_rng(0).permutation(len(rows.at))
    shuffled = replace(rows, users=rows.users[order], at=rows.at[order], labels=rows.labels[order])
    for name, part in split_of(head, shuffled, data).parts.items():
        assert sorted(order[part]) == split.parts[name].tolist()


def test_settings_come_back_or_are_missed() -> None:
    assert settings_of(saved(settings=msgspec.to_builtins(SETTINGS))) == SETTINGS
    for info in ({}, {"settings": {"method": "magic"}}):
        with pytest.raises(ArtifactError, match=r"heads/churn: head.json does not say how it was fitted"):
            settings_of(saved(**info))


def test_a_head_without_its_date_is_missed(data: TokenizedDataset) -> None:
    with pytest.raises(ArtifactError, match=r"does not say at which date it was fitted; fine-tune again"):
        split_of(saved(settings=msgspec.to_builtins(SETTINGS)), make_rows(data, "user"), data)


def test_labels_are_of_the_head_s_kind(data: TokenizedDataset, tmp_path: Path) -> None:
    head = saved().head
    rows = make_rows(data, "user")
    found = labels_for(head, write_labels(tmp_path / "user.parquet", data, rows), data)
    assert (found.kind, len(found.at)) == ("user", len(rows.at))
    file = write_labels(tmp_path / "event.parquet", data, make_rows(data, "event"))
    with pytest.raises(DataError, match=r"event.parquet: holds labels per event, the head churn judges per user"):
        labels_for(head, file, data)
