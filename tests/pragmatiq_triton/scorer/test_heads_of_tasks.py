"""A scorer whose heads are not those of its tasks does not load: its scores would come under wrong names."""

import json

import pytest

from pragmatiq_builder.heads import heads_graph
from pragmatiq_triton.errors import ArtifactError
from pragmatiq_triton.scorer import TaskHeads
from pragmatiq_triton.scorer.heads import TASKS_PROPERTY
from tests.builder.export.heads_case import linear_head

DIMS = {"user_embedding": 4, "event_state": 4}


@pytest.fixture(scope="module")
def graph():
    heads = [linear_head(task, "probe", "user", dim=4) for task in ("churn", "fraud")]
    return heads_graph(heads, DIMS, [])


@pytest.fixture
def load(graph, tmp_path):
    def load(named=True):
        model = type(graph)()
        model.CopyFrom(graph)
        if not named:
            del model.metadata_props[:]
        (tmp_path / "heads.onnx").write_bytes(model.SerializeToString())
        return TaskHeads(tmp_path)

    return load


def test_the_graph_names_its_tasks_in_order(graph):
    (tasks,) = [entry.value for entry in graph.metadata_props if entry.key == TASKS_PROPERTY]
    assert json.loads(tasks) == ["churn", "fraud"]


def test_heads_of_the_tasks_load(load):
    load().require_tasks(["churn", "fraud"])


@pytest.mark.parametrize(
    "tasks", [["fraud", "churn"], ["churn", "default"], ["churn"], [], ["churn", "fraud", "default"]]
)
def test_swapped_other_missing_and_further_tasks_are_refused(load, tasks):
    with pytest.raises(ArtifactError, match=r'has the tasks \["churn", "fraud"\], the parameter tasks.*export the run'):
        load().require_tasks(tasks)


def test_of_a_graph_that_names_none_the_number_counts(load):
    load(named=False).require_tasks(["fraud", "churn"])
    with pytest.raises(ArtifactError, match=r"has 2 heads, the parameter tasks"):
        load(named=False).require_tasks(["churn"])


def test_tasks_without_heads_are_refused(tmp_path):
    TaskHeads(tmp_path).require_tasks([])
    with pytest.raises(ArtifactError, match=r'has 0 heads.*\["fraud"\]'):
        TaskHeads(tmp_path).require_tasks(["fraud"])
