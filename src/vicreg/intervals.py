"""How sure a score is: a value with replicates, and the interval that they give.

Nothing is fitted anew. Scores that are sums over rows are weighed anew by a bootstrap of the rows;
scores of a spectrum or of pairs of rows are taken again with a tenth of the rows left out.
Replicates of two methods belong together, so that their difference has a paired interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Matrix = NDArray[np.floating]

__all__ = ["Estimate", "Resampling"]

DRAWS = 400
GROUPS = 10
#: Share of the truth's variance below which a draw has none, and so no R².
LEAST_SPREAD = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A value, and what it becomes when the rows are resampled.

    Attributes
    ----------
    value : float
    replicates : ndarray, shape (draws,)
        Of the same rows as those of every other estimate of one :class:`Resampling`.
    scheme : {"bootstrap", "jackknife"}

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.intervals import Resampling
    >>> rows = Resampling(100, np.random.default_rng(0))
    >>> ones = rows.mean(np.ones(100))
    >>> (ones.value, ones.half_width)
    (1.0, 0.0)
    """

    value: float
    replicates: Matrix
    scheme: Literal["bootstrap", "jackknife"] = "bootstrap"

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of the 95 % interval; nan where there is no value.

        Percentiles of a bootstrap (Efron, Tibshirani, "An Introduction to the Bootstrap", 1993,
        chapter 13), or Student's t times the standard error of a grouped jackknife (chapter 11).
        """
        known = self.replicates[np.isfinite(self.replicates)]
        if not np.isfinite(self.value) or len(known) < 2:
            return float("nan"), float("nan")
        if self.scheme == "bootstrap":
            low, high = np.percentile(known, [2.5, 97.5])
            # Percentiles of a skewed bootstrap may miss the value that they are about.
            return float(min(low, self.value)), float(max(high, self.value))
        error = np.sqrt((len(known) - 1) * np.mean(np.square(known - known.mean())))
        half = stdtrit(len(known) - 1, 0.975) * error
        return float(self.value - half), float(self.value + half)

    @property
    def half_width(self) -> float:
        """Half the interval's length, the number after ±."""
        low, high = self.interval
        return (high - low) / 2

    def minus(self, other: Estimate) -> Estimate:
        """The difference, resampled in pairs."""
        return Estimate(self.value - other.value, self.replicates - other.replicates, self.scheme)


