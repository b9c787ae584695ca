from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pragmatiq_builder.heads import INPUTS, Calibrator, Head, HeadScorer, Isotonic, Linear, Platt, heads_graph
from pragmatiq_triton.errors import ArtifactError, ConfigError
from tests.builder.heads.cases import (
    DIMS,
    FEATURES,
    expected_logits,
    expected_probabilities,
    logit_head,
    random_head,
    random_inputs,
    random_isotonic,
)

CLASSIFIERS, CALIBRATORS = st.sampled_from(["linear", "trees", "stacked"]), st.sampled_from(["platt", "isotonic"])
SEEDS = st.integers(0, 2**32 - 1)


def graph(*heads: Head, calibrated: bool = True) -> onnx.ModelProto:
    return heads_graph(heads, DIMS, FEATURES, calibrated=calibrated)


@given(SEEDS, CLASSIFIERS, CALIBRATORS, st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_scores_are_those_of_plain_numpy(seed: int, classifier: str, calibrator: str, n_rows: int) -> None:
    rng = np.random.default_rng(seed)
    head = random_head(rng, classifier=classifier, calibrator=calibrator)
    inputs = random_inputs(rng, n_rows, [head])
    logits = HeadScorer(graph(head, calibrated=False))(inputs)
    scores = HeadScorer(graph(head))(inputs)
    assert logits.shape == scores.shape == (n_rows, 1)
    assert logits.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(logits[:, 0], expected_logits(head, inputs), atol=1e-5)
    np.testing.assert_allclose(scores[:, 0], expected_probabilities(head.calibrator, logits[:, 0]), rtol=2e-5)


@given(SEEDS, st.lists(st.tuples(CLASSIFIERS, CALIBRATORS), min_size=1, max_size=4), st.booleans())
@settings(max_examples=25, deadline=None)
def test_heads_together_score_as_each_alone(seed: int, kinds: list[tuple[str, str]], calibrated: bool) -> None:
    rng = np.random.default_rng(seed)
    heads = [random_head(rng, f"task{i}", *kind) for i, kind in enumerate(kinds)]
    inputs = random_inputs(rng, 5, heads)
    alone = [HeadScorer(graph(head, calibrated=calibrated))(inputs) for head in heads]
    together = HeadScorer(graph(*heads, calibrated=calibrated))(inputs)
    np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))


@pytest.mark.parametrize("classifier", ["linear", "trees", "stacked"])
@pytest.mark.parametrize("calibrator", ["platt", "isotonic"])
def test_graph_is_valid_and_the_same_again(classifier: str, calibrator: str) -> None:
    def build() -> onnx.ModelProto:
        return graph(random_head(np.random.default_rng(3), "a.b-c", classifier, calibrator))

    onnx.checker.check_model(build(), full_check=True)
    assert build().SerializeToString() == build().SerializeToString()


def test_graph_reads_only_what_a_head_reads() -> None:
    rng = np.random.default_rng(1)
    heads = [random_head(rng, f"task{i}") for i in range(2)]
    read = {name for head in heads for name in head.inputs}
    shapes = {
        each.name: [axis.dim_param or axis.dim_value for axis in each.type.tensor_type.shape.dim]
        for each in graph(*heads).graph.input
    }
    widths = {**DIMS, "features": len(FEATURES)}
    assert shapes == {name: ["n", widths[name]] for name in INPUTS if name in read}
    assert read < set(INPUTS)


@pytest.mark.parametrize(
    "calibrator",
    [
        Platt(2.0, -1.0),
        random_isotonic(np.random.default_rng(1), n_knots=200),
        # Just below the second knot, rounding takes the line past it.
        Isotonic(np.array([-1, 1e-9, 1], np.float32), np.array([0.029729590, 0.38892141, 1], np.float32)),
    ],
)
def test_probabilities_never_fall_nor_reach_0_or_1(calibrator: Calibrator) -> None:
    logits = np.linspace(-200, 200, 20_001)
    if isinstance(calibrator, Isotonic):
        knots = calibrator.logits
        sides = [np.nextafter(knots, np.float32(side)) for side in (-np.inf, np.inf)]
        logits = np.concatenate([logits, knots, *sides, np.linspace(knots[0], knots[-1], 20_001)])
    logits = np.sort(logits).astype(np.float32)
    scores = HeadScorer(heads_graph([logit_head(calibrator)], {}, ["logit"]))({"features": logits[:, np.newaxis]})
    assert np.all(np.diff(scores[:, 0]) >= 0)
    assert np.all((scores > 0) & (scores < 1))


def test_probabilities_of_rare_classes_are_exact_and_distinct() -> None:
    logits = np.linspace(-13, -9, 100_001, dtype=np.float32)
    scores = HeadScorer(heads_graph([logit_head(Platt(1.0, 0.0))], {}, ["logit"]))({"features": logits[:, np.newaxis]})
    np.testing.assert_allclose(scores[:, 0], 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-6)
    assert len(np.unique(scores)) == len(np.unique(logits))


def test_probabilities_are_the_knots_at_the_knots() -> None:
    isotonic = Isotonic(
        np.array([-1, 0, np.nextafter(np.float32(0), np.float32(1)), 2], np.float32),
        np.array([0.0, 0.25, 0.25, 1.0], np.float32),
    )
    scorer = HeadScorer(heads_graph([logit_head(isotonic)], {}, ["logit"]))
    scores = scorer(
        {"features": np.concatenate([isotonic.logits, [np.inf, -np.inf]]).astype(np.float32)[:, np.newaxis]}
    )
    np.testing.assert_allclose(scores[:, 0], [1e-6, 0.25, 0.25, 1 - 1e-6, 1 - 1e-6, 1e-6])


@pytest.mark.parametrize(
    "calibrator",
    [Platt(1.0, 0.0), Isotonic(np.array([-1, 1], np.float32), np.array([0.2, 0.9], np.float32))],
    ids=["platt", "isotonic"],
)
def test_a_logit_that_is_none_makes_no_probability(calibrator: Calibrator) -> None:
    """Infinite inputs of two signs cancel to NaN; a server then answers an error."""
    one = np.ones(2, np.float32)
    linear = Linear(0 * one, one, np.array([1, -1], np.float32), 0.0)
    head = Head("logit", "probe", "user", ("features",), ("a", "b"), linear, calibrator, {})
    features = np.array([[np.inf, np.inf], [0, 0], [np.nan, 0]], np.float32)
    scores = HeadScorer(heads_graph([head], {}, ["a", "b"]))({"features": features})[:, 0]
    assert np.isnan(scores[0])
    assert np.isfinite(scores[1:]).all()


def test_what_does_not_fit_together_is_refused() -> None:
    head = logit_head(Platt(1.0, 0.0))
    embedding = replace(head, inputs=("user_embedding",), feature_names=())
    with pytest.raises(ArtifactError, match=r"head logit.*features \['logit'\]"):
        heads_graph([head], {}, FEATURES)
    with pytest.raises(ArtifactError, match=r"head logit.*inputs \['user_embedding'\]"):
        heads_graph([embedding], {}, FEATURES)
    with pytest.raises(ArtifactError, match="reads 1 numbers, its inputs user_embedding have 3"):
        heads_graph([embedding], DIMS, FEATURES)
    with pytest.raises(ConfigError, match="another task"):
        heads_graph([head, head], {}, ["logit"])
    with pytest.raises(ConfigError, match="one or more"):
        heads_graph([], DIMS, FEATURES)
