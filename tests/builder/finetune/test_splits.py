from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pragmatiq_builder.finetune.labels import LabelledRows
from pragmatiq_builder.finetune.splits import Split, SplitSettings, folds, held_out, sample, split_again, split_rows
from pragmatiq_triton.batch import Int64
from pragmatiq_triton.errors import ConfigError, DataError

SEEDS = st.integers(0, 2**32)


class Sample:
    """Rows of users at a few times, with labels drawn at random."""

    def __init__(self, users: Int64, at: Int64, labels: Int64) -> None:
        self.user_ids = [f"user-{user}" for user in users]
        self.rows = LabelledRows("user", users, at, labels.astype(np.int8), {})

    @classmethod
    def drawn(cls, seed: int, n_times: int, n_users: int = 40, n_rows: int = 200) -> "Sample":
        rng = np.random.default_rng(seed)
        at = rng.integers(n_times, size=n_rows) * 1_000_000
        return cls(rng.integers(n_users, size=n_rows), at, rng.integers(2, size=n_rows))

    def take(self, numbers: Int64) -> "Sample":
        return Sample(self.rows.users[numbers], self.rows.at[numbers], self.rows.labels[numbers])

    def split(self, settings: SplitSettings = SplitSettings()) -> Split:
        return split_rows(self.user_ids, self.rows, settings)

    def parts_of_users(self, split: Split) -> dict[str, str]:
        return {self.user_ids[row]: name for name, part in split.parts.items() for row in part}


def split_or_assume(sample: Sample, split_settings: SplitSettings) -> Split:
    try:
        return sample.split(split_settings)
    except DataError:
        assume(False)
        raise


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, split_seed=SEEDS, n_times=st.integers(1, 8), n_rows=st.integers(60, 200))
def test_the_parts_share_no_row_and_no_user_and_tests_are_later(
    seed: int, split_seed: int, n_times: int, n_rows: int
) -> None:
    sample = Sample.drawn(seed, n_times, n_rows=n_rows)
    split = split_or_assume(sample, SplitSettings(seed=split_seed))
    parts = [set(part.tolist()) for part in split.parts.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == n_rows - split.left_out
    assert all(np.all(np.diff(part) > 0) for part in split.parts.values())
    users = [{sample.user_ids[row] for row in part} for part in parts]
    assert sum(map(len, users)) == len(set.union(*users))
    assert all(set(sample.rows.labels[part]) == {0, 1} for part in split.parts.values())
    if split.cutoff is None:
        assert split.left_out == 0
    else:
        early = np.concatenate([split.train, split.calibration])
        assert sample.rows.at[early].max() <= split.cutoff < sample.rows.at[split.test].min()
        assert all(np.bincount(sample.rows.labels[part]).min() >= 5 for part in split.parts.values())


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, split_seed=SEEDS, n_times=st.integers(1, 4))
def test_more_users_and_another_order_leave_everyone_in_their_part(seed: int, split_seed: int, n_times: int) -> None:
    larger = Sample.drawn(seed, n_times, n_users=80, n_rows=400)
    numbers = np.random.default_rng(seed).permutation(np.flatnonzero(larger.rows.users < 40))
    smaller = larger.take(numbers)
    split_settings = SplitSettings(seed=split_seed)
    before = smaller.parts_of_users(split_or_assume(smaller, split_settings))
    after = larger.parts_of_users(split_or_assume(larger, split_settings))
    shared = before.keys() & after.keys()
    assert shared
    assert {user: before[user] for user in shared} == {user: after[user] for user in shared}


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, n_times=st.integers(1, 8))
def test_the_order_of_the_rows_does_not_matter(seed: int, n_times: int) -> None:
    sample = Sample.drawn(seed, n_times)
    order = np.random.default_rng(seed).permutation(len(sample.user_ids))
    split = split_or_assume(sample, SplitSettings())
    shuffled = sample.take(order).split()
    assert shuffled.cutoff == split.cutoff
    for name, part in split.parts.items():
        assert set(order[shuffled.parts[name]]) == set(part)


def test_users_are_divided_by_the_shares() -> None:
    users = np.arange(6000)
    sample = Sample(users, np.zeros_like(users), users % 2)
    split = sample.split()
    shares = [len(part) / len(users) for part in split.parts.values()]
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.03)
    other = sample.split(SplitSettings(test_share=0.1, calibration_share=0.4, seed=1))
    assert len(other.test) / len(users) == pytest.approx(0.1, abs=0.03)
    assert len(other.calibration) / len(users) == pytest.approx(0.4, abs=0.03)


