"""What a caller tells of every row beside the table: the group it belongs to, its weight."""

from __future__ import annotations

from numbers import Number
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vicreg.columns import is_missing
from vicreg.sources import unmasked

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "NOTHING_TOLD",
    "PerRow",
    "checked_groups",
    "checked_weights",
    "split_rows",
    "whole_groups",
]


class PerRow(NamedTuple):
    """What a fit is told of every row, by the names that :func:`vicreg.fitting.fit_embedder` has.

    Attributes
    ----------
    groups : ndarray of int, shape (rows,), or None
    weights : ndarray of float64, shape (rows,), or None

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.per_row import PerRow
    >>> told = PerRow.checked(groups=["a", "b", "b"], sample_weight=None, n_rows=3)
    >>> told.take(np.array([1, 2]))
    PerRow(groups=array([1, 1]), weights=None)
    """

    groups: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None

    @classmethod
    def checked(cls, groups: object, sample_weight: object, n_rows: int) -> PerRow:
        """From what a caller gave, if anything; see ``checked_groups`` and ``checked_weights``."""
        return cls(
            None if groups is None else checked_groups(groups, n_rows),
            None if sample_weight is None else checked_weights(sample_weight, n_rows),
        )

    def take(self, rows: NDArray[np.intp]) -> PerRow:
        """Of some rows."""
        groups, weights = self
        return PerRow(
            None if groups is None else groups[rows], None if weights is None else weights[rows]
        )


NOTHING_TOLD = PerRow()


def checked_groups(groups: object, n_rows: int) -> NDArray[np.int64]:
    """Groups as integers 0, 1, ... (rows,).

    Parameters
    ----------
    groups : array-like, shape (rows,)
        Numbers, text or dates. Values of different types are different groups: 1 and "1" are two,
        1 and 1.0 are one.
    n_rows : int
        Rows of the table.

    Raises
    ------
    ValueError
        If there is not one group per row, one is missing, or all rows are of one group.

    Examples
    --------
    >>> from vicreg.per_row import checked_groups
    >>> checked_groups(["b", "a", "b"], 3)
    array([1, 0, 1])
    """
    values = _one_per_row("groups", _kept_apart(groups), n_rows)
    missing = np.array([is_missing(value) for value in values.tolist()])
    if missing.any():
        raise ValueError(
            "groups must name a group for every row, "
            f"however: {missing.sum()} missing, the first in row {int(missing.argmax())}. "
            "Leave these rows out, or give each a group of its own"
        )
    if values.dtype == object:
        keys = [_group_key(value) for value in values.tolist()]
        code_of = {key: code for code, key in enumerate(sorted(set(keys)))}
        names, codes = np.array([name for name, _ in code_of]), [code_of[key] for key in keys]
    else:
        names, codes = np.unique(values, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"groups must name at least two groups, however: all rows are of group {names[0]!s}"
        )
    return np.asarray(codes, dtype=np.int64)


def _kept_apart(groups: object) -> object:
    """A list of values of several types as objects, of which NumPy would make text, or numbers."""
    if not isinstance(groups, list | tuple):
        return groups
    types = set(map(type, groups))
    if len(types) < 2 or types & {list, tuple, np.ndarray}:
        return groups
    values = np.empty(len(groups), dtype=object)
    values[:] = groups
    return values


