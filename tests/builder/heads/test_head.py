import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pragmatiq_builder.heads import Head, Isotonic, Linear, Platt, Trees, heads_graph, load_head, save_head
from pragmatiq_triton.errors import ArtifactError, ConfigError
from tests.builder.heads.cases import DIMS, FEATURES, random_head, random_linear, random_trees

KINDS = [
    (classifier, calibrator) for classifier in ("linear", "trees", "stacked") for calibrator in ("platt", "isotonic")
]


def some_head() -> Head:
    return random_head(np.random.default_rng(1), "income", "trees", "isotonic")


@pytest.mark.parametrize(("classifier", "calibrator"), KINDS)
def test_a_head_read_back_is_the_same(tmp_path: Path, classifier: str, calibrator: str) -> None:
    head = random_head(np.random.default_rng(5), "income", classifier, calibrator)
    save_head(head, tmp_path / "new" / "income")
    loaded = load_head(tmp_path / "new" / "income")
    graphs = [heads_graph([each], DIMS, FEATURES).SerializeToString() for each in (head, loaded)]
    assert graphs[0] == graphs[1]
    for name in ("task", "method", "kind", "inputs", "feature_names", "info"):
        assert getattr(loaded, name) == getattr(head, name)


def test_the_same_head_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_head(some_head(), tmp_path / name)
    for file in ("head.json", "head.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("file", ["head.json", "head.npz"])
def test_missing_and_damaged_files_are_named(tmp_path: Path, file: str) -> None:
    save_head(some_head(), tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=f"{file}: cannot be read"):
        load_head(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(ArtifactError, match=f"{file}: is missing"):
        load_head(tmp_path)


def test_the_arrays_of_another_head_are_refused(tmp_path: Path) -> None:
    save_head(some_head(), tmp_path / "one")
    save_head(random_head(np.random.default_rng(2), "income", "trees", "isotonic"), tmp_path / "other")
    (tmp_path / "other" / "head.npz").replace(tmp_path / "one" / "head.npz")
    with pytest.raises(ArtifactError, match=r"head\.npz.*not the file"):
        load_head(tmp_path / "one")


@pytest.mark.parametrize(
    ("key", "value"),
    [("format", "2"), ("task", "../x"), ("method", "oracle"), ("inputs", 3), ("classifier", "forest"), ("kind", None)],
)
def test_descriptions_that_are_none_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    save_head(some_head(), tmp_path)
    description = json.loads((tmp_path / "head.json").read_text(encoding="utf-8"))
    (tmp_path / "head.json").write_text(json.dumps(description | {key: value}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"head\.json"):
        load_head(tmp_path)


@pytest.mark.parametrize("task", ["", "a/b", ".hidden", "-x", "a b", "a\n", "ä", "x" * 65])
def test_task_names_that_are_no_folder_names_are_refused(task: str) -> None:
    with pytest.raises(ConfigError, match="task"):
        replace(some_head(), task=task)


@pytest.mark.parametrize("task", ["a", "0", "Churn_90d.v2-x", "x" * 64])
def test_task_names_are_kept(task: str) -> None:
    assert replace(some_head(), task=task).task == task


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": ()},
        {"inputs": ("event_state", "user_embedding")},
        {"inputs": ("user_embedding", "user_embedding")},
        {"inputs": ("tokens",)},
        {"inputs": ("features",), "feature_names": ()},
        {"inputs": ("event_state",), "feature_names": ("age",)},
        {"kind": "account"},
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="income"):
        replace(some_head(), **changes)


def bad_linear(**changes: Any) -> Linear:
    return replace(random_linear(np.random.default_rng(0), 3), **changes)


def bad_trees(column: str, value: Any) -> Trees:
    trees = random_trees(np.random.default_rng(0), 3)
    changed = getattr(trees, column).copy()
    changed[~trees.is_leaf] = value
    return replace(trees, **{column: changed})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bad_linear(mean=np.zeros(2, np.float32)), "equal lengths"),
        (lambda: bad_linear(scale=np.zeros(3, np.float32)), "positive"),
        (lambda: bad_linear(weights=np.zeros(3)), "float32"),
        (lambda: bad_linear(weights=np.full(3, np.inf, np.float32)), "finite"),
        (lambda: bad_linear(bias=np.nan), "bias must be finite"),
        (lambda: replace(random_trees(np.random.default_rng(0), 3), base=np.nan), "base must be finite"),
        (lambda: bad_trees("value", np.inf), "value must be finite"),
        (lambda: bad_trees("true_child", 0), "behind its parent"),
        (lambda: bad_trees("false_child", 999), "out of range"),
        (lambda: bad_trees("feature", 3), "feature"),
        (lambda: bad_trees("threshold", np.nan), "NaN"),
        (lambda: Platt(0.0, 1.0), "slope"),
        (lambda: Platt(1.0, np.inf), "intercept"),
        (lambda: Isotonic(np.zeros(2, np.float32), np.zeros(2, np.float32)), "ascending"),
        (lambda: Isotonic(np.arange(2, dtype=np.float32), np.array([0.5, 0.4], np.float32)), "ascend"),
        (lambda: Isotonic(np.zeros(1, np.float32), np.zeros(1, np.float32)), "two knots"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
