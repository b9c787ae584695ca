import numpy as np
import pytest

from pragmatiq_builder.heads import save_head
from pragmatiq_builder.heads.saved import saved_heads
from pragmatiq_triton.errors import ArtifactError
from tests.builder.heads.cases import random_head


def save(run, task):
    save_head(random_head(np.random.default_rng(0), task), run / "heads" / task)


def test_heads_come_by_task(tmp_path):
    for task in ("fraud", "churn", "Loan-2.x"):
        save(tmp_path, task)
    (tmp_path / "heads" / ".DS_Store").write_text("", encoding="utf-8")
    saved = saved_heads(tmp_path)
    assert [each.head.task for each in saved] == ["Loan-2.x", "churn", "fraud"]
    assert [each.folder for each in saved] == [tmp_path / "heads" / each.head.task for each in saved]


def test_a_run_without_heads_has_none(tmp_path):
    assert saved_heads(tmp_path) == []
    (tmp_path / "heads").mkdir()
    assert saved_heads(tmp_path) == []


def test_an_interrupted_fine_tuning_is_named(tmp_path):
    save(tmp_path, "churn")
    (tmp_path / "heads" / "fraud").mkdir()
    with pytest.raises(ArtifactError, match=r"heads/fraud: .*fine-tune the task again or remove"):
        saved_heads(tmp_path)


def test_a_renamed_folder_is_named(tmp_path):
    save(tmp_path, "churn")
    (tmp_path / "heads" / "churn").rename(tmp_path / "heads" / "fraud")
    with pytest.raises(ArtifactError, match=r"heads/fraud: holds the head of task churn"):
        saved_heads(tmp_path)


def test_the_hash_is_the_head_s(tmp_path):
    save(tmp_path, "churn")
    before = saved_heads(tmp_path)[0].sha256
    save(tmp_path, "churn")
    assert saved_heads(tmp_path)[0].sha256 == before
    save_head(random_head(np.random.default_rng(1), "churn"), tmp_path / "heads" / "churn")
    assert saved_heads(tmp_path)[0].sha256 != before
