"""Which rows of a table are fitted, scored, learnt from by probes, and shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vicreg.holdout import check_groups, hold_out, some_of
from vicreg.maps import MOST_POINTS
from vicreg.metrics import LabelledSplit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicreg.targets import Target

    Index = NDArray[np.intp]

__all__ = ["FEWEST_TEST_ROWS", "Division", "ScoredRows"]

#: Fewer held-out rows than this say little: then all rows are scored, and the card says so.
FEWEST_TEST_ROWS = 100
#: Rows that are scored, that probes and PCA learn from, and that views are made of, at the most.
MOST_SCORED = 4000
MOST_PROBED = 10_000
MOST_VIEWED = 256
#: Entries of a space that is held in memory, about: 400 MB.
MOST_ENTRIES = 50_000_000


@dataclass(frozen=True)
class Division:
    """Rows that a fit learns from and rows that are scored, in order; all are both where too few
    could be held out."""

    train: Index
    scored: Index
    held_out: bool

    @classmethod
    def of(
        cls,
        n_rows: int,
        test_size: float,
        judged_by: Target | None,
        groups: NDArray[np.int64] | None,
        random_state: int,
    ) -> Division:
        if groups is not None:
            check_groups(groups)
        labels = None if judged_by is None or judged_by.is_number else judged_by.values
        train, scored = hold_out(n_rows, test_size, random_state, labels=labels, groups=groups)
        if len(scored) >= FEWEST_TEST_ROWS:
            return cls(train, scored, held_out=True)
        return cls(np.arange(n_rows), np.arange(n_rows), held_out=False)


@dataclass(frozen=True)
class ScoredRows:
    """The rows that are worked with: what probes and PCA learn from, what is scored, shown on maps
    and looked at in corrupted copies. ``used`` are all of these, which the spaces hold."""

    learnt: Index
    scored: Index
    shown: Index
    viewed: Index
    used: Index

    @classmethod
    def of(
        cls,
        train: Index,
        scored: Index,
        n_rows: int,
        width: int,
        random_state: int,
        *,
        maps: bool,
    ) -> ScoredRows:
        """Of the training rows and those to score, no more than spaces of a width have room for."""
        random = np.random.default_rng(random_state)
        most = max(1000, MOST_ENTRIES // width)
        scored = some_of(scored, min(MOST_SCORED, most), random)
        learnt = some_of(train, min(MOST_PROBED, most), random)
        shown = _with_others(scored, n_rows, min(MOST_POINTS, most), random) if maps else scored
        viewed = some_of(scored, MOST_VIEWED, random)
        return cls(
            learnt, scored, shown, viewed, np.unique(np.concatenate((scored, learnt, shown)))
        )

    def at(self, rows: Index) -> Index:
        """Positions of rows among those that are used."""
        return np.searchsorted(self.used, rows)

    def probe_split(
        self,
        target: Target,
        groups: NDArray[np.int64] | None,
        division: Division,
        random_state: int,
    ) -> LabelledSplit:
        """A probe's learning and scored rows among the used ones, whose groups these are; crossed
        over the scored rows where all rows are scored."""
        values = target.values[self.used]
        learnt, scored = self.at(self.learnt[target.known[self.learnt]]), self.at(self.scored)
        if len(np.unique(values[learnt])) < 2:
            return LabelledSplit(values, [])
        if division.held_out:
            return LabelledSplit.held_out(values, learnt, scored)
        split = LabelledSplit.crossed(
            values[scored], random_state, None if groups is None else groups[scored]
        )
        folds = [] if split is None else [(scored[one], scored[two]) for one, two in split.folds]
        return LabelledSplit(values, folds)


def _with_others(scored: Index, n_rows: int, most: int, random: np.random.Generator) -> Index:
    """The scored rows and others, at most so many, in order."""
    others = np.setdiff1d(np.arange(n_rows), scored)
    return np.sort(
        np.concatenate((scored[:most], some_of(others, max(0, most - len(scored)), random)))
    )
