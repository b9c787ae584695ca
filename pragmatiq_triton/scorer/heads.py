"""The task heads on ONNX Runtime: what the network made of a user becomes one probability per task."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ArtifactError, DataError
from pragmatiq_triton.scorer.scorer import Embeddings
from pragmatiq_triton.scorer.sessions import HEADS, Graph

TASKS_PROPERTY = "pragmatiq_tasks"
"""Under which name the graph says which tasks its columns are, as a JSON list."""


class TaskHeads:
    """The heads of one scorer, all in one graph; without that graph there are no tasks."""

    def __init__(self, folder: Path) -> None:
        """Open the heads in ``folder``; :class:`ArtifactError` where they are damaged."""
        path = folder / HEADS
        self._graph = Graph(path) if path.is_file() else None
        self._widths = {name: int(shape[1]) for name, shape in self._graph.input_shapes.items()} if self._graph else {}

    def require_tasks(self, tasks: Sequence[str]) -> None:
        """Raise :class:`ArtifactError` where the graph's columns are not of ``tasks``, in that order.

        Graphs of earlier versions do not name their tasks; of those the number is compared.
        """
        if self._graph is None:
            named, columns = [], 0
        else:
            columns = int(self._graph.output_shapes["scores"][1])
            named = json.loads(self._graph.properties.get(TASKS_PROPERTY, "[]"))
        if columns != len(tasks) or (named and named != list(tasks)):
            has = f"the tasks {json.dumps(named)}" if named else f"{columns} heads"
            raise ArtifactError(
                f"{HEADS} has {has}, the parameter tasks in config.pbtxt names {json.dumps(list(tasks))}: scores would "
                "come under wrong names; export the run again"
            )

    def __call__(self, embeddings: Embeddings, features: Float32) -> Float32:
        """Calibrated probabilities float32 [n_users, n_tasks]; ``features`` float32 [n_users, n_features].

        :class:`DataError` where the features are not as many as the heads were fitted with.
        """
        if self._graph is None:
            return np.zeros((len(embeddings.user_embedding), 0), np.float32)
        given = {**embeddings._asdict(), "features": features}
        for name, width in self._widths.items():
            if given[name].shape[1] != width:
                raise DataError(f"{name}: expected {width} numbers per user, got {given[name].shape[1]}")
        return self._graph(**{name: given[name] for name in self._widths})