def test_another_seed_moves_users() -> None:
    sample = Sample.drawn(seed=0, n_times=1)
    seeds = [sample.parts_of_users(sample.split(SplitSettings(seed=seed))) for seed in (0, 1)]
    assert seeds[0].keys() == seeds[1].keys()
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize(("share", "last"), [(0.3, 6), (0.5, 4), (0.01, 8), (0.99, 0)])
def test_the_cutoff_leaves_about_the_share_of_the_rows_after_it(share: float, last: int) -> None:
    numbers = np.arange(10_000)
    sample = Sample(numbers, numbers % 10, numbers // 10 % 2)
    assert sample.split(SplitSettings(test_share_of_rows=share)).cutoff == last


def test_rows_on_the_wrong_side_of_the_cutoff_are_left_out() -> None:
    sample = Sample.drawn(seed=3, n_times=5, n_users=60, n_rows=600)
    split = sample.split()
    assert split.cutoff is not None
    by_user = sample.split(SplitSettings(min_per_class=1000))
    assert by_user.cutoff is None
    for name, part in by_user.parts.items():
        right_side = (sample.rows.at[part] > split.cutoff) == (name == "test")
        assert split.parts[name].tolist() == part[right_side].tolist()


def test_one_date_is_split_by_user_only() -> None:
    split = Sample.drawn(seed=0, n_times=1).split()
    assert (split.cutoff, split.left_out) == (None, 0)


def test_dates_with_too_few_rows_of_a_class_are_split_by_user_only() -> None:
    numbers = np.arange(1000)
    early = numbers < 700
    later_are_negative = Sample(numbers, np.where(early, 0, 1), np.where(early, numbers % 2, 0))
    assert later_are_negative.split().cutoff is None

    sample = Sample(numbers, np.where(early, 0, 1), numbers % 2)
    split = sample.split()
    assert split.cutoff == 0
    rarest = min(np.bincount(sample.rows.labels[part]).min() for part in split.parts.values())
    assert sample.split(SplitSettings(min_per_class=int(rarest))).cutoff == 0
    assert sample.split(SplitSettings(min_per_class=int(rarest) + 1)).cutoff is None


@pytest.mark.parametrize("lacking", ["train", "calibration", "test"])
@pytest.mark.parametrize("label", [0, 1])
def test_a_part_without_a_class_is_named(lacking: str, label: int) -> None:
    sample = Sample.drawn(seed=0, n_times=1)
    part = sample.split().parts[lacking]
    labels = sample.rows.labels.copy()
    labels[part] = label
    positives = len(part) * label
    with pytest.raises(
        DataError, match=rf"the {lacking} part has {len(part)} of 200 .*, {positives} of them positive.* another seed"
    ):
        Sample(sample.rows.users, sample.rows.at, labels).split()


def test_shares_that_leave_no_one_to_train_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="leave no user to train on"):
        msgspec.convert({"test_share": 0.6, "calibration_share": 0.4}, SplitSettings)


@settings(deadline=None, max_examples=60)
@given(users=st.lists(st.integers(0, 30), min_size=5), n_folds=st.integers(2, 5), seed=SEEDS)
def test_each_user_is_in_one_fold_and_folds_are_even(users: list[int], n_folds: int, seed: int) -> None:
    assume(len(set(users)) >= n_folds)
    user_ids = [f"user-{user}" for user in users]
    fold = folds(user_ids, n_folds, seed)
    of_user = dict(zip(user_ids, fold.tolist(), strict=True))
    assert [of_user[user_id] for user_id in user_ids] == fold.tolist()
    sizes = np.bincount(list(of_user.values()), minlength=n_folds)
    assert len(sizes) == n_folds
    assert sizes.max() - sizes.min() <= 1
    assert folds(user_ids[::-1], n_folds, seed).tolist() == fold.tolist()[::-1]


def test_folds_need_as_many_users() -> None:
    with pytest.raises(DataError, match=r"3 folds need as many users, got 2"):
        folds(["a", "b", "a"], 3, seed=0)


def test_folds_depend_on_the_seed() -> None:
    user_ids = [str(user) for user in range(50)]
    assert folds(user_ids, 5, seed=0).tolist() != folds(user_ids, 5, seed=1).tolist()


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, split_seed=SEEDS)
def test_the_users_held_out_are_those_that_test(seed: int, split_seed: int) -> None:
    made, split_settings = Sample.drawn(seed, n_times=1), SplitSettings(seed=split_seed)
    split = split_or_assume(made, split_settings)
    assert np.flatnonzero(held_out(made.user_ids, split_settings)).tolist() == split.test.tolist()


@given(n=st.integers(0, 30), seed=SEEDS)
def test_a_sample_is_of_the_ids_alone(n: int, seed: int) -> None:
    ids = [f"user-{i}" for i in range(20)]
    drawn = sample(ids, n, b"one")
    assert len(drawn) == min(n, 20)
    assert np.all(np.diff(drawn) > 0)
    order = np.random.default_rng(seed).permutation(20)
    shuffled = [ids[i] for i in order]
    assert {shuffled[i] for i in sample(shuffled, n, b"one")} == {ids[i] for i in drawn}


def test_samples_for_two_purposes_differ() -> None:
    ids = [f"user-{i}" for i in range(100)]
    assert sample(ids, 50, b"one").tolist() != sample(ids, 50, b"other").tolist()


