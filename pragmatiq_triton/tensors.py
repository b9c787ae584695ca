"""What crosses between the models: tensor names, and users as arrays of one request.

The batch dimension is users. A request with several users pads inside the request: an event without tokens, a profile
token whose key is ``[PAD]``, and a text offset of -1 stand for nothing. A length of 0 is legal everywhere.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pragmatiq_triton.batch import Event, Float32, Token, UserFeatures, cu_seqlens
from pragmatiq_triton.errors import RecordError

RECORD = "record"
TOKENS = "tokens"
EVENTS = "events"
EVENT_KEYS = "event_keys"
PROFILE = "profile"
PROFILE_TIMES = "profile_times"
FEATURES = "features"
TEXTS = "texts"
TEXT_OFFSETS = "text_offsets"
TEXT_VECTORS = "text_vectors"
SCORES = "scores"
EMBEDDING = "embedding"
TASK_NAMES = "task_names"
"""Names of the scores: a JSON list in UTF-8, uint8 [users, bytes]."""
TASKS = "tasks"
"""The same as strings, in repositories of earlier versions: object [users, tasks]."""

Arrays = Mapping[str, npt.NDArray[Any]]


def task_names(tasks: Sequence[str]) -> bytes:
    """What :data:`TASK_NAMES` holds."""
    return json.dumps(list(tasks), ensure_ascii=False).encode()


def pack_users(users: Sequence[UserFeatures]) -> dict[str, npt.NDArray[Any]]:
    """Users of one request as padded tensors: ``tokens`` int32 [users, n_tokens, 4] and so on.

    ``features`` is there where the users have some. Users without ``event_keys`` cannot be packed.
    """
    features = np.stack([user.features for user in users])
    return {
        **({FEATURES: features} if features.shape[1] else {}),
        TOKENS: _pad([user.tokens for user in users]),
        EVENTS: _pad([user.events for user in users]),
        EVENT_KEYS: _pad([user.event_keys for user in users]),
        PROFILE: _pad([user.profile for user in users]),
        PROFILE_TIMES: _pad([user.profile_times for user in users]),
    }


def pack_texts(users: Sequence[UserFeatures]) -> dict[str, npt.NDArray[Any]]:
    """Each user's distinct strings: ``texts`` uint8 [users, n_bytes], ``text_offsets`` int32 [users, n_texts + 1]."""
    encoded = [[text.encode("utf-8") for text in user.texts] for user in users]
    return {
        TEXTS: _pad([np.frombuffer(b"".join(texts), np.uint8) for texts in encoded]),
        TEXT_OFFSETS: _pad([cu_seqlens([len(text) for text in texts]).astype(np.int32) for texts in encoded], fill=-1),
    }


def unpack_texts(arrays: Arrays) -> list[list[bytes]]:
    """The strings of each user of a request, as they came: UTF-8, unless a caller bypasses the ensemble.

    Raises :class:`RecordError` where offsets do not fit their bytes, which only such a caller can bring about.
    """
    users = []
    for row, (blob, padded) in enumerate(zip(arrays[TEXTS], arrays[TEXT_OFFSETS], strict=True)):
        offsets = padded[padded >= 0].tolist()
        if offsets != sorted(offsets) or (offsets and offsets[-1] > len(blob)):
            raise RecordError(f"row {row}: {TEXT_OFFSETS}", f"expected ascending offsets into {len(blob)} bytes")
        whole = blob.tobytes()
        users.append([whole[a:b] for a, b in pairwise(offsets)])
    return users


def unpack_users(arrays: Arrays) -> list[tuple[UserFeatures, Float32]]:
    """The users of a request without their padding, each with its text vectors float32 [n_texts, text_dim].

    Raises :class:`RecordError` where token counts and tokens, or text numbers and vectors, do not fit together.
    """
    vectors = arrays.get(TEXT_VECTORS)
    features = arrays.get(FEATURES, np.zeros((len(arrays[TOKENS]), 0), np.float32))
    users = []
    columns = zip(arrays[TOKENS], arrays[EVENTS], arrays[EVENT_KEYS], strict=True)
    for row, (tokens, events, event_keys) in enumerate(columns):
        if len(event_keys) != len(events):
            raise RecordError(
                f"row {row}: {EVENT_KEYS}", f"expected {len(events)}, one per event, got {len(event_keys)}"
            )
        for name, numbers in ((EVENTS, events), (PROFILE_TIMES, arrays[PROFILE_TIMES][row])):
            if not np.isfinite(numbers).all():
                raise RecordError(f"row {row}: {name}", "expected finite numbers, got NaN or infinity")
        counts = events[:, Event.TOKENS]
        if not np.all((counts >= 0) & (counts == np.floor(counts))):
            raise RecordError(f"row {row}: {EVENTS}", "expected token counts to be whole numbers of at least 0")
        events, event_keys = events[counts > 0], event_keys[counts > 0]
        n_tokens = int(counts.sum())
        if n_tokens > len(tokens):
            raise RecordError(f"row {row}: {EVENTS}", f"expected at most {len(tokens)} tokens in all, got {n_tokens}")
        tokens = tokens[:n_tokens]
        row_vectors = np.zeros((0, 0), np.float32) if vectors is None else vectors[row].astype(np.float32, copy=False)
        if n_tokens and not -1 <= tokens[:, Token.TEXT].min() <= tokens[:, Token.TEXT].max() < max(len(row_vectors), 0):
            raise RecordError(f"row {row}: {TOKENS}", f"expected text numbers in -1..{len(row_vectors) - 1}")
        n_profile = int(np.count_nonzero(arrays[PROFILE][row][:, Token.KEY]))
        users.append(
            (
                UserFeatures(
                    tokens,
                    events,
                    arrays[PROFILE][row][:n_profile],
                    arrays[PROFILE_TIMES][row][:n_profile],
                    features=features[row],
                    event_keys=event_keys,
                ),
                row_vectors,
            )
        )
    return users


def _pad(arrays: Sequence[npt.NDArray[Any]], fill: int = 0) -> npt.NDArray[Any]:
    if len(arrays) == 1:
        return arrays[0][np.newaxis]
    padded = np.full((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
    return padded
