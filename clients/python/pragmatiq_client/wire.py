"""The wire contract: what a request holds, what its answer and the model's config have to look like."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_client.errors import InvalidRecordError, ProtocolError

Record = Mapping[str, Any] | str | bytes

OUTPUTS = ("scores", "embedding", "tasks")
ROUTING_HEADER = "x-user-id"

_HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


@dataclass(frozen=True, slots=True)
class Answer:
    """One user: ``scores`` by task name, ``embedding`` float32 [dim]."""

    scores: dict[str, float]
    embedding: npt.NDArray[np.float32]


def read_max_batch_size(config: Mapping[str, Any]) -> int:
    """Users per request, from Triton's JSON form of ``config.pbtxt``; one where the model takes no batches."""
    try:
        return max(int(config.get("max_batch_size", 0)), 1)
    except (ValueError, TypeError) as error:
        raise ProtocolError(f"the model's config cannot be read: max_batch_size: {error}") from error


def routing_headers(routing_key: str | None) -> dict[str, str]:
    """The headers by which a load balancer finds the server of this key; none without a key.

    Raises:
        ValueError: a key that no header can carry over both protocols as it is.
    """
    if routing_key is None:
        return {}
    if not _HEADER_VALUE.fullmatch(routing_key):
        raise ValueError(
            f"routing_key: expected printable ASCII, with no space at either end, got {routing_key!r}: "
            'send a hash of it, as hmac.new(secret, key.encode(), "sha256").hexdigest()'
        )
    return {ROUTING_HEADER: routing_key}


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


def read_answers(response: Any, n_users: int) -> list[Answer]:
    """Answers from tritonclient's response: each user's ``scores`` under the names that ``tasks`` gives them."""
    scores = _read(response, "scores", np.dtype(np.float32), n_users)
    embedding = _read(response, "embedding", np.dtype(np.float32), n_users)
    tasks = _read(response, "tasks", np.dtype(np.object_), n_users)
    if scores.shape != tasks.shape:
        raise ProtocolError(f"the server gives {scores.shape[1]} scores per user, but {tasks.shape[1]} task names")
    try:
        names = [[name.decode("utf-8") for name in row] for row in tasks]
    except UnicodeDecodeError as error:
        raise ProtocolError(f"output `tasks`: expected UTF-8: {error}") from error
    rows = zip(names, scores.tolist(), embedding, strict=True)
    return [Answer(dict(zip(row, values, strict=True)), vector.copy()) for row, values, vector in rows]


def _read(response: Any, name: str, dtype: np.dtype[Any], n_users: int) -> npt.NDArray[Any]:
    """An output as [n_users, columns]."""
    try:
        array: npt.NDArray[Any] | None = response.as_numpy(name)
    except ValueError as error:
        raise ProtocolError(f"output `{name}` cannot be read: {error}") from error
    if array is None:
        raise ProtocolError(f"the response has no output `{name}`")
    if array.dtype != dtype or array.ndim != 2 or len(array) != n_users:
        found = f"{array.dtype} {list(array.shape)}"
        raise ProtocolError(f"output `{name}`: expected {dtype} [{n_users}, any], got {found}")
    return array