DAY = 86_400_000_000
DATES = {"test_from": "2024-01-08", "calibration_from": "2024-01-05"}
START = np.datetime64("2024-01-01", "us").astype(np.int64)


def monthly(**settings: object) -> tuple[Sample, SplitSettings]:
    """Ten days of 40 users, a row each a day, and settings."""
    numbers = np.arange(400)
    made = Sample(numbers % 40, START + numbers // 40 * DAY, (numbers % 7 < 3).astype(np.int64))
    return made, msgspec.convert(settings, SplitSettings)


def days(made: Sample, part: Int64) -> set[int]:
    return set(((made.rows.at[part] - START) // DAY + 1).tolist())


def test_dates_divide_all_users_and_known_ones_are_counted() -> None:
    made, chosen = monthly(**DATES)
    split = made.split(chosen)
    assert {name: days(made, part) for name, part in split.parts.items()} == {
        "train": {1, 2, 3, 4}, "calibration": {5, 6, 7}, "test": {8, 9, 10},
    }  # fmt: skip
    assert sum(map(len, split.parts.values())) == 400
    assert (split.by, split.left_out, split.known) == ("dates", 0, 120)
    assert split.cutoff == START + 7 * DAY - 1
    assert "120 of 120 test rows are of users that train or calibrate" in split.in_words()


def test_with_one_date_some_users_calibrate_before_it() -> None:
    made, chosen = monthly(test_from="2024-01-08")
    split = made.split(chosen)
    assert days(made, split.test) == {8, 9, 10}
    users = [{made.user_ids[row] for row in part} for part in (split.train, split.calibration)]
    assert users[0].isdisjoint(users[1])
    assert len(split.train) + len(split.calibration) == 280


@pytest.mark.parametrize("dates", [DATES, {"test_from": "2024-01-08"}])
def test_unseen_users_are_in_one_part_and_what_that_leaves_out_is_counted(dates: dict[str, str]) -> None:
    made, chosen = monthly(**dates, unseen_users=True)
    split = made.split(chosen)
    parts = {name: {made.user_ids[row] for row in part} for name, part in split.parts.items()}
    assert all(parts.values())
    assert sum(map(len, parts.values())) == len(set.union(*parts.values()))
    assert days(made, split.test) == {8, 9, 10}
    assert split.left_out == 400 - sum(map(len, split.parts.values())) > 0
    assert (split.by, split.known) == ("users and dates", 0)
    assert f"{split.left_out:,} rows are in no part" in split.in_words()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"calibration_from": "2024-01-05"}, "does nothing without test_from"),
        ({"unseen_users": True}, "does nothing without test_from"),
        ({"test_from": "2024-01-08", "test_share_of_rows": 0.5}, "test_share_of_rows does nothing with test_from"),
        ({"test_from": "2024-01-08", "calibration_from": "2024-01-08"}, "not before test_from"),
        ({"test_from": "8.1.2024"}, "test_from: expected a date such as"),
    ],
)
def test_dates_that_cannot_divide_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        monthly(**settings)


@pytest.mark.parametrize(("date", "part"), [("2023-01-01", "train"), ("2025-01-01", "test")])
def test_a_date_beside_all_rows_leaves_a_part_empty(date: str, part: str) -> None:
    made, chosen = monthly(test_from=date)
    with pytest.raises(DataError, match=rf"the {part} part has 0 of 400 .*give other dates"):
        made.split(chosen)


def with_parts(made: Sample, parts: Int64) -> Sample:
    made.rows = replace(made.rows, parts=parts.astype(np.int8))
    return made


def test_labels_that_say_their_parts_are_divided_so() -> None:
    made, _ = monthly()
    parts = np.random.default_rng(0).integers(3, size=400)
    split = with_parts(made, parts).split()
    for number, name in enumerate(("train", "calibration", "test")):
        assert split.parts[name].tolist() == np.flatnonzero(parts == number).tolist()
    assert (split.by, split.cutoff, split.left_out) == ("labels", None, 0)
    assert split.known == np.count_nonzero(parts == 2)
    assert "column split" in split.in_words()


def test_labels_without_validation_rows_calibrate_on_some_users_of_train() -> None:
    made, _ = monthly()
    split = with_parts(made, np.where(np.arange(400) < 280, 0, 2)).split()
    users = [{made.user_ids[row] for row in part} for part in (split.train, split.calibration)]
    assert users[0].isdisjoint(users[1])
    assert len(split.calibration)
    assert split.cutoff == START + 6 * DAY
    assert "some users of train calibrate" in split.in_words()


def test_parts_of_the_labels_and_dates_exclude_each_other() -> None:
    made, chosen = monthly(test_from="2024-01-08")
    with pytest.raises(ConfigError, match="test_from does nothing with labels that have a column split"):
        with_parts(made, np.arange(400) % 3).split(chosen)
    with pytest.raises(ConfigError, match="which these labels have not"):
        split_again(made.user_ids, replace(made.rows, parts=None), SplitSettings(), None, "labels")
