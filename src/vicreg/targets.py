"""What an embedding is scored by: labels or numbers of the rows, and which rows have them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.utils.multiclass import type_of_target

from vicreg.columns import is_missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_CLASSES", "Target"]

#: With more classes than this a linear probe and k-means take longer than they tell.
MOST_CLASSES = 100


@dataclass(frozen=True)
class Target:
    """Classes or numbers of rows.

    Attributes
    ----------
    name : str
    values : ndarray, shape (rows,)
        Text for classes, float64 for numbers; anything where a row has none.
    known : ndarray of bool, shape (rows,)
    """

    name: str
    values: NDArray[Any]
    known: NDArray[np.bool_]

    @property
    def is_number(self) -> bool:
        """Whether it is a quantity and not a class."""
        return self.values.dtype.kind == "f"

    @property
    def n_classes(self) -> int:
        """Different classes among the rows that have one; 0 for numbers."""
        return 0 if self.is_number else len(np.unique(self.values[self.known]))

    @property
    def note(self) -> str | None:
        """How many rows cannot be scored, if any."""
        missing = int((~self.known).sum())
        if not missing:
            return None
        return f"{missing} of {len(self.known)} rows have no {self.name}: they are not scored"

    @classmethod
    def of(
        cls,
        y: object,
        n_rows: int,
        *,
        name: str = "label",
        kind: Literal["auto", "classes", "number"] = "auto",
        argument: str = "y",
    ) -> Target:
        """Check what was given for the rows of a table.

        Parameters
        ----------
        y : array-like, shape (rows,)
        n_rows : int
            Rows of the table.
        name : str
        kind : {"auto", "classes", "number"}
            What the values are; ``"auto"`` takes decimal numbers for numbers, all else for classes.
        argument : str
            What messages call it.

        Raises
        ------
        ValueError
            If the length is another, fewer than two values differ, or numbers are asked for and
            there is something else.
        """
        if kind not in ("auto", "classes", "number"):
            raise ValueError(
                f"target must be 'auto', 'classes' or 'number', however: target={kind!r}"
            )
        try:
            values = _as_array(y)
        except ValueError:
            raise ValueError(
                f"{argument} must have one value for each of the {n_rows} rows, "
                "however: lists of different lengths"
            ) from None
        if values.ndim != 1 or len(values) != n_rows:
            raise ValueError(
                f"{argument} must have one value for each of the {n_rows} rows, "
                f"however: shape {values.shape}"
            )
        known = np.array([not is_missing(value) for value in values.tolist()], dtype=bool)
        present = values[known]
        if kind == "auto":
            amounts = _as_amounts(present)
            finite = amounts[np.isfinite(amounts)]
            continuous = len(finite) > 0 and type_of_target(finite).startswith("continuous")
            kind = "number" if continuous else "classes"
        if kind == "number":
            return cls._of_numbers(values, known, name, argument)
        if present.dtype.kind == "O":
            present = present.astype(str)
        classes, codes = np.unique(present, return_inverse=True)
        if len(classes) < 2:
            told = f"all {len(present)} rows have {str(classes[0])!r}" if len(classes) else "none"
            without = "leave it out" + " to score without labels" * (argument == "y")
            raise ValueError(
                f"{argument} must hold at least two classes, however: {len(classes)} ({told}); "
                f"{without}"
            )
        names = np.full(n_rows, "", dtype=object)
        names[known] = np.array([str(value) for value in classes], dtype=object)[codes]
        return cls(name, names.astype(str), known)

    @classmethod
    def _of_numbers(
        cls, values: NDArray[Any], known: NDArray[np.bool_], name: str, argument: str
    ) -> Target:
        numbers = np.zeros(len(values))
        try:
            numbers[known] = values[known].astype(np.float64)
        except (ValueError, TypeError):
            raise ValueError(
                f"{argument} must hold numbers, however: it holds {values[known].tolist()[0]!r}"
            ) from None
        known = known & np.isfinite(numbers)
        if not known.any() or np.ptp(numbers[known]) == 0:
            raise ValueError(
                f"{argument} must hold at least two different numbers, "
                f"however: {len(np.unique(numbers[known]))}"
            )
        return cls(name, numbers, known)


def _as_array(y: Any) -> NDArray[Any]:
    """What was given, with a mark of missing values that ``is_missing`` knows."""
    if isinstance(y, np.ma.MaskedArray):
        values = np.asarray(y.data).astype(object)
        values[np.ma.getmaskarray(y)] = None
        return values
    if hasattr(y, "to_pylist"):  # Arrow's arrays, whose own NumPy arrays have no missing texts
        y = y.to_pylist()
    elif hasattr(y, "to_numpy"):
        y = y.to_numpy()
    values = np.asarray(y)
    if values.dtype.kind in "US" and not isinstance(y, np.ndarray):
        values = np.asarray(y, dtype=object)  # NaN beside texts is not the text "nan"
    return values


def _as_amounts(present: NDArray[Any]) -> NDArray[np.floating]:
    """Decimal numbers, of objects too; nothing where there is anything else."""
    if present.dtype.kind == "f":
        return present
    if present.dtype.kind == "O" and all(
        isinstance(value, float | np.floating | Decimal) for value in present.tolist()
    ):
        return present.astype(np.float64)
    return np.empty(0)
