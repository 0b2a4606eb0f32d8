"""Every measure of every space, each with replicates for its interval. Probes learn from training
rows only, and are fitted once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.metrics import silhouette_samples

from vicreg.intervals import Estimate, Resampling
from vicreg.label_free import alpha_req, lidar
from vicreg.metrics import (
    SILHOUETTE_ROWS,
    cluster,
    effective_rank,
    knn_predictions,
    linear_predictions,
    neighbour_lists,
    silhouette,
    trustworthiness_rows,
)
from vicreg.targets import MOST_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicreg.metrics import LabelledSplit
    from vicreg.spaces import Spaces

    Matrix = NDArray[np.floating]
    Index = NDArray[np.intp]

__all__ = ["MEASURES", "Judged", "Measure", "Scores", "cluster_count", "score_spaces"]

NEIGHBOURS = 10
#: Rows whose neighbourhoods are compared: the distances of all pairs are needed.
MOST_NEAR = 1000


class Measure(NamedTuple):
    """What a measure says; ``better`` is 1 if more is better, -1 if less is, 0 if neither."""

    better: int
    headline: bool
    meaning: str


MEASURES = {
    "silhouette": Measure(
        1, True, "how much nearer a row is to rows of its own label than to the next (-1 to 1)"
    ),
    "10-NN": Measure(1, True, "balanced accuracy of the 10 nearest training rows' labels (0 to 1)"),
    "linear": Measure(1, True, "balanced accuracy of a logistic regression (0 to 1)"),
    "ari": Measure(1, True, "agreement of k-means clusters with the labels (0 chance, 1 the same)"),
    "R²": Measure(1, True, "share of the target's variance that a ridge regression explains"),
    "10-NN error": Measure(
        -1, True, "mean absolute error of the 10 nearest training rows, in the target's units"
    ),
    "silhouette of clusters": Measure(
        1, True, "silhouette by k-means clusters of the space itself (-1 to 1)"
    ),
    "leakage": Measure(
        -1, True, "balanced accuracy of a logistic regression for the batch: less is better"
    ),
    "effective rank": Measure(
        0, True, "dimensions in use: exp of the entropy of the singular values (RankMe)"
    ),
    "LiDAR": Measure(
        0, False, "dimensions that tell rows apart in spite of corruption, at 30 % swaps"
    ),
    "α-ReQ": Measure(
        0,
        False,
        "how fast the spectrum falls off: the exponent of its power law; its authors found values "
        "near 1 best",
    ),
    "trustworthiness": Measure(
        1, False, "whether a row's 10 neighbours were near it in the raw table (0 to 1)"
    ),
    "neighbour overlap": Measure(
        0, False, "share of a row's 10 neighbours that it had in the raw table"
    ),
    "even spread": Measure(
        0,
        False,
        "how alike the dimensions' standard deviations are: the 10th over the 90th percentile "
        "(0 to 1)",
    ),
    "dead dimensions": Measure(
        -1, False, "dimensions that vary less than a thousandth of the median one"
    ),
}

Scores = dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class Judged:
    """What the spaces are judged by; all positions are among the rows of the spaces.

    Attributes
    ----------
    scored : ndarray of int
        Rows that are scored.
    target : LabelledSplit or None
        Labels of all rows, and which rows probes learn from and are scored on; their folds are
        empty where no probe can be fitted.
    batches : LabelledSplit or None
        The same for the batch.
    n_clusters : int
        Of k-means.
    random_state : int
    groups : ndarray of int, optional
        Which of the scored rows belong together, and are resampled together.
    """

    scored: Index
    target: LabelledSplit | None
    batches: LabelledSplit | None
    n_clusters: int
    random_state: int
    groups: NDArray[np.int64] | None = None


def score_spaces(spaces: Spaces, judged: Judged) -> tuple[Scores, dict[str, Index]]:
    """All measures that apply, and the k-means clusters of the scored rows in every space."""
    scored, random = judged.scored, np.random.default_rng(judged.random_state)
    names = None if judged.target is None else judged.target.labels[scored]
    codes = None
    if names is not None and names.dtype.kind != "f":
        codes = np.unique(names, return_inverse=True)[1]
    rows = Resampling(len(scored), random, codes, judged.groups)
    near = np.sort(random.permutation(len(scored))[:MOST_NEAR])
    of_near = None if judged.groups is None else judged.groups[near]
    near_rows = Resampling(len(near), random, groups=of_near)
    enough = len(near) > 2 * NEIGHBOURS + 1
    raw = spaces.rows["raw"][scored][near]
    raw_near = neighbour_lists(raw, NEIGHBOURS) if enough else None
    scores: Scores = {}
    clusters: dict[str, Index] = {}
    for method, space in spaces.rows.items():
        own = space[scored]
        clusters[method] = cluster(own, judged.n_clusters, random_state=judged.random_state)
        measured: dict[str, Estimate] = {}
        if judged.target is not None:
            if codes is not None:
                measured |= _by_classes(space, own, codes, judged.target, scored, rows)
                if 0 < int(codes.max()) < MOST_CLASSES:
                    measured["ari"] = rows.agreement(codes, clusters[method])
            else:
                measured |= _by_number(space, judged.target, scored, rows)
        measured["silhouette of clusters"] = _silhouette(own, clusters[method], rows)
        if judged.batches is not None and judged.batches.folds:
            measured["leakage"] = _accuracy(space, judged.batches, scored, rows, linear_predictions)
        measured["effective rank"] = rows.without_tenths(effective_rank, own)
        measured["α-ReQ"] = rows.without_tenths(alpha_req, own)
        measured["even spread"] = rows.without_tenths(_even_spread, own)
        measured["dead dimensions"] = Estimate(_dead(own), np.array([np.nan]))
        if method in spaces.views:
            views = spaces.views[method]
            viewed = Resampling(len(views), np.random.default_rng(judged.random_state))
            measured["LiDAR"] = viewed.without_tenths(lidar, views)
        if raw_near is not None and method != "raw":
            here = neighbour_lists(own[near], NEIGHBOURS)
            measured["neighbour overlap"] = near_rows.mean(_overlap(raw_near, here))
            measured["trustworthiness"] = near_rows.mean(
                trustworthiness_rows(raw, own[near], neighbours=NEIGHBOURS)
            )
        scores[method] = measured
    return scores, clusters


def cluster_count(raw: Matrix, random_state: int) -> int:
    """The number of k-means clusters, 2 to 10, with the best silhouette on the raw table.

    Of at most 2,000 rows, drawn at random: tables are often sorted.
    """
    if len(raw) > SILHOUETTE_ROWS:
        order = np.random.default_rng(random_state).permutation(len(raw))
        raw = raw[order[:SILHOUETTE_ROWS]]
    counts = range(2, min(10, len(raw) - 1) + 1)
    scores = {
        count: silhouette(raw, cluster(raw, count, random_state=random_state)) for count in counts
    }
    return max(
        scores, key=lambda count: (np.nan_to_num(scores[count], nan=-1.0), -count), default=2
    )


def _by_classes(
    space: Matrix,
    own: Matrix,
    codes: Index,
    split: LabelledSplit,
    scored: Index,
    rows: Resampling,
) -> dict[str, Estimate]:
    if not codes.any():  # one class, which says nothing
        return {}
    measured = {"silhouette": _silhouette(own, codes, rows)}
    if split.folds:
        measured["10-NN"] = _accuracy(space, split, scored, rows, knn_predictions)
        if int(codes.max()) < MOST_CLASSES:
            measured["linear"] = _accuracy(space, split, scored, rows, linear_predictions)
    return measured


def _by_number(
    space: Matrix, split: LabelledSplit, scored: Index, rows: Resampling
) -> dict[str, Estimate]:
    if not split.folds:
        return {}
    truth, linear, near = (
        np.asarray(values[scored], dtype=np.float64)
        for values in (
            split.labels,
            _in_order(linear_predictions(space, split), split),
            _in_order(knn_predictions(space, split), split),
        )
    )
    return {
        "R²": rows.explained(truth, truth - linear),
        "10-NN error": rows.mean(np.abs(truth - near)),
    }


def _accuracy(
    space: Matrix,
    split: LabelledSplit,
    scored: Index,
    rows: Resampling,
    probe: Callable[[Matrix, LabelledSplit], list[NDArray[np.generic]]],
) -> Estimate:
    """Balanced accuracy of a probe on those of the scored rows that its folds are scored on."""
    predicted = _in_order(probe(space, split), split)
    right = (predicted == split.labels)[scored]
    classes = np.unique(split.labels[scored], return_inverse=True)[1]
    counted = np.isin(scored, np.concatenate([test for _, test in split.folds]))
    return rows.mean_of_classes(right.astype(np.float64), classes, counted)


def _in_order(predictions: list[NDArray[np.generic]], split: LabelledSplit) -> NDArray[np.generic]:
    """Predictions of all folds, at the places of their rows."""
    placed = np.zeros(len(split.labels), dtype=split.labels.dtype)
    for (_, test), predicted in zip(split.folds, predictions, strict=True):
        placed[test] = predicted
    return placed


def _silhouette(space: Matrix, codes: Index, rows: Resampling) -> Estimate:
    if not 1 < len(np.unique(codes)) < len(space):
        return Estimate(float("nan"), np.array([np.nan]))
    return rows.mean(silhouette_samples(space, codes))


def _overlap(one: Index, other: Index) -> Matrix:
    shared = (one[:, :, None] == other[:, None, :]).any(axis=2).sum(axis=1)
    return np.asarray(shared / one.shape[1])


def _even_spread(space: Matrix) -> float:
    low, high = np.percentile(space.std(axis=0), [10, 90])
    return float(low / high) if high > 0 else 0.0


def _dead(space: Matrix) -> float:
    deviations = space.std(axis=0)
    return float((deviations <= 1e-3 * np.median(deviations)).sum())
