"""Counts, such as reads of genes in cells: recognised, normalised, the most variable columns found.

Source of the selection: Lause, Berens, Kobak, "Analytic Pearson residuals for normalization of
single-cell RNA-seq UMI data", Genome Biology 22 (2021), equations 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw
import numpy as np

from vicreg.columns import numbers_of
from vicreg.sources import blocks, column_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicreg.sources import Block, Source

    Index = NDArray[np.intp]

__all__ = ["Depth", "checked_counts", "looks_like_counts", "most_variable"]

#: A table is taken for counts if it has at least so many columns, zeros, and so large a value.
FEWEST_COLUMNS = 200
FEWEST_ZEROS = 0.5
SMALLEST_MAXIMUM = 10
#: How a count's variance exceeds its mean beyond Poisson's: mean + mean² / OVERDISPERSION.
OVERDISPERSION = 100.0


@dataclass(frozen=True)
class Depth:
    """Counts of rows brought to one depth (sum of a row), and their logarithm.

    Parameters
    ----------
    target : float
        The depth of the result before the logarithm.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.counts import Depth
    >>> logs, depth = Depth(10.0)(np.array([[1.0, 4.0], [30.0, 0.0], [0.0, 0.0]]))
    >>> np.expm1(logs).round(9).tolist()
    [[2.0, 8.0], [10.0, 0.0], [0.0, 0.0]]
    >>> depth.tolist()
    [5.0, 30.0, 0.0]
    """

    target: float

    @classmethod
    def fit(cls, source: Source, index: Index | None, weights: NDArray[np.float64] | None) -> Depth:
        """The median depth of the rows that have counts, by weight if there are weights."""
        depth = np.concatenate(
            [
                part.sum(axis=1)
                for part in (checked_counts(p, at) for at, p in blocks(source, index))
            ]
        )
        if not depth.any():
            raise ValueError("the table of counts holds nothing but 0; check the columns")
        own = depth[depth > 0]
        if weights is None:
            return cls(float(np.median(own)))
        order = np.argsort(own)
        heaped = weights[depth > 0][order].cumsum()
        return cls(float(own[order][np.searchsorted(heaped, heaped[-1] / 2)]))

    def __call__(
        self, counts: NDArray[np.float64], kept: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """log(1 + normalised count) of the kept columns (rows, kept), and the depths (rows,).

        A depth is the sum of all columns, kept or not: of whole numbers, so it is exact and the
        same whatever other rows stand beside.
        """
        depth = counts.sum(axis=1)
        chosen = counts if kept is None else counts[:, kept]
        factor = self.target / np.where(depth > 0, depth, 1.0)
        return np.log1p(chosen * factor[:, np.newaxis]), depth


def checked_counts(source: Block, first_row: int = 0) -> NDArray[np.float64]:
    """All columns as float64 (rows, columns).

    Raises
    ------
    ValueError
        If a value is missing, negative or not a whole number.
    """
    names = column_names(source)
    counts = numbers_of(source, range(len(names)), names, first_row)
    wrong = ~((counts >= 0) & (counts == np.floor(counts)))
    if wrong.any():
        row, column = (int(place[0]) for place in wrong.nonzero())
        value = counts[row, column]
        told = "a missing value" if np.isnan(value) else f"{value:g}"
        raise ValueError(
            "counts must be whole numbers, not negative and none missing, "
            f"however: {told} in column {names[column]!r}, row {first_row + row}. "
            "Give raw counts, or take the table as it is with kind='table' (--kind table)"
        )
    return counts


def looks_like_counts(source: Source, index: Index | None = None) -> bool:
    """Whether a table holds counts of many things, of which most were not seen.

    It does if it has at least 200 columns, all of whole numbers that are not negative; at least
    half the values are 0; among the others 1 is more frequent than 2 and 2 more than 3 (the grey
    levels of a picture are not); the largest is at least 10 (a table of flags is not); and the
    variance of most columns exceeds their mean, as that of Poisson counts does not.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.counts import looks_like_counts
    >>> random = np.random.default_rng(0)
    >>> rate = random.gamma(0.3, 3.0, (50, 300))
    >>> looks_like_counts(random.poisson(rate)), looks_like_counts(rate)
    (True, False)
    """
    if source.shape[1] < FEWEST_COLUMNS or not _all_numbers(source):
        return False
    names = column_names(source)
    rows, zeros, largest = 0, 0, 0.0
    small = np.zeros(3)
    total, squares = np.zeros(len(names)), np.zeros(len(names))
    for at, part in blocks(source, index):
        counts = numbers_of(part, range(len(names)), names, at)
        if not ((counts >= 0) & (counts == np.floor(counts))).all():
            return False
        rows += len(counts)
        zeros += int((counts == 0).sum())
        small += [(counts == value).sum() for value in (1, 2, 3)]
        largest = max(largest, float(counts.max()))
        total += counts.sum(axis=0)
        squares += np.square(counts).sum(axis=0)
    mean = total / rows
    variance = squares / rows - np.square(mean)
    seen = mean > 0
    return bool(
        zeros >= FEWEST_ZEROS * rows * len(names)
        and largest >= SMALLEST_MAXIMUM
        and small[0] > small[1] > small[2]
        and np.mean(variance[seen] > mean[seen]) > 0.5
    )


def most_variable(source: Source, index: Index | None, count: int) -> NDArray[np.intp]:
    """Positions, in ascending order, of the columns that vary most beyond what depths explain.

    By the variance of Pearson residuals (x - m) / √(m + m² / 100), where m is a row's depth times
    the column's share of all counts; residuals are drawn in to ±√rows.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.counts import most_variable
    >>> random = np.random.default_rng(0)
    >>> counts = random.poisson(5.0, (200, 6))
    >>> counts[:100, 4] = random.poisson(15.0, 100)
    >>> most_variable(counts, None, 1)
    array([4])
    """
    n_rows = source.shape[0] if index is None else len(index)
    of_columns = np.zeros(source.shape[1])
    for at, part in blocks(source, index):
        of_columns += checked_counts(part, at).sum(axis=0)
    shares = of_columns / of_columns.sum()
    total, squares = np.zeros(len(shares)), np.zeros(len(shares))
    for at, part in blocks(source, index):
        counts = checked_counts(part, at)
        expected = counts.sum(axis=1, keepdims=True) * shares
        spread = np.sqrt(expected + np.square(expected) / OVERDISPERSION)
        residuals = (counts - expected) / np.where(spread > 0, spread, 1.0)
        np.clip(residuals, -np.sqrt(n_rows), np.sqrt(n_rows), out=residuals)
        total += residuals.sum(axis=0)
        squares += np.square(residuals).sum(axis=0)
    variance = squares / n_rows - np.square(total / n_rows)
    return np.sort(np.argsort(-variance, kind="stable")[:count])


def _all_numbers(source: Source) -> bool:
    if isinstance(source, nw.DataFrame):
        return all(dtype.is_numeric() for dtype in source.schema.values())
    return source.dtype.kind in "iuf"
