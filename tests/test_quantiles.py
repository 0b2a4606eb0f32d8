"""Normal scores: scikit-learn's own quantile transformer, ties and extremes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sklearn.preprocessing import QuantileTransformer

from vicreg.quantiles import POINTS, NormalScores

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("values", [RANDOM.lognormal(size=(2000, 3)), RANDOM.normal(size=(900, 2))])
def test_scores_are_scikit_learns(values: np.ndarray) -> None:
    theirs = QuantileTransformer(n_quantiles=POINTS, output_distribution="normal")
    wanted = theirs.fit_transform(values)
    actual = NormalScores.fit(values)(values)
    inside = np.abs(wanted) < scipy.stats.norm.isf(1 / (POINTS - 1))
    np.testing.assert_allclose(actual[inside], wanted[inside], atol=0.03)


def test_a_value_that_stands_often_gets_the_middle_of_its_ranks() -> None:
    values = np.array([[0.0]] * 600 + [[1.0]] * 400)
    scores = NormalScores.fit(values)(np.array([[0.0], [1.0]]))
    np.testing.assert_allclose(scores[:, 0], scipy.stats.norm.ppf([0.3, 0.8]), atol=0.03)


def test_what_lies_outside_is_as_far_as_the_extremes() -> None:
    scores = NormalScores.fit(np.arange(1000.0).reshape(-1, 1))
    ends = scores(np.array([[-1e9], [0.0], [999.0], [1e9]]))[:, 0]
    farthest = scipy.stats.norm.isf(0.5 / (POINTS - 1))
    np.testing.assert_allclose(ends, [-farthest, -farthest, farthest, farthest])


def test_missing_values_stay_missing_and_empty_columns_give_nothing() -> None:
    scores = NormalScores.fit(np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan]]))
    told = scores(np.array([[np.nan, 3.0], [1.5, np.nan]]))
    assert np.isnan(told[0, 0])
    assert told[1, 0] == pytest.approx(0, abs=1e-12)
