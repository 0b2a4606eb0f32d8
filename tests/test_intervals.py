"""Intervals against scipy, scikit-learn on the rows drawn, closed forms, and simulated coverage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import adjusted_rand_score, balanced_accuracy_score, r2_score

from vicreg.intervals import Estimate, Resampling
from vicreg.metrics import effective_rank

RANDOM = np.random.default_rng(0)
N_ROWS = 60
VALUES = RANDOM.exponential(size=N_ROWS)
CLASSES = np.repeat([0, 1, 2], [30, 20, 10])
TRUTH = RANDOM.normal(size=N_ROWS)
RESIDUALS = 0.3 * RANDOM.normal(size=N_ROWS)


def resampled(n_rows: int = N_ROWS, seed: int = 0, strata: np.ndarray | None = None) -> Resampling:
    return Resampling(n_rows, np.random.default_rng(seed), strata)


def drawn(rows: Resampling, draw: int | np.integer[Any]) -> np.ndarray:
    """The rows of a draw, each as often as it was drawn."""
    return np.repeat(np.arange(rows.n_rows), rows.weights[draw].astype(int))


def right_or_wrong() -> np.ndarray:
    return (np.arange(N_ROWS) % 3 > 0).astype(float)


@pytest.mark.parametrize(
    ("estimated", "oracle"),
    [
        (lambda rows: rows.mean(VALUES), lambda at: VALUES[at].mean()),
        (
            lambda rows: rows.mean_of_classes(right_or_wrong(), CLASSES),
            lambda at: balanced_accuracy_score(
                CLASSES[at], np.where(right_or_wrong()[at] == 1, CLASSES[at], 3 + CLASSES[at])
            ),
        ),
        (
            lambda rows: rows.explained(TRUTH, RESIDUALS),
            lambda at: r2_score(TRUTH[at], (TRUTH - RESIDUALS)[at]),
        ),
    ],
    ids=["mean", "balanced accuracy", "R²"],
)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_a_replicate_is_the_score_of_the_rows_drawn(
    estimated: Callable[[Resampling], Estimate], oracle: Callable[[np.ndarray], float]
) -> None:
    rows = resampled()
    found = estimated(rows)
    assert found.value == pytest.approx(oracle(np.arange(N_ROWS)))
    wanted = [oracle(drawn(rows, draw)) for draw in range(40)]
    np.testing.assert_allclose(found.replicates[:40], wanted, rtol=1e-5, atol=1e-6)


def test_the_bootstraps_interval_is_scipys() -> None:
    low, high = resampled().mean(VALUES).interval
    wanted = scipy.stats.bootstrap(
        (VALUES,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=0.1 * (high - low))


def test_a_bootstraps_interval_covers_the_mean_of_normal_rows_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(300):
        rows = 3 + np.random.default_rng(1000 + seed).normal(size=N_ROWS)
        low, high = resampled(seed=seed).mean(rows).interval
        covered += low <= 3 <= high
    # Percentiles cover a little less than 95 % of the time at 60 rows; the error is 1.3 %.
    assert 0.90 < covered / 300 < 0.98


def test_a_jackknife_of_means_is_students_interval_of_the_tenths_means() -> None:
    rows = resampled()
    means = [VALUES[rows.tenths == tenth].mean() for tenth in range(10)]
    wanted = scipy.stats.t.interval(0.95, 9, loc=np.mean(means), scale=scipy.stats.sem(means))
    found = rows.without_tenths(lambda part: float(part.mean()), VALUES)
    assert found.interval == pytest.approx(wanted)
    assert found.half_width == pytest.approx((wanted[1] - wanted[0]) / 2)


@pytest.mark.parametrize("n_rows", [2, 7])
def test_of_fewer_than_ten_rows_each_is_left_out(n_rows: int) -> None:
    few = VALUES[:n_rows]
    found = resampled(n_rows).without_tenths(lambda part: float(part.mean()), few)
    wanted = scipy.stats.t.interval(0.95, n_rows - 1, loc=few.mean(), scale=scipy.stats.sem(few))
    assert found.interval == pytest.approx(wanted)


def test_a_spectrums_jackknife_leaves_out_a_tenth_at_a_time() -> None:
    matrix, rows = RANDOM.normal(size=(N_ROWS, 4)), resampled()
    found = rows.without_tenths(effective_rank, matrix)
    wanted = [
        effective_rank(np.delete(matrix, rows.tenths == tenth, axis=0)) for tenth in range(10)
    ]
    assert found.value == effective_rank(matrix)
    assert found.replicates.tolist() == wanted


def test_an_agreements_jackknife_leaves_out_a_tenth_at_a_time() -> None:
    rows, other = resampled(), np.arange(N_ROWS) % 4
    found = rows.agreement(CLASSES, other)
    kept = [np.flatnonzero(rows.tenths != tenth) for tenth in range(10)]
    assert found.value == pytest.approx(adjusted_rand_score(CLASSES, other))
    assert found.scheme == "jackknife"
    wanted = [adjusted_rand_score(CLASSES[at], other[at]) for at in kept]
    np.testing.assert_allclose(found.replicates, wanted, rtol=1e-9)
    for same in (CLASSES, np.zeros(N_ROWS, dtype=np.intp)):
        assert rows.agreement(same, same).interval == (1.0, 1.0)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_an_agreements_interval_covers_it_at_chance_and_beyond(share: float) -> None:
    def partitions(n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        one, other = random.integers(10, size=(2, n_rows))
        return one, np.where(random.random(n_rows) < share, one, other)

    truth = adjusted_rand_score(*partitions(100_000, 1000))
    assert truth == pytest.approx(share**2, abs=0.01)
    covered = 0
    for seed in range(40):
        one, other = partitions(100, seed)
        low, high = resampled(100, seed, one).agreement(one, other).interval
        covered += low <= truth <= high
    assert covered >= 36  # of 38 on average; a bootstrap of the rows has 19 and 31


def test_a_difference_of_agreements_is_that_of_the_same_rows() -> None:
    rows, random = resampled(), np.random.default_rng(0)
    ones = [np.where(random.random(N_ROWS) < 0.9, CLASSES, 0) for _ in range(2)]
    ones[1][:57] = ones[0][:57]
    one, other = (rows.agreement(CLASSES, found) for found in ones)
    difference = one.minus(other)
    assert difference.replicates.tolist() == (one.replicates - other.replicates).tolist()
    assert difference.half_width < 0.8 * one.half_width


def test_a_difference_is_that_of_the_same_rows() -> None:
    rows = resampled()
    other = VALUES + 0.01 * RANDOM.normal(size=N_ROWS) - 0.5
    difference = rows.mean(VALUES).minus(rows.mean(other))
    apart = rows.mean(VALUES - other)
    assert difference.value == pytest.approx(apart.value)
    np.testing.assert_allclose(difference.replicates, apart.replicates)
    # The scores vary a hundred times as much as their difference does.
    assert difference.half_width < 0.1 * rows.mean(VALUES).half_width


def test_within_strata_every_draw_has_as_many_rows() -> None:
    rows = resampled(strata=CLASSES)
    for code, count in enumerate((30, 20, 10)):
        assert (rows.weights[:, code == CLASSES].sum(axis=1) == count).all()
    assert rows.mean(CLASSES == 1).half_width == pytest.approx(0, abs=1e-12)
    assert resampled().mean(CLASSES == 1).half_width > 0.05


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_a_constant_score_is_sure(constant: float) -> None:
    rows = resampled()
    for found in (
        rows.mean(np.full(N_ROWS, constant)),
        rows.without_tenths(lambda part: float(part[0]), np.full(N_ROWS, constant)),
    ):
        assert found.value == pytest.approx(constant, rel=1e-12)
        assert found.half_width == pytest.approx(0, abs=1e-12 * constant)


def test_an_offset_moves_the_interval_and_does_not_widen_it() -> None:
    rows = resampled()
    near, far = rows.mean(VALUES), rows.mean(VALUES + 1e9)
    assert far.half_width == pytest.approx(near.half_width, rel=1e-5)
    assert rows.explained(TRUTH + 1e9, RESIDUALS).interval == pytest.approx(
        rows.explained(TRUTH, RESIDUALS).interval, rel=1e-5
    )


def test_what_is_nan_has_no_interval() -> None:
    unknown = resampled().mean(np.where(np.arange(N_ROWS) == 0, np.nan, VALUES))
    for found in (unknown, Estimate(0.5, np.array([0.5])), Estimate(0.5, np.array([np.nan] * 9))):
        assert np.isnan(found.interval).all()
        assert np.isnan(found.half_width)


@pytest.mark.parametrize("scheme", ["bootstrap", "jackknife"])
def test_replicates_without_a_value_are_left_out(scheme: str) -> None:
    known = RANDOM.normal(size=10)
    with_gaps = np.concatenate((known, [np.nan, np.inf]))
    one, other = (Estimate(known.mean(), each, scheme) for each in (known, with_gaps))  # type: ignore[arg-type]
    assert one.interval == other.interval


def test_an_interval_holds_its_value_however_skewed_the_draws_are() -> None:
    found = Estimate(0.9, np.linspace(0.1, 0.8, 401))
    assert found.interval == pytest.approx((0.1 + 0.7 * 0.025, 0.9))


def test_a_class_that_a_draw_lacks_does_not_count_in_it() -> None:
    classes = np.array([0] * 59 + [1])
    found = resampled().mean_of_classes((classes == 1).astype(float), classes)
    assert found.value == 0.5
    assert set(found.replicates) == {0.0, 0.5}  # without the row, and with it


def test_a_truth_that_does_not_vary_has_no_share_explained() -> None:
    found = resampled().explained(np.full(N_ROWS, 3.0), RESIDUALS)
    assert np.isnan(found.value)
    assert np.isnan(found.interval).all()


def test_draws_in_which_the_truth_does_not_vary_do_not_count() -> None:
    rows, truth = resampled(), np.full(N_ROWS, 0.1)
    truth[7] = 5.1  # a third of all draws lack this row
    found = rows.explained(truth, np.full(N_ROWS, 0.3))
    lacking = rows.weights[:, 7] == 0
    assert 0.2 < lacking.mean() < 0.5
    assert (np.isnan(found.replicates) == lacking).all()
    known = [
        r2_score(truth[at], truth[at] - 0.3)
        for at in (drawn(rows, draw) for draw in np.flatnonzero(~lacking))
    ]
    assert found.interval[0] == pytest.approx(np.percentile(known, 2.5))
