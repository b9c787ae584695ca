"""The wire contract: what a request holds, what an answer and the model's config have to look like."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from pragmatiq_client.errors import InvalidRecordError, ProtocolError

Record = Mapping[str, Any] | str | bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One user: ``scores`` by task name, ``embedding`` float32 [dim]."""

    scores: dict[str, float]
    embedding: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What the client reads from the scoring model's config; ``max_batch_size`` counts users per request."""

    max_batch_size: int
    tasks: tuple[str, ...]

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Read Triton's JSON form of ``config.pbtxt``; task names are a JSON list in the parameter ``tasks``."""
        try:
            max_batch_size = int(config.get("max_batch_size", 0))
            tasks = json.loads(config.get("parameters", {}).get("tasks", {}).get("string_value", "[]"))
            if not (isinstance(tasks, list) and all(isinstance(task, str) for task in tasks)):
                raise ValueError(f"parameter `tasks`: expected a JSON list of names, got {tasks!r}")
        except (ValueError, TypeError, AttributeError) as error:
            raise ProtocolError(f"the model's config cannot be read: {error}") from error
        return cls(max(max_batch_size, 1), tuple(tasks))


def encode_records(records: Sequence[Record]) -> npt.NDArray[np.object_]:
    """The request's ``record``: one JSON document in UTF-8 per user, [n, 1].

    Raises:
        InvalidRecordError: a record that is not JSON (a set, NaN, a lone surrogate, ...), with its row.
    """
    rows = np.empty((len(records), 1), np.object_)
    for row, record in enumerate(records):
        try:
            rows[row, 0] = _encode(record)
        except (TypeError, ValueError, RecursionError) as error:
            text = f"client: row {row}: $: expected a record that can be written as JSON, got {error}"
            raise InvalidRecordError.parse(text) from error
    return rows


def _encode(record: Record) -> bytes:
    if isinstance(record, bytes):
        return record
    if isinstance(record, Mapping):
        record = json.dumps(dict(record), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if not isinstance(record, str):
        raise TypeError(f"{type(record).__name__} (a record is a mapping, a string or bytes)")
    return record.encode("utf-8")


def read_output(response: Any, name: str, n_users: int) -> npt.NDArray[np.float32]:
    """An output of tritonclient's response as float32 [n_users, columns], or ProtocolError."""
    try:
        array = response.as_numpy(name)
    except ValueError as error:
        raise ProtocolError(f"output `{name}` cannot be read: {error}") from error
    if array is None:
        raise ProtocolError(f"the response has no output `{name}`")
    if array.dtype != np.float32 or array.ndim != 2 or len(array) != n_users:
        found = f"{array.dtype} {list(array.shape)}"
        raise ProtocolError(f"output `{name}`: expected float32 [{n_users}, any], got {found}")
    return cast(npt.NDArray[np.float32], array)


def build_answers(
    tasks: Sequence[str], scores: npt.NDArray[np.float32], embedding: npt.NDArray[np.float32]
) -> list[Answer]:
    """Answers of one response: ``scores`` [n, n_tasks] in the order of ``tasks``, ``embedding`` [n, dim]."""
    if scores.shape[1] != len(tasks):
        raise ProtocolError(f"the server gives {scores.shape[1]} scores per user, but the tasks are {list(tasks)}")
    pairs = zip(scores.tolist(), embedding, strict=True)
    return [Answer(dict(zip(tasks, row, strict=True)), vector.copy()) for row, vector in pairs]
