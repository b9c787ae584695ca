from dataclasses import replace

import numpy as np
import pytest

from pragmatiq_builder.finetune.classifiers import fit_classifier
from pragmatiq_builder.finetune.stacking import fit_stacked, vectors_pay
from pragmatiq_builder.heads import Head, HeadScorer, Platt, heads_graph
from pragmatiq_triton.errors import DataError

N, USERS = 600, 200


@pytest.fixture(scope="module")
def data():
    """Labels that both the features (a threshold) and the vectors (a direction) know something of."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, USERS, N)
    features = rng.normal(size=(N, 3)).astype(np.float32)
    vectors = rng.normal(size=(N, 5)).astype(np.float32)
    logit = 2.5 * (features[:, 0] > 0.7) + 1.2 * vectors[:, 1] - 2
    labels = (rng.random(N) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    features[::7, 2] = np.nan
    return vectors, features, labels, users


def logits(classifier, vectors, features):
    names = tuple(f"f{i}" for i in range(features.shape[1]))
    head = Head("t", "hybrid", "user", ("user_embedding", "features"), names, classifier, Platt(1.0, 0.0), {})
    graph = heads_graph([head], {"user_embedding": vectors.shape[1]}, names, calibrated=False)
    return HeadScorer(graph)({"user_embedding": vectors, "features": features})[:, 0]


def log_loss(logit, labels):
    return np.mean(np.log1p(np.exp(np.where(labels == 1, -logit, logit))))


def test_it_reads_both_the_features_and_the_vectors(data):
    vectors, features, labels, users = data
    train, test = users < 140, users >= 140
    stacked = fit_stacked(vectors[train], features[train], labels[train], users[train], seed=0)
    trees = fit_classifier("boosting", features[train], labels[train], users[train], 0)
    both = log_loss(logits(stacked, vectors[test], features[test]), labels[test])
    alone = log_loss(logits(replace(stacked, trees=trees, linear=only_trees(stacked)), vectors[test], features[test]),
                     labels[test])  # fmt: skip
    silent = log_loss(logits(stacked, vectors[test] * 0, features[test]), labels[test])
    assert both < alone
    assert both < silent


def only_trees(stacked):
    """The stack's last column alone: the trees' logit as it is."""
    width = len(stacked.linear.weights)
    weights, one = np.zeros(width, np.float32), np.ones(width, np.float32)
    weights[-1] = 1
    return replace(stacked.linear, mean=0 * one, scale=one, weights=weights, bias=0.0)


def test_rounding_of_the_vectors_moves_the_logit_as_little(data):
    vectors, features, labels, users = data
    stacked = fit_stacked(vectors, features, labels, users, seed=0)
    moved = vectors + np.float32(1e-6)
    assert np.abs(logits(stacked, vectors, features) - logits(stacked, moved, features)).max() < 1e-4


def test_vectors_of_noise_do_no_harm(data):
    _vectors, features, labels, users = data
    noise = np.random.default_rng(1).normal(size=(N, 40)).astype(np.float32)
    stacked = fit_stacked(noise, features, labels, users, seed=0)
    ranks = np.corrcoef(logits(stacked, noise, features), logits(stacked, noise * 0, features))[0, 1]
    assert ranks > 0.9
    assert not vectors_pay(stacked)
    np.testing.assert_array_equal(logits(stacked, noise, features), logits(stacked, noise * 0, features))


def test_vectors_that_know_something_are_read(data):
    assert vectors_pay(fit_stacked(*data, seed=0))


def test_one_class_is_refused(data):
    vectors, features, labels, users = data
    with pytest.raises(DataError, match="expected both"):
        fit_stacked(vectors, features, labels * 0, users, seed=0)


def test_the_same_seed_gives_the_same_numbers(data):
    one, other = (fit_stacked(*data, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.linear.weights, other.linear.weights)
    np.testing.assert_array_equal(one.trees.threshold, other.trees.threshold)
