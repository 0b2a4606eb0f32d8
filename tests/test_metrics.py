"""Scores against scikit-learn, closed forms and chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import silhouette_score

from vicreg.metrics import (
    LabelledSplit,
    ari,
    effective_rank,
    knn_accuracy,
    linear_accuracy,
    silhouette,
)

X, Y = make_blobs(n_samples=300, centers=4, n_features=5, cluster_std=0.5, random_state=1)
RANDOM = np.random.default_rng(0)


def test_silhouette_equals_scikit_learns() -> None:
    assert silhouette(X, Y) == pytest.approx(silhouette_score(X, Y))


def test_silhouette_of_many_rows_is_that_of_two_thousand() -> None:
    many = RANDOM.normal(size=(2500, 2))
    labels = RANDOM.integers(0, 3, 2500)
    chosen = np.random.default_rng(0).permutation(2500)[:2000]
    assert silhouette(many, labels) == pytest.approx(silhouette_score(many[chosen], labels[chosen]))


@pytest.mark.parametrize("labels", [np.zeros(300, dtype=int), np.arange(300)])
def test_silhouette_without_groups_is_nan(labels: np.ndarray) -> None:
    assert np.isnan(silhouette(X, labels))


def test_probes_are_right_on_separate_blobs_and_at_chance_on_shuffled_labels() -> None:
    train, test = np.arange(0, 300, 2), np.arange(1, 300, 2)
    right = LabelledSplit.held_out(Y, train, test)
    assert knn_accuracy(X, right) == 1
    assert linear_accuracy(X, right) == 1
    wrong = LabelledSplit.held_out(RANDOM.permutation(Y), train, test)
    assert abs(knn_accuracy(X, wrong) - 0.25) < 0.15
    assert abs(linear_accuracy(X, wrong) - 0.25) < 0.15


def test_accuracy_is_balanced_over_classes() -> None:
    # Nine rows of one class for one of the other, indistinguishable: always the large one.
    labels = np.array([0] * 180 + [1] * 20)
    points = np.zeros((200, 1))
    every_second = np.arange(0, 200, 2), np.arange(1, 200, 2)
    assert knn_accuracy(points, LabelledSplit.held_out(labels, *every_second)) == 0.5


def test_crossed_folds_score_every_row_once() -> None:
    split = LabelledSplit.crossed(Y, random_state=0)
    assert split is not None
    assert sorted(np.concatenate([test for _, test in split.folds])) == list(range(300))
    for train, test in split.folds:
        assert not set(train) & set(test)


def test_a_class_with_one_row_cannot_be_crossed() -> None:
    assert LabelledSplit.crossed(np.array([0, 0, 1]), random_state=0) is None


def test_ari_is_one_on_separate_blobs_and_near_zero_by_chance() -> None:
    assert ari(X, Y) == 1
    assert abs(ari(X, RANDOM.permutation(Y))) < 0.05


def test_effective_rank_of_known_spectra() -> None:
    q = np.linalg.qr(RANDOM.normal(size=(50, 4)) - 0)[0]
    q -= q.mean(axis=0)
    q = np.linalg.qr(q)[0]  # orthonormal columns, still centred
    assert effective_rank(q) == pytest.approx(4)
    shares = np.array([8.0, 4, 2, 2]) / 16
    wanted = float(np.exp(-(shares * np.log(shares)).sum()))
    assert effective_rank(q * [8, 4, 2, 2]) == pytest.approx(wanted)
    assert effective_rank(np.outer(np.arange(9.0), [1, 2, 3])) == pytest.approx(1)
    assert effective_rank(np.ones((9, 3))) == 0


def test_effective_rank_does_not_see_scale_shift_or_rotation() -> None:
    digits = load_digits().data
    turn = np.linalg.qr(RANDOM.normal(size=(64, 64)))[0]
    wanted = effective_rank(digits)
    for other in (digits * 7, digits + 5, digits @ turn, digits[:, ::-1]):
        assert effective_rank(other) == pytest.approx(wanted, rel=1e-6)


def test_effective_rank_of_a_wide_matrix_equals_its_transposes_spectrum() -> None:
    wide = RANDOM.normal(size=(10, 40))
    values = np.linalg.svd(wide - wide.mean(axis=0), compute_uv=False)
    shares = values[values > 1e-9] / values.sum()
    wanted = float(np.exp(-(shares * np.log(shares)).sum()))
    assert effective_rank(wide) == pytest.approx(wanted, rel=1e-5)
