"""Count, extremes, mean and deviation of a table's numbers, with or without weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vicreg.columns import Column, too_large

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from vicreg.columns import Kind

__all__ = ["Moments"]

#: Numbers below are too small to be squared, and beyond too large.
SMALL, LARGE = 1e-150, 1e150
#: Steps of float64 that a column's numbers differ by where they are the same but for rounding, if
#: they are no whole numbers, whose differences are exact.
ROUNDING = 10


@dataclass
class Moments:
    """Count, extremes, mean and deviation of columns (p,) of which not every value is there.

    With weights a row counts by its own; ``gaps`` says where values are missing.
    """

    rows: float
    count: NDArray[np.float64] | NDArray[np.int64]
    gaps: NDArray[np.bool_]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        parts: Callable[[], Iterable[NDArray[np.float64]]],
        weights: NDArray[np.float64] | None = None,
    ) -> Moments:
        """Of a table that comes in blocks, which are asked for twice."""
        with np.errstate(over="ignore"):  # of numbers that no column is made of
            return cls._of(parts, weights)

    @classmethod
    def _of(
        cls,
        parts: Callable[[], Iterable[NDArray[np.float64]]],
        weights: NDArray[np.float64] | None,
    ) -> Moments:
        rows = 0
        sums: dict[str, Any] = {"count": 0, "total": 0.0, "low": np.inf, "high": -np.inf}
        gaps: Any = False
        for part in parts():
            missing = np.isnan(part)
            weight = _column_of(weights, rows, len(part))
            rows += len(part)
            gaps = gaps | missing.any(axis=0)
            sums["count"] = sums["count"] + _weighed(~missing, weight).sum(axis=0)
            sums["total"] = sums["total"] + _weighed(np.where(missing, 0.0, part), weight).sum(
                axis=0
            )
            sums["low"] = np.minimum(sums["low"], np.where(missing, np.inf, part).min(axis=0))
            sums["high"] = np.maximum(sums["high"], np.where(missing, -np.inf, part).max(axis=0))
        count = np.asarray(sums["count"])
        # Without weights a count is at least 1 or 0; a sum of weights may be any number.
        divisor = np.where(count > 0, count, 1)
        mean = sums["total"] / divisor
        # Squares of what is so small would be 0.
        spread = np.maximum(sums["high"] - mean, mean - sums["low"])
        unit = np.where((spread > 0) & (spread < SMALL), spread, 1.0)
        squares: Any = np.zeros(len(mean))
        at = 0
        for part in parts():
            weight = _column_of(weights, at, len(part))
            at += len(part)
            squares += np.nansum(_weighed(np.square((part - mean) / unit), weight), axis=0)
        deviation = unit * np.sqrt(squares / divisor)
        total = rows if weights is None else float(weights.sum())
        return cls(total, count, gaps, sums["low"], sums["high"], mean, deviation)

    def take(self, places: slice) -> Moments:
        """The moments of some of the columns."""
        return Moments(
            self.rows,
            self.count[places],
            self.gaps[places],
            self.low[places],
            self.high[places],
            self.mean[places],
            self.deviation[places],
        )

    def column(self, name: str, position: int, kind: Kind, names: tuple[str, ...]) -> Column | str:
        """The table's column whose parts these are, with those that vary; or why to drop it.

        Raises
        ------
        ValueError
            If it holds a number that is too large to be squared, as for a deviation.
        """
        if not self.count[0]:
            return "empty"
        largest = max(self.low[0], self.high[0], key=abs)
        if abs(largest) > LARGE:
            raise ValueError(too_large(name, f", which holds {largest:g}"))
        least = 1e-9 if kind == "datetime" else 0.0  # sines of one moment differ by rounding
        if kind in ("number", "duration") and not (
            self.low[0].is_integer() and self.high[0].is_integer()
        ):
            # Sums of shares, say, are 1 but for rounding.
            least = ROUNDING * float(np.finfo(np.float64).eps) * abs(largest)
        varying = (self.high - self.low > least).tolist()
        kept = tuple(part for part, varies in zip(names, varying, strict=True) if varies)
        if "score" in names and "value" in kept:
            kept = names
        if self.gaps[0]:
            kept = (*(kept or names[:1]), "missing")
        return Column(name, position, kind, kept) if kept else "constant"

    def of_parts(self, column: Column, names: tuple[str, ...]) -> tuple[list[float], list[float]]:
        """Mean and scale of a column's parts, the flag of missing values among them."""
        missing = max(0.0, 1 - float(self.count[0]) / self.rows)  # sums of weights are rounded
        known = {"missing": (missing, math.sqrt(missing * (1 - missing)))}
        for part, mean, deviation in zip(names, self.mean, self.deviation, strict=True):
            known[part] = float(mean), float(deviation)
        chosen = [known[part] for part in column.parts]
        return [mean for mean, _ in chosen], [deviation or 1.0 for _, deviation in chosen]


def _column_of(
    weights: NDArray[np.float64] | None, start: int, count: int
) -> NDArray[np.float64] | None:
    return None if weights is None else weights[start : start + count, np.newaxis]


def _weighed(values: NDArray[Any], weight: NDArray[np.float64] | None) -> NDArray[Any]:
    return values if weight is None else values * weight
