"""The wire contract: what a request holds, what its answer and the model's config have to look like."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pragmatiq_client.errors import InvalidRecordError, ProtocolError
from pragmatiq_client.records import Record
from pragmatiq_client.values import UnreadableValueError, to_json

RecordLike = Record | Mapping[str, Any] | str | bytes
"""What a call takes for a record: a typed one, a mapping, or its JSON as a string or UTF-8 bytes."""

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Records of one call travel in requests of at most that size; a larger record travels alone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One user: ``scores`` by task name, ``embedding`` float32 [dim]; ``request_id`` is the call's."""

    scores: dict[str, float]
    embedding: npt.NDArray[np.float32]
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Request:
    """One inference: JSON documents for ``model``, and what goes out beside them."""

    model: str
    documents: list[bytes]
    headers: Mapping[str, str]
    request_id: str


class Tensors(Protocol):
    """The outputs of an inference."""

    def as_numpy(self, name: str) -> npt.NDArray[Any] | None:
        """The output of that name; None if there is none."""


def read_max_batch_size(config: Mapping[str, Any]) -> int:
    """Users per request, from Triton's JSON form of ``config.pbtxt``; one where the model takes no batches."""
    try:
        return max(int(config.get("max_batch_size", 0)), 1)
    except (ValueError, TypeError, AttributeError) as error:
        raise ProtocolError(f"the model's config cannot be read: max_batch_size: {error}") from error


def check_records(records: Iterable[RecordLike]) -> list[RecordLike]:
    """The records as a list.

    Raises:
        TypeError: a single record, or a table, where a sequence of records is expected.
    """
    if isinstance(records, Mapping | str | bytes | Record):
        raise TypeError(f"records: expected a sequence of records, got one {type(records).__name__}: use score_one")
    if hasattr(records, "to_dict"):
        raise TypeError(
            f"records: expected a sequence of records, got a {type(records).__name__}: one mapping per user"
        )
    return list(records)


def encode_record(record: RecordLike, row: int) -> bytes:
    """One JSON document in UTF-8; strings and bytes as they are.

    Raises:
        InvalidRecordError: a record that cannot be written as JSON (a set, an infinite number, ...), with its row.
    """
    try:
        if isinstance(record, bytes):
            return record
        if isinstance(record, Mapping | Record):
            return to_json(record)
        if not isinstance(record, str):
            kind = type(record).__name__
            raise UnreadableValueError("$", f"expected a Record, a mapping, a string or bytes, got {kind}")
        try:
            return record.encode("utf-8")
        except UnicodeEncodeError as error:
            problem = f"expected text, got half a surrogate pair at character {error.start}"
            raise UnreadableValueError("$", problem) from error
    except (UnreadableValueError, RecursionError) as error:
        problem = str(error) if isinstance(error, UnreadableValueError) else "$: nested too deeply, or within itself"
        raise InvalidRecordError.parse(f"client: row {row}: {problem}") from error


def batches(documents: Mapping[int, bytes], max_users: int) -> list[list[int]]:
    """The rows in groups of at most ``max_users`` and ``MAX_REQUEST_BYTES``."""
    groups: list[list[int]] = []
    size = 0
    for row, document in documents.items():
        if not groups or len(groups[-1]) == max_users or size + len(document) > MAX_REQUEST_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(row)
        size += len(document)
    return groups


def read_answers(response: Tensors, n_users: int, request_id: str) -> list[Answer]:
    """Answers from the response: each user's ``scores`` under the names that come with them.

    A gateway, and a Triton with a repository of an earlier version, give the names as strings (``tasks``); a Triton
    itself gives a JSON list as bytes (``task_names``). Without tasks there may be no ``scores``.
    """
    embedding = _read(response, "embedding", np.dtype(np.float32), n_users)
    if response.as_numpy("scores") is None:
        return [Answer({}, vector.copy(), request_id) for vector in embedding]
    scores = _read(response, "scores", np.dtype(np.float32), n_users)
    names = _names(response, n_users)
    for row in names:
        if len(row) != scores.shape[1]:
            raise ProtocolError(f"the server gives {scores.shape[1]} scores per user, but {len(row)} task names")
        if len(set(row)) != len(row):
            raise ProtocolError("the names of the scores: two scores of a user have the same name")
    rows = zip(names, scores.tolist(), embedding, strict=True)
    return [Answer(dict(zip(row, values, strict=True)), vector.copy(), request_id) for row, values, vector in rows]


def _names(response: Tensors, n_users: int) -> list[list[str]]:
    """The names of each user's scores."""
    try:
        if response.as_numpy("task_names") is not None:
            as_bytes = _read(response, "task_names", np.dtype(np.uint8), n_users)
            found = [json.loads(row.tobytes().decode("utf-8")) for row in as_bytes]
            if not all(isinstance(row, list) and all(isinstance(name, str) for name in row) for row in found):
                raise ProtocolError("output `task_names`: expected a JSON list of strings")
            return found
        tasks = _read(response, "tasks", np.dtype(np.object_), n_users)
        return [[name.decode("utf-8") for name in row] for row in tasks]
    except UnicodeDecodeError as error:
        raise ProtocolError(f"the names of the scores: expected UTF-8: {error}") from error
    except ValueError as error:
        raise ProtocolError(f"output `task_names`: expected a JSON list: {error}") from error


def _read(response: Tensors, name: str, dtype: np.dtype[Any], n_users: int) -> npt.NDArray[Any]:
    """An output as [n_users, columns]."""
    try:
        array = response.as_numpy(name)
    except ValueError as error:
        raise ProtocolError(f"output `{name}` cannot be read: {error}") from error
    if array is None:
        raise ProtocolError(f"the response has no output `{name}`")
    if array.dtype != dtype or array.ndim != 2 or len(array) != n_users:
        found = f"{array.dtype} {list(array.shape)}"
        raise ProtocolError(f"output `{name}`: expected {dtype} [{n_users}, any], got {found}")
    return array
