"""Scores without labels, against closed forms, invariances and chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from vicreg.label_free import (
    alpha_req,
    cluster_agreement,
    cluster_stability,
    lidar,
    linear_prediction,
    neighbour_agreement,
    principal_targets,
    retrieval,
)

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(300, 6))


def views_of(rows: np.ndarray, scale: np.ndarray | float, count: int = 8) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=(len(rows), count, rows.shape[1]))
    return rows[:, None] + scale * noise


def test_lidar_counts_the_directions_that_outlive_the_corruption() -> None:
    even = lidar(views_of(ROWS, 0.1))
    assert even == pytest.approx(6, abs=0.2)
    # Noise a hundred times the signal's size in four of six directions: two are left.
    assert lidar(views_of(ROWS, np.array([0.1, 0.1, 10, 10, 10, 10]))) == pytest.approx(2, abs=0.1)


def test_lidar_does_not_depend_on_the_basis() -> None:
    views = views_of(ROWS, 1.0)
    turned = views @ RANDOM.normal(size=(6, 6))
    assert lidar(turned) == pytest.approx(lidar(views), rel=1e-2)  # but for the ridge


def test_lidar_is_the_entropy_of_the_generalised_eigenvalues() -> None:
    views = views_of(ROWS, 1.0)
    centres = views.mean(axis=1)
    within = sum(np.cov(row, rowvar=False) for row in views) / len(views)
    values = np.linalg.eigvals(np.linalg.solve(within, np.cov(centres, rowvar=False))).real
    shares = values / values.sum()
    assert lidar(views) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-3)


@pytest.mark.parametrize("shape", [(5, 3), (1, 4, 3), (4, 1, 3)])
def test_lidar_refuses_what_is_not_views(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two rows and two views, however: shape"):
        lidar(np.zeros(shape))


@pytest.mark.parametrize("decay", [0.5, 1.0, 2.0])
def test_alpha_is_the_exponent_of_a_power_law(decay: float) -> None:
    orthogonal = np.linalg.qr(RANDOM.normal(size=(200, 20)) - 0.0)[0]
    orthogonal -= orthogonal.mean(axis=0)
    orthogonal = np.linalg.qr(orthogonal)[0]
    spectrum = np.arange(1, 21) ** (-decay / 2)
    assert alpha_req(orthogonal * spectrum) == pytest.approx(decay, abs=1e-6)


def test_alpha_of_a_collapsed_embedding_is_nan() -> None:
    assert np.isnan(alpha_req(np.ones((50, 8))))


def test_separate_blobs_are_stable_and_noise_is_not() -> None:
    X, _ = make_blobs(400, centers=10, cluster_std=0.1, random_state=0)
    assert cluster_stability(X[:300], X[300:]) > 0.95
    noise = RANDOM.uniform(size=(400, 10))
    assert cluster_stability(noise[:300], noise[300:]) < 0.4


def test_retrieval_finds_a_rows_own_view_and_no_strangers() -> None:
    assert retrieval(ROWS, ROWS + 1e-6) == 1
    assert retrieval(ROWS, RANDOM.normal(size=ROWS.shape)) < 0.05
    assert retrieval(ROWS, RANDOM.normal(size=ROWS.shape), top=300) == 1


def test_neighbour_agreement_is_one_after_a_rotation_and_chance_between_strangers() -> None:
    turned = ROWS @ np.linalg.qr(RANDOM.normal(size=(6, 6)))[0]
    assert neighbour_agreement(ROWS, turned) == 1
    chance = neighbour_agreement(ROWS, RANDOM.normal(size=ROWS.shape))
    assert chance == pytest.approx(10 / 299, abs=0.02)


def test_targets_are_predicted_where_they_depend_on_the_embedding() -> None:
    targets = ROWS[:, :2] @ np.array([[1.0, 2.0], [3.0, -1.0]])
    assert linear_prediction(ROWS[:200], ROWS[200:], targets[:200], targets[200:]) > 0.99
    noise = RANDOM.normal(size=(300, 2))
    assert linear_prediction(ROWS[:200], ROWS[200:], noise[:200], noise[200:]) < 0.05


def test_a_prediction_is_that_of_a_ridge_regression() -> None:
    targets = ROWS[:, :1] + RANDOM.normal(size=(300, 1))
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=2.0)).fit(ROWS[:200], targets[:200])
    residual = np.square(targets[200:] - ridge.predict(ROWS[200:]).reshape(-1, 1)).sum()
    expected = 1 - residual / np.square(targets[200:] - targets[:200].mean()).sum()
    found = linear_prediction(ROWS[:200], ROWS[200:], targets[:200], targets[200:])
    assert found == pytest.approx(expected)


def test_a_constant_target_is_no_error() -> None:
    targets = np.zeros((300, 1))
    assert linear_prediction(ROWS[:200], ROWS[200:], targets[:200], targets[200:]) == 1


def test_principal_targets_are_uncorrelated_and_no_more_than_there_are() -> None:
    train, test = principal_targets(
        ROWS[:200, :2] @ np.ones((2, 4)), ROWS[200:, :2] @ np.ones((2, 4))
    )
    assert train.shape == (200, 1)
    assert test.shape == (100, 1)
    train, _ = principal_targets(ROWS[:200], ROWS[200:])
    covariance = np.cov(train, rowvar=False)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-12


def test_clusters_agree_as_scikit_learn_says_whatever_the_threads() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(6, 3))
    rows = centres[random.integers(6, size=600)] + 0.3 * random.normal(size=(600, 3))
    other = np.hstack([rows[:, :1], random.normal(size=(600, 2))])
    labels = [KMeans(6, n_init=10, random_state=0).fit_predict(space) for space in (rows, other)]
    found = cluster_agreement(rows, other, n_clusters=6)
    assert found == pytest.approx(adjusted_rand_score(*labels), abs=0.05)
    assert 0.05 < found < 0.9
    assert cluster_agreement(rows, rows[:, ::-1], n_clusters=6) > 0.8
    with threadpool_limits(2):
        assert cluster_agreement(rows, other, n_clusters=6) == found


@pytest.mark.parametrize("n_rows", [2, 9, 19])
def test_a_single_cluster_is_no_agreement(n_rows: int) -> None:
    rows = np.random.default_rng(0).normal(size=(n_rows, 4))
    assert cluster_agreement(rows, rows) == 0
    twice = np.repeat(np.eye(2), 15, axis=0)
    assert cluster_agreement(twice, twice) == 1
    assert cluster_agreement(twice, np.ones((30, 2))) == 0
    assert cluster_agreement(np.ones((30, 2)), np.ones((30, 2))) == 0
