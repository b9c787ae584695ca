"""Which labelled rows train, calibrate and test.

Unless the labels say it, or dates are given without ``unseen_users``, no user is in two parts; tests are later where
dates allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from pragmatiq_builder.finetune.labels import LabelledRows
from pragmatiq_builder.raw.labels import PARTS
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import ConfigError, DataError
from pragmatiq_triton.time_range import start_of_day

By = Literal["users", "users and dates", "dates", "labels"]
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
    test_from: str | None = None
    """Date from which on rows test, in the place of a cutoff that is found; of any user, known ones too."""
    calibration_from: str | None = None
    """Date from which on rows calibrate, up to ``test_from``; without it the calibration users' earlier rows do."""
    unseen_users: bool = False
    """With ``test_from``: users are divided too, so that none is in two parts; rows of the others are left out."""

    def __post_init__(self) -> None:
        if self.test_share + self.calibration_share >= 1:
            raise ValueError(
                f"test_share {self.test_share} and calibration_share {self.calibration_share} leave no user to train on"
            )
        if self.test_from is None:
            for name in ("calibration_from", "unseen_users"):
                if getattr(self, name):
                    raise ValueError(f"{name} does nothing without test_from; give the date of the first test row")
            return
        defaults = dict(zip(self.__struct_fields__, self.__struct_defaults__, strict=True))
        for name in ("test_share_of_rows", "min_per_class"):
            if getattr(self, name) != defaults[name]:
                raise ValueError(f"{name} does nothing with test_from, which says the date; leave one of them out")
        try:
            test, calibration = self.starts
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if calibration is not None and calibration >= test:
            raise ValueError(
                f"calibration_from {self.calibration_from} is not before test_from {self.test_from}, so that no row "
                "would calibrate; give an earlier date"
            )

    @property
    def starts(self) -> tuple[int, int | None]:
        """Microseconds at which testing and, if there is a date for it, calibration begin."""
        assert self.test_from is not None
        calibration = self.calibration_from and start_of_day("calibration_from", self.calibration_from)
        return start_of_day("test_from", self.test_from), calibration or None


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers int64, ascending, of three parts, which ``by`` made.

    By "users" and by "users and dates" the parts share no user; by "dates" and by the "labels" themselves a user may be
    in several. ``cutoff``, microseconds since the epoch: rows of ``train`` and ``calibration`` are at or before it,
    those of ``test`` strictly after it; None where dates did not allow that. ``left_out``: rows of no part, which are
    earlier ones of test users and later ones of the others. ``known``: test rows whose user trains or calibrates.
    """

    train: Int64
    calibration: Int64
    test: Int64
    cutoff: int | None
    left_out: int
    by: By = "users"
    known: int = 0
    note: str = ""

    @property
    def parts(self) -> dict[str, Int64]:
        return {"train": self.train, "calibration": self.calibration, "test": self.test}

    def in_words(self) -> str:
        """How the rows were divided, what that leaves out, and whether users are in several parts."""
        known = f"{self.known:,} of {len(self.test):,} test rows are of users that train or calibrate"
        left_out = (
            f"; {self.left_out:,} rows are in no part: those of test users up to the date, and later ones of the others"
        )
        return {
            "users": "by users: none is in two parts, and all parts span the same dates",
            "users and dates": f"by users and dates: no user is in two parts, and test rows are later{left_out}",
            "dates": f"by dates: test rows are later, of all users; {known}",
            "labels": f"by the labels' column split; {known}",
        }[self.by] + self.note


def split_rows(user_ids: Sequence[str], rows: LabelledRows, settings: SplitSettings = SplitSettings()) -> Split:
    """Divide ``rows``, whose users are ``user_ids`` [n], by user and, where dates allow, by time.

    Labels that say each row's part are divided so; ``settings`` may name dates. Otherwise a user's part depends on its
    id, the shares and the seed alone, so more data or another order changes nobody's part. Without two distinct times,
    or enough rows of each class on the right side of the cutoff, the split is by user only. Raises :class:`DataError`
    where a part lacks a class, :class:`ConfigError` for labels with parts beside dates.
    """
    if rows.parts is not None or settings.test_from is not None:
        split = split_again(user_ids, rows, settings, None, "labels" if rows.parts is not None else "dates")
        _require_classes(rows, split, "give other dates or parts, or more labels")
        return split
    cutoff = _cutoff(rows.at, settings.test_share_of_rows)
    if cutoff is not None:
        split = split_at(user_ids, rows, settings, cutoff)
        if all(_rarer_class(rows, part) >= settings.min_per_class for part in split.parts.values()):
            return split
    split = split_at(user_ids, rows, settings, None)
    remedy = (
        f"give more labels, other shares ({settings.test_share} test, {settings.calibration_share} calibration) or "
        f"another seed ({settings.seed})"
    )
    _require_classes(rows, split, remedy)
    return split


def split_again(
    user_ids: Sequence[str], rows: LabelledRows, settings: SplitSettings, cutoff: int | None, by: By | None
) -> Split:
    """Divide ``rows`` as others were divided before: ``by`` the same, at the same ``cutoff``; a part may be empty.

    Raises :class:`ConfigError` where ``rows`` do not say their parts and the others did, or beside dates.
    """
    if by == "labels":
        if rows.parts is None:
            raise ConfigError(
                "the head was fitted to labels with a column split, which these labels have not; give labels with it, "
                "or --test-from DATE to test all rows from a date on"
            )
        if settings.test_from is not None:
            raise ConfigError("test_from does nothing with labels that have a column split; leave out one of the two")
        return _by_labels(user_ids, rows, settings)
    if settings.test_from is not None:
        return _by_dates(user_ids, rows, settings)
    return split_at(user_ids, rows, settings, cutoff)


def split_at(user_ids: Sequence[str], rows: LabelledRows, settings: SplitSettings, cutoff: int | None) -> Split:
    """Divide ``rows`` by user, and by time at ``cutoff`` unless it is None; a part may come out empty."""
    tests, calibrates = held_out(user_ids, settings), _calibrating(user_ids, settings)
    used = np.ones(len(tests), np.bool_) if cutoff is None else (rows.at > cutoff) == tests
    return Split(
        train=np.flatnonzero(used & ~tests & ~calibrates),
        calibration=np.flatnonzero(used & calibrates),
        test=np.flatnonzero(used & tests),
        cutoff=cutoff,
        left_out=int(np.count_nonzero(~used)),
        by="users" if cutoff is None else "users and dates",
    )


def _by_dates(user_ids: Sequence[str], rows: LabelledRows, settings: SplitSettings) -> Split:
    test_from, calibration_from = settings.starts
    tests, calibrates = rows.at >= test_from, _calibrating(user_ids, settings)
    used = np.ones(len(tests), np.bool_)
    if calibration_from is not None:
        between = ~tests & (rows.at >= calibration_from)
        if settings.unseen_users:
            used = held_out(user_ids, settings) == tests
            used &= tests | (calibrates == between)
        calibrates = between
    else:
        if settings.unseen_users:
            used = held_out(user_ids, settings) == tests
        calibrates = calibrates & ~tests
    train, calibration, test = used & ~tests & ~calibrates, used & calibrates, used & tests
    return Split(
        train=np.flatnonzero(train),
        calibration=np.flatnonzero(calibration),
        test=np.flatnonzero(test),
        cutoff=test_from - 1,
        left_out=int(np.count_nonzero(~used)),
        by="users and dates" if settings.unseen_users else "dates",
        known=_known(user_ids, train | calibration, test),
    )


def _by_labels(user_ids: Sequence[str], rows: LabelledRows, settings: SplitSettings) -> Split:
    assert rows.parts is not None
    train, calibration, test = (rows.parts == PARTS[name] for name in ("train", "calibration", "test"))
    note = ""
    if not calibration.any():
        note = "; no row is said to be of the validation, so the rows of some users of train calibrate"
        calibration = train & _calibrating(user_ids, settings)
        train = train & ~calibration
    fitted = train | calibration
    last = int(rows.at[fitted].max(initial=0))
    return Split(
        train=np.flatnonzero(train),
        calibration=np.flatnonzero(calibration),
        test=np.flatnonzero(test),
        cutoff=last if test.any() and rows.at[test].min() > last else None,
        left_out=0,
        by="labels",
        known=_known(user_ids, fitted, test),
        note=note,
    )


def _known(user_ids: Sequence[str], fitted: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_]) -> int:
    """How many rows of ``test`` are of users with ``fitted`` rows."""
    users = np.asarray(user_ids, np.object_)
    seen = set(users[fitted].tolist())
    return sum(user in seen for user in users[test].tolist())


def _calibrating(user_ids: Sequence[str], settings: SplitSettings) -> npt.NDArray[np.bool_]:
    """Whether ``settings`` make each of the users calibrate, bool [n]."""
    draws = _draws(user_ids, settings.seed, b"split")
    return (draws >= settings.test_share) & (draws < settings.test_share + settings.calibration_share)


def _require_classes(rows: LabelledRows, split: Split, remedy: str) -> None:
    for name, part in split.parts.items():
        if not _rarer_class(rows, part):
            raise DataError(
                f"the {name} part has {len(part)} of {len(rows.labels)} labelled rows, {rows.labels[part].sum()} of "
                f"them positive, expected both classes; {remedy}"
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
