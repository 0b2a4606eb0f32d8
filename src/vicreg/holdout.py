"""Which rows scores are taken on: those held out of a fit, and some of many."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, train_test_split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Index = NDArray[np.intp]

__all__ = ["FEWEST_GROUPS", "check_groups", "hold_out", "some_of"]

#: Groups that rows are split by, at the least: a fit must have two of them.
FEWEST_GROUPS = 3


def hold_out(
    n_rows: int,
    share: float,
    seed: int,
    *,
    labels: NDArray[np.generic] | None = None,
    groups: NDArray[np.int64] | None = None,
) -> tuple[Index, Index]:
    """Training rows and held-out ones, in order; by class as far as that can be.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    share : float
        Of the rows that are held out.
    seed : int
    labels : ndarray, shape (rows,), optional
        Classes, of which both parts have the same shares. Those of a single row are taken for one
        class, or a lone one for a row of the largest; classes are not looked at where either part
        has fewer rows than there are classes.
    groups : ndarray of int, shape (rows,), optional
        None is in both parts; classes are not looked at then.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.holdout import hold_out
    >>> train, test = hold_out(10, 0.3, 0, labels=np.repeat([0, 1], [7, 3]))
    >>> len(train), (test >= 7).sum()
    (7, np.int64(1))
    """
    if groups is not None:
        by_group = GroupShuffleSplit(1, test_size=share, random_state=seed)
        train, test = next(by_group.split(groups, groups=groups))
        return train, test
    train, test = train_test_split(
        np.arange(n_rows),
        test_size=share,
        stratify=None if labels is None else _strata(labels, share),
        random_state=seed,
    )
    return np.sort(train), np.sort(test)


def check_groups(groups: NDArray[np.int64]) -> None:
    """Refuse groups (rows,) that are too few to fit some and score others.

    Raises
    ------
    ValueError
    """
    count = len(np.unique(groups))
    if count < FEWEST_GROUPS:
        raise ValueError(
            f"groups must name at least {FEWEST_GROUPS} groups, to fit some and score others, "
            f"however: {count}; leave them out"
        )


def some_of(rows: Index, most: int, random: np.random.Generator) -> Index:
    """At most so many of the rows, in order; at random, since a table may be sorted by class.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.holdout import some_of
    >>> some_of(np.array([4, 7, 9]), 5, np.random.default_rng(0))
    array([4, 7, 9])
    >>> len(some_of(np.arange(100), 5, np.random.default_rng(0)))
    5
    """
    return rows if len(rows) <= most else np.sort(random.permutation(rows)[:most])


def _strata(labels: NDArray[np.generic], share: float) -> Index | None:
    """Classes by number, each of two rows at the least; None where there are too many or one."""
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    alone = counts[codes] < 2
    if alone.any():
        # One that is alone altogether goes with the largest class: it cannot be split.
        others = counts.argmax() if alone.sum() == 1 else len(counts)
        codes = np.where(alone, others, codes)
    n_rows, n_strata = len(codes), len(np.unique(codes))
    n_held_out = math.ceil(share * n_rows)  # as scikit-learn rounds
    fewest = min(n_held_out, n_rows - n_held_out)
    return codes.astype(np.intp) if 1 < n_strata <= fewest else None
