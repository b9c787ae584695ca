import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.serving.counted_scores import BOUNDS, ScoreCounts
from pragmatiq_triton.serving.metrics import METRICS

TASKS = ("default", "fraud")
scores = arrays(np.float32, st.tuples(st.integers(0, 5), st.just(2)), elements=st.floats(0, 1, width=32))


def buckets(counts: ScoreCounts, task: str) -> dict[str, float]:
    """Counts by upper bound, in the samples' order."""
    return {
        sample.labels["le"]: sample.value
        for sample in counts.samples()
        if sample.name == "pragmatiq_score_bucket" and sample.labels["task"] == task
    }


@given(st.lists(scores, max_size=4))
def test_buckets_count_what_is_at_or_below_their_bound(batches: list[Float32]) -> None:
    counts = ScoreCounts(TASKS)
    for batch in batches:
        counts.add(batch)
    every = np.concatenate([np.zeros((0, 2), np.float32), *batches])
    for task, of_task in zip(TASKS, every.T, strict=True):
        found = buckets(counts, task)
        assert list(found) == [*map(str, BOUNDS), "+Inf"]
        for bound in BOUNDS:
            assert found[str(bound)] == sum(score <= np.float32(bound) for score in of_task)
        assert list(found.values()) == sorted(found.values())
        assert found["+Inf"] == found["1.0"] == len(of_task)
    totals = {s.labels["task"]: s.value for s in counts.samples() if s.name == "pragmatiq_score_count"}
    assert totals == dict.fromkeys(TASKS, len(every))
    sums = [s.value for s in counts.samples() if s.name == "pragmatiq_score_sum"]
    np.testing.assert_allclose(sums, every.sum(axis=0, dtype=np.float64))


def test_a_score_on_a_bound_is_in_its_bucket() -> None:
    counts = ScoreCounts(["fraud"])
    counts.add(np.array([[0.1], [np.nextafter(np.float32(0.1), np.float32(1))], [0.0]], np.float32))
    found = buckets(counts, "fraud")
    assert (found["0.05"], found["0.1"], found["0.2"]) == (1, 2, 3)


def test_what_is_no_number_shows_between_the_last_bucket_and_the_total() -> None:
    counts = ScoreCounts(["fraud"])
    counts.add(np.array([[np.nan], [0.5]], np.float32))
    found = buckets(counts, "fraud")
    assert (found["1.0"], found["+Inf"]) == (1, 2)


def test_a_model_without_tasks() -> None:
    counts = ScoreCounts([])
    counts.add(np.zeros((3, 0), np.float32))
    assert counts.samples() == []


def test_every_sample_has_a_series_of_its_own_among_the_metrics() -> None:
    samples = ScoreCounts(TASKS).samples()
    assert {sample.name for sample in samples} <= METRICS.keys()
    assert len({(sample.name, *sorted(sample.labels.items())) for sample in samples}) == len(samples)
