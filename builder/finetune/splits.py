"""Which labelled rows train, calibrate and test: never one user in two parts, tests later where dates allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from builder.finetune.labels import LabelledRows
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import DataError

Share = Annotated[float, Meta(gt=0, lt=1)]


class SplitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How labelled rows are divided; the users that neither test nor calibrate train."""

    test_share: Share = 0.3
    """Share of the users."""
    calibration_share: Share = 0.2
    """Share of the users."""
    test_share_of_rows: Share = 0.3
    """Share of the rows that should lie after the cutoff; of these, those of the test users test."""
    min_per_class: Annotated[int, Meta(ge=1)] = 5
    """Rows of each class that every part of a split by date must have; with fewer, only users are split."""
    seed: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.test_share + self.calibration_share >= 1:
            raise ValueError(
                f"test_share {self.test_share} and calibration_share {self.calibration_share} leave no user to train on"
            )


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers int64, ascending, of three parts that share no user.

    ``cutoff``, microseconds since the epoch: rows of ``train`` and ``calibration`` are at or before it, those of
    ``test`` strictly after it; None where dates did not allow that. ``left_out``: rows of no part, which are earlier
    ones of test users and later ones of the others.
    """

    train: Int64
    calibration: Int64
    test: Int64
    cutoff: int | None
    left_out: int

    @property
    def parts(self) -> dict[str, Int64]:
        return {"train": self.train, "calibration": self.calibration, "test": self.test}


def split_rows(user_ids: Sequence[str], rows: LabelledRows, settings: SplitSettings = SplitSettings()) -> Split:
    """Divide ``rows``, whose users are ``user_ids`` [n], by user and, where dates allow, by time.

    A user's part depends on its id, the shares and the seed alone, so more data or another order changes nobody's
    part. Without two distinct times, or enough rows of each class on the right side of the cutoff, the split is by
    user only. Raises :class:`DataError` where even then a part lacks a class.
    """
    cutoff = _cutoff(rows.at, settings.test_share_of_rows)
    if cutoff is not None:
        split = split_at(user_ids, rows, settings, cutoff)
        if all(_rarer_class(rows, part) >= settings.min_per_class for part in split.parts.values()):
            return split
    split = split_at(user_ids, rows, settings, None)
    for name, part in split.parts.items():
        if not _rarer_class(rows, part):
            raise DataError(
                f"the {name} part has {len(part)} of {len(user_ids)} labelled rows, {rows.labels[part].sum()} of them "
                f"positive, expected both classes; give more labels, other shares ({settings.test_share} test, "
                f"{settings.calibration_share} calibration) or another seed ({settings.seed})"
            )
    return split


def split_at(user_ids: Sequence[str], rows: LabelledRows, settings: SplitSettings, cutoff: int | None) -> Split:
    """Divide ``rows`` by user, and by time at ``cutoff`` unless it is None; a part may come out empty."""
    draws = _draws(user_ids, settings.seed, b"split")
    tests = held_out(user_ids, settings)
    calibrates = ~tests & (draws < settings.test_share + settings.calibration_share)
    used = np.ones(len(tests), np.bool_) if cutoff is None else (rows.at > cutoff) == tests
    return Split(
        train=np.flatnonzero(used & ~tests & ~calibrates),
        calibration=np.flatnonzero(used & calibrates),
        test=np.flatnonzero(used & tests),
        cutoff=cutoff,
        left_out=int(np.count_nonzero(~used)),
    )


def held_out(user_ids: Sequence[str], settings: SplitSettings) -> npt.NDArray[np.bool_]:
    """Whether ``settings`` make each of the users test, bool [n]; true of a user in whatever data it occurs."""
    return _draws(user_ids, settings.seed, b"split") < settings.test_share


def sample(user_ids: Sequence[str], n: int, purpose: bytes) -> Int64:
    """Numbers of ``n`` of the distinct users, or of all if they are fewer, int64, ascending.

    They are drawn by their ids, so more data or another order keeps most of them.
    """
    return np.sort(np.argsort(_draws(user_ids, 0, purpose), kind="stable")[:n])


def folds(user_ids: Sequence[str], n_folds: int, seed: int) -> Int64:
    """The fold, 0..n_folds - 1, of each row int64 [n]: all rows of a user in one, users spread evenly.

    Raises :class:`DataError` for fewer users than folds.
    """
    distinct, rank = np.unique(_draws(user_ids, seed, b"folds"), return_inverse=True)
    if len(distinct) < n_folds:
        raise DataError(f"{n_folds} folds need as many users, got {len(distinct)}; give more labels or ask for fewer")
    return np.asarray(rank % n_folds, np.int64)


def _draws(user_ids: Sequence[str], seed: int, purpose: bytes) -> npt.NDArray[np.float64]:
    """For each row its user's number in [0, 1), float64 [n]; independent of that for another purpose."""
    key = str(seed).encode()

    def draw(user_id: str) -> float:
        digest = blake2b(user_id.encode(), digest_size=8, key=key, person=purpose).digest()
        # A float64 holds 53 bits; more could round up to 1.
        return float((int.from_bytes(digest, "little") >> 11) / 2**53)

    of_user = {user_id: draw(user_id) for user_id in set(user_ids)}
    return np.array([of_user[user_id] for user_id in user_ids], np.float64)


def _cutoff(at: Int64, share: float) -> int | None:
    """The time after which about ``share`` of the rows lie, None if all are of one time."""
    times, counts = np.unique(at, return_counts=True)
    if len(times) < 2:
        return None
    later = len(at) - np.cumsum(counts)[:-1]
    return int(times[np.argmin(np.abs(later - share * len(at)))])


def _rarer_class(rows: LabelledRows, part: Int64) -> int:
    """Rows of the class that has fewer of them."""
    return int(np.bincount(rows.labels[part], minlength=2).min())