def _group_key(value: object) -> tuple[str, str]:
    """What a value has in common with those of its group: its text and its type.

    Numbers are of one type, truth values of another.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return value, "text"
    if isinstance(value, Number) and not isinstance(value, bool):
        whole = isinstance(value, float) and value.is_integer()
        return str(int(value)) if whole else str(value), "number"  # type: ignore[call-overload]
    return str(value), type(value).__name__


def checked_weights(weights: object, n_rows: int) -> NDArray[np.float64]:
    """Weights as float64 (rows,), the largest 1: only their proportions count.

    Raises
    ------
    ValueError
        If there is not one weight per row, one is not a finite number or is negative, or fewer
        than two are above 0.

    Examples
    --------
    >>> from vicreg.per_row import checked_weights
    >>> checked_weights([1, 0, 2], 3)
    array([0.5, 0. , 1. ])
    """
    given = _one_per_row("sample_weight", weights, n_rows)
    try:
        values = _as_numbers(given)
    except (TypeError, ValueError):
        raise ValueError(
            f"sample_weight must hold numbers, however: it holds {given.tolist()[0]!r}"
        ) from None
    wrong = ~np.isfinite(values) | (values < 0)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            "sample_weight must be finite and not negative, "
            f"however: {values[row]:g} in row {row}. Give rows that should not count the weight 0"
        )
    if values.any():
        values = values / values.max()  # squares of very large or small ones would be no numbers
    n_positive = int((values > 0).sum())
    if n_positive < 2:
        raise ValueError(
            "sample_weight must be more than zero for at least two rows, "
            f"however: it is for {n_positive} of {n_rows}"
        )
    return values


def _as_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    # NumPy would leave imaginary parts out, with a warning, and take dates for days since 1970.
    found = {type(value) for value in values.tolist()} if values.dtype == object else set()
    if values.dtype.kind in "cmM" or any(issubclass(one, complex | np.complex64) for one in found):
        raise TypeError
    return values.astype(np.float64)


def whole_groups(
    groups: NDArray[np.int64], wanted: int, random: np.random.Generator
) -> NDArray[np.intp]:
    """Positions, in ascending order, of all rows of some groups drawn at random.

    As many groups as fit into ``wanted`` rows; one that would be too large is passed over.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.per_row import whole_groups
    >>> whole_groups(np.array([0, 1, 0, 0, 1]), 2, np.random.default_rng(0))
    array([1, 4])
    """
    names, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    taken = np.zeros(len(names), dtype=bool)
    left = wanted
    for group in random.permutation(len(names)).tolist():
        if sizes[group] <= left:
            taken[group] = True
            left -= int(sizes[group])
        if left == 0:
            break
    return np.flatnonzero(taken[codes])


def split_rows(
    n_rows: int,
    wanted: int,
    *,
    fewest: int,
    seed: int,
    groups: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.intp] | None, NDArray[np.intp] | None, list[str]]:
    """Rows to train on and rows held out, at random, in ascending order; and notes.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    wanted : int
        Rows to hold out, at the most.
    fewest : int
        Where whole groups make fewer than this, none are held out.
    seed : int
    groups : ndarray of int, shape (rows,), optional
        Held-out rows are whole groups.
    weights : ndarray, shape (rows,), optional
        Rows of weight 0 are in neither part.

    Returns
    -------
    training : ndarray of int or None
        None for all rows.
    held_out : ndarray of int or None
        None for no row.
    notes : list of str

    Examples
    --------
    >>> from vicreg.per_row import split_rows
    >>> split_rows(6, 2, fewest=1, seed=0)
    (array([0, 1, 4, 5]), array([2, 3]), [])
    """
    there = np.arange(n_rows) if weights is None else np.flatnonzero(weights)
    random = np.random.default_rng(seed)
    notes = []
    if len(there) < n_rows:
        notes.append(f"left out {n_rows - len(there)} rows of weight 0")
    if groups is None:
        held_out = random.permutation(len(there))[:wanted]
    else:
        own = groups[there]
        alone = int((np.unique(own, return_counts=True)[1] == 1).sum())
        if alone:
            notes.append(f"{alone} of {len(there)} rows are alone in their group")
        held_out = whole_groups(own, wanted, random)
        if len(held_out) < fewest:
            held_out = held_out[:0]
            if wanted:
                notes.append(
                    f"no rows are held out: {fewest} are needed, in whole groups of {wanted} rows "
                    "in all"
                )
    if not len(held_out):
        return (None if len(there) == n_rows else there), None, notes
    return np.delete(there, held_out), there[np.sort(held_out)], notes


def _one_per_row(name: str, values: object, n_rows: int) -> NDArray[np.generic]:
    array = np.asarray(unmasked(values))
    if array.ndim != 1 or len(array) != n_rows:
        raise ValueError(
            f"{name} must have one value per row of the table, shape ({n_rows},), "
            f"however: its shape is {array.shape}"
        )
    return array
