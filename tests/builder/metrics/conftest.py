"""Simulated scores: a few rows per user, and models that know more or less of the labels."""

import numpy as np
import pytest

from pragmatiq_builder.metrics import Evaluation, Split, evaluate_scores


def simulated(seed: int = 0, users: int = 300, rows_per_user: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and users [n], and a function of the label strength [n] in log-odds."""
    rng = np.random.default_rng(seed)
    n = users * rows_per_user
    labels = (rng.random(n) < 0.3).astype(np.int64)
    return labels, np.repeat(np.arange(users), rows_per_user), rng.normal(size=n)


def knowing(labels: np.ndarray, noise: np.ndarray, strength: float) -> np.ndarray:
    """Probabilities that tell the classes apart by ``strength`` standard deviations."""
    return 1 / (1 + np.exp(1.5 - strength * labels - noise))


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    labels, users, noise = simulated()
    rng = np.random.default_rng(1)
    scores = {
        "hybrid": knowing(labels, noise, 2.0),
        "echo": knowing(labels, noise + 0.01 * rng.normal(size=len(labels)), 2.0),
        "counts": knowing(labels, rng.normal(size=len(labels)), 0.5),
    }
    return evaluate_scores(
        labels,
        users.astype(str),
        scores,
        "hybrid",
        task="fraud",
        kind="event",
        method="hybrid",
        run="first",
        protocol="held-out users, later dates",
        train=Split(4000, 1200, 2000),
        calibration=Split(800, 240, 400),
        cut_off="2025-06-30",
        skipped={"no event before the label": 31},
        uncalibrated=scores["hybrid"] ** 2,
        calibration_method="isotonic",
        provenance={"tokenizer": "0123abcd"},
        seed=3,
        replicates=200,
    )
