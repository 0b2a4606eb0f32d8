"""What an embedding is scored by: labels or numbers of the rows, and which rows have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.utils.multiclass import type_of_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Index = NDArray[np.intp]

__all__ = ["MOST_CLASSES", "Target", "split_rows"]

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
        values = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
        if values.ndim != 1 or len(values) != n_rows:
            raise ValueError(
                f"{argument} must have one value for each of the {n_rows} rows, "
                f"however: shape {values.shape}"
            )
        known = np.array([not _is_missing(value) for value in values.tolist()], dtype=bool)
        present = values[known]
        if kind == "auto":
            finite = present[np.isfinite(present)] if present.dtype.kind == "f" else present[:0]
            continuous = len(finite) > 0 and type_of_target(finite).startswith("continuous")
            kind = "number" if continuous else "classes"
        if kind == "number":
            return cls._of_numbers(values, known, name, argument)
        if present.dtype.kind == "O":
            present = present.astype(str)
        classes, codes = np.unique(present, return_inverse=True)
        if len(classes) < 2:
            told = f"all {len(present)} rows have {str(classes[0])!r}" if len(classes) else "none"
            raise ValueError(
                f"{argument} must hold at least two classes, however: {len(classes)} ({told}); "
                "leave it out to score without labels"
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


def split_rows(
    n_rows: int,
    target: Target | None,
    test_size: float,
    random_state: int,
    groups: NDArray[np.int64] | None = None,
) -> tuple[Index, Index]:
    """Training and scored rows, in order; by class where every class has two rows.

    Of groups (rows,) none is in both, and classes are not looked at.
    """
    if groups is not None:
        by_group = GroupShuffleSplit(1, test_size=test_size, random_state=random_state)
        train, test = next(by_group.split(groups, groups=groups))
        return train, test
    strata = None
    if target is not None and not target.is_number:
        counts = np.unique(target.values, return_counts=True)[1]
        fewest = min(round(test_size * n_rows), round((1 - test_size) * n_rows))
        if counts.min() >= 2 and fewest >= len(counts):
            strata = target.values
    train, test = train_test_split(
        np.arange(n_rows), test_size=test_size, stratify=strata, random_state=random_state
    )
    return np.sort(train), np.sort(test)


def _is_missing(value: Any) -> bool:
    # pandas' marks equal nothing, not even themselves, or are known by name.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return bool(value != value)
