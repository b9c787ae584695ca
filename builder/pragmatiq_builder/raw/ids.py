"""Ids of events as numbers that fit into an array."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UInt64 = npt.NDArray[np.uint64]


def hashed_ids(ids: pa.Array) -> UInt64:
    """A hash of each id, uint64 [n], 0 for null: compared among one user's events, 64 bits tell all of them apart."""
    return np.fromiter((0 if each is None else _hashed(each) for each in ids.to_pylist()), np.uint64, len(ids))


def _hashed(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") or 1