class Resampling:
    """One set of resamples of some rows, for every score of every method.

    Parameters
    ----------
    n_rows : int
    random : numpy.random.Generator
    strata : ndarray of int, shape (rows,), optional
        A bootstrap draws within each of them as many rows as there are.
    groups : ndarray of int, shape (rows,), optional
        Rows that belong together: where there are several groups, these are drawn and left out as
        a whole, whatever the strata. Replicates that are alike tell no more than one of them.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.intervals import Resampling
    >>> groups = np.arange(500) // 25
    >>> values = np.random.default_rng(0).normal(size=20)[groups]
    >>> one, other = (
    ...     Resampling(500, np.random.default_rng(0), groups=told).mean(values).half_width
    ...     for told in (None, groups)
    ... )
    >>> 4 < other / one < 6  # the root of 25
    True
    """

    def __init__(
        self,
        n_rows: int,
        random: np.random.Generator,
        strata: NDArray[np.intp] | None = None,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        self.n_rows = n_rows
        #: How often a draw has a row (draws, rows).
        self.weights: NDArray[np.float32]
        #: Which tenth a row is left out with (rows,).
        self.tenths: NDArray[np.intp]
        if groups is not None:
            names, whole = np.unique(groups, return_inverse=True)
            if len(names) > 1:
                shares = np.full(len(names), 1 / len(names))
                drawn = random.multinomial(len(names), shares, size=DRAWS)
                self.weights = drawn[:, whole].astype(np.float32)
                self.tenths = (random.permutation(len(names)) % GROUPS)[whole]
                return
        codes = np.zeros(n_rows, dtype=np.intp) if strata is None else strata
        self.weights = np.zeros((DRAWS, n_rows), dtype=np.float32)
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            shares = np.full(len(rows), 1 / len(rows))
            self.weights[:, rows] = random.multinomial(len(rows), shares, size=DRAWS)
        self.tenths = random.permutation(n_rows) % GROUPS

    def mean(self, values: Matrix) -> Estimate:
        """The mean of a number per row (rows,)."""
        values = np.asarray(values, dtype=np.float64)
        value = values.mean()
        away = self.weights @ (values - value)  # large numbers would cancel
        return Estimate(float(value), value + away / self.weights.sum(axis=1))

    def mean_of_classes(
        self,
        values: Matrix,
        classes: NDArray[np.intp],
        counted: NDArray[np.bool_] | None = None,
    ) -> Estimate:
        """The mean over classes (0, 1, ...) of a class's mean, such as balanced accuracy.

        Of the rows that are counted (rows,), by default all, and of the classes that these have.
        """
        member = np.eye(int(classes.max()) + 1, dtype=np.float32)[classes]
        if counted is not None:
            member *= counted[:, None]
        member = member[:, member.any(axis=0)]
        of_rows = (member * np.asarray(values, dtype=np.float32)[:, None]).sum(axis=0)
        value = float(np.mean(of_rows / member.sum(axis=0)))
        totals = self.weights @ (member * np.asarray(values, dtype=np.float32)[:, None])
        counts = self.weights @ member
        shares = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
        return Estimate(value, np.nanmean(shares, axis=1))

    def explained(self, truth: Matrix, residuals: Matrix) -> Estimate:
        """R²: one minus the residuals' sum of squares over that of the truth (rows,).

        nan where all of the truth is the same, in the rows or in a draw of them.
        """
        truth = np.asarray(truth, dtype=np.float64)
        truth = truth - truth.mean()  # large numbers would cancel
        residuals = np.asarray(residuals, dtype=np.float64)
        counts = self.weights.sum(axis=1)
        first = self.weights @ truth
        spread = self.weights @ np.square(truth) - np.square(first) / counts
        missed = self.weights @ np.square(residuals)
        whole = np.square(truth).sum()
        if whole <= 0:
            return Estimate(float("nan"), np.full(DRAWS, np.nan))
        there = spread > LEAST_SPREAD * whole
        shares = np.divide(missed, spread, out=np.full(DRAWS, np.nan), where=there)
        return Estimate(float(1 - np.square(residuals).sum() / whole), 1 - shares)

    def agreement(self, one: NDArray[np.intp], other: NDArray[np.intp]) -> Estimate:
        """The adjusted Rand index of two partitions (rows,), by tenths left out.

        It counts pairs of rows that are together in both. A bootstrap would draw rows twice, which
        are together in any partition, and so find agreement where there is none.
        """
        return self.without_tenths(_rand_index, np.column_stack((one, other)))

    def without_tenths(
        self, measure: Callable[[NDArray[Any]], float], values: NDArray[Any]
    ) -> Estimate:
        """Any measure of rows (rows, ...), with each tenth of them left out in turn.

        Of fewer than ten rows, with each row left out.
        """
        parts = [measure(values[self.tenths != tenth]) for tenth in np.unique(self.tenths)]
        return Estimate(measure(values), np.array(parts), "jackknife")


def _rand_index(both: NDArray[np.intp]) -> float:
    """Adjusted Rand index of two partitions (rows, 2), each with codes 0, 1, ...

    Source: Hubert, Arabie, "Comparing partitions", J. Classification 2 (1985), equation 5.
    """

    def pairs(codes: NDArray[np.intp]) -> float:
        counts = np.bincount(codes).astype(np.float64)
        return float((counts * (counts - 1) / 2).sum())

    one, other = both.T
    by_one, by_other = pairs(one), pairs(other)
    expected = by_one * by_other / max(pairs(np.zeros_like(one)), 1.0)
    scale = (by_one + by_other) / 2 - expected
    if abs(scale) < 1e-12:
        return 1.0
    return (pairs(one * (int(other.max()) + 1) + other) - expected) / scale
