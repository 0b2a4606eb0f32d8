"""Scores against scikit-learn, closed forms and chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score

from vicreg.metrics import (
    LabelledSplit,
    ari,
    cluster,
    effective_rank,
    knn_accuracy,
    knn_predictions,
    linear_accuracy,
    linear_predictions,
    neighbour_lists,
    silhouette,
    trustworthiness_rows,
)
from vicreg.scores import _overlap

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


@pytest.mark.parametrize("constant", [0.0, 0.1, 123456.7, 1e15 / 3])
def test_a_constant_embedding_has_no_rank(constant: float) -> None:
    matrix = np.full((100, 5), constant)
    assert effective_rank(matrix) == 0
    assert effective_rank(matrix.T) == 0
    matrix[:, 0] += 1e-6 * max(1, constant) * np.arange(100)
    assert effective_rank(matrix) == pytest.approx(1, abs=1e-3)


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


@pytest.mark.parametrize("probe", [knn_predictions, linear_predictions])
@pytest.mark.parametrize("labels", [Y, X.sum(axis=1)], ids=["classes", "numbers"])
def test_a_probe_learns_from_training_rows_only(probe: Any, labels: np.ndarray) -> None:
    train, test = np.arange(0, 200), np.arange(200, 300)
    split = LabelledSplit.held_out(labels, train, test)
    (wanted,) = probe(X, split)
    others = labels.copy()
    others[test] = RANDOM.permutation(labels)[test]
    (found,) = probe(X, split._replace(labels=others))
    assert np.array_equal(found, wanted)
    moved = X.copy()
    moved[test[1:]] = 1e3  # no row's prediction may depend on another scored row
    (found,) = probe(moved, split)
    assert found[0] == pytest.approx(wanted[0])
    others = labels.copy()
    others[train] = RANDOM.permutation(labels[train])
    (found,) = probe(X, split._replace(labels=others))
    assert not np.array_equal(found, wanted)


def distances(space: np.ndarray) -> np.ndarray:
    apart = np.linalg.norm(space[:, None] - space[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart)


def test_neighbours_are_the_nearest_other_rows() -> None:
    near = np.argsort(distances(X), axis=1)[:, :7]
    assert np.array_equal(neighbour_lists(X, 7), near)


def test_a_row_that_repeats_another_is_its_neighbour_and_not_its_own() -> None:
    twice = np.repeat(RANDOM.normal(size=(20, 3)), 2, axis=0)
    found = neighbour_lists(twice, 1)[:, 0]
    assert found.tolist() == [row + 1 if row % 2 == 0 else row - 1 for row in range(40)]


@pytest.mark.parametrize("neighbours", [1, 5, 10])
def test_trustworthiness_is_scikit_learns_and_that_of_a_loop(neighbours: int) -> None:
    raw, space = RANDOM.normal(size=(60, 6)), RANDOM.normal(size=(60, 6))
    space[:, :2] += raw[:, :2]
    found = trustworthiness_rows(raw, space, neighbours=neighbours)
    assert found.mean() == pytest.approx(trustworthiness(raw, space, n_neighbors=neighbours))
    assert 0.4 < found.mean() < 0.95
    of_raw, of_space = distances(raw), distances(space)
    for row in range(60):
        near_raw = set(np.argsort(of_raw[row])[:neighbours])
        penalty = sum(
            int((of_raw[row] <= of_raw[row, other]).sum()) - neighbours
            for other in np.argsort(of_space[row])[:neighbours]
            if other not in near_raw
        )
        worst = neighbours * (2 * 60 - 3 * neighbours - 1) / 2
        assert found[row] == pytest.approx(1 - penalty / worst)


def test_neighbourhoods_overlap_by_the_share_that_they_have_in_common() -> None:
    raw, space = RANDOM.normal(size=(50, 4)), RANDOM.normal(size=(50, 4))
    one, other = neighbour_lists(raw, 10), neighbour_lists(space, 10)
    wanted = [len(set(a) & set(b)) / 10 for a, b in zip(one, other, strict=True)]
    assert _overlap(one, other).tolist() == wanted
    assert (_overlap(one, one[:, ::-1]) == 1).all()
    # Of 49 others 10 are near by chance.
    assert np.mean(wanted) == pytest.approx(10 / 49, abs=0.08)


def test_fewer_different_rows_than_clusters_are_a_cluster_each() -> None:
    three = np.repeat(np.eye(3), 8, axis=0)
    found = cluster(three, 5)
    assert len(set(found)) == 3
    assert ari(three, np.repeat([0, 1, 2], 8)) == 1
