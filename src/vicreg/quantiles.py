"""Normal scores of numbers: where a value stands among the fitted ones, as a standard normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["NormalScores"]

#: Points of a column's distribution that are kept.
POINTS = 101


@dataclass(frozen=True)
class NormalScores:
    """Maps every column to standard normal scores by its fitted distribution function.

    A skewed or heavy-tailed column is spread evenly; a value between two kept points is
    interpolated, one that stands many times in the fitted rows gets the middle of its ranks.

    ``points`` (columns, 101) are quantiles of the fitted rows, in ascending order.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.quantiles import NormalScores
    >>> values = np.exp(np.linspace(-3, 3, 1001)).reshape(-1, 1)
    >>> scores = NormalScores.fit(values)
    >>> scores(np.array([[1.0], [1e9], [np.nan]])).round(2).tolist()
    [[0.0], [2.58], [nan]]
    """

    points: NDArray[np.float64]

    @classmethod
    def fit(cls, values: NDArray[np.float64]) -> NormalScores:
        """From rows (n, columns), NaN where missing; a column without any value maps to 0."""
        probabilities = np.linspace(0, 1, POINTS)
        points = np.zeros((values.shape[1], POINTS))
        for place, column in enumerate(values.T):
            known = column[~np.isnan(column)]
            if len(known):
                points[place] = np.quantile(known, probabilities)
        return cls(points)

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (n, columns), NaN where the value is."""
        points = torch.from_numpy(self.points)
        x = torch.from_numpy(np.ascontiguousarray(values.T))
        low = torch.searchsorted(points, x, right=False)  # points below x
        high = torch.searchsorted(points, x, right=True)  # points not above x
        before = (low - 1).clamp(0, POINTS - 2)
        left, right = points.gather(1, before), points.gather(1, before + 1)
        between = before + ((x - left) / (right - left)).clamp(0, 1)
        rank = torch.where(high > low, (low + high - 1) / 2, between)
        # The extremes are half a point away from 0 and 1.
        shares = (rank / (POINTS - 1)).clamp(0.5 / (POINTS - 1), 1 - 0.5 / (POINTS - 1))
        scores = torch.special.ndtri(shares)
        scores[torch.isnan(x)] = torch.nan
        return np.asarray(scores.numpy().T)
