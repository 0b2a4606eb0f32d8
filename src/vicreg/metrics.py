"""Scores of embeddings: with labels, and without.

Every function takes a matrix (rows, dimensions) as an array and returns a number.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import (
    adjusted_rand_score,
    balanced_accuracy_score,
    pairwise_distances,
    silhouette_score,
)
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Matrix = NDArray[np.floating]
    Labels = NDArray[np.generic]

__all__ = [
    "LabelledSplit",
    "ari",
    "cluster",
    "effective_rank",
    "few_rows_allowed",
    "knn_accuracy",
    "knn_predictions",
    "linear_accuracy",
    "linear_predictions",
    "neighbour_lists",
    "silhouette",
    "trustworthiness_rows",
]

SILHOUETTE_ROWS = 2000


class LabelledSplit(NamedTuple):
    """Labels and the positions of the rows that a probe is trained and scored on, fold by fold.

    Labels of a float dtype are numbers, all others classes.
    """

    labels: Labels
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]]

    @classmethod
    def held_out(
        cls, labels: Labels, train: NDArray[np.intp], test: NDArray[np.intp]
    ) -> LabelledSplit:
        """One fold: trained on ``train``, scored on ``test``."""
        return cls(labels, [(train, test)])

    @classmethod
    def crossed(
        cls, labels: Labels, random_state: int, groups: NDArray[np.int64] | None = None
    ) -> LabelledSplit | None:
        """Up to five folds, stratified by class; no group is both learnt from and scored.

        None if some fold would leave a single class to learn from. A class of one row is scored
        like all others: nothing can have learnt it.
        """
        numbers = labels.dtype.kind == "f"
        count = min(5, len(labels) if groups is None else len(np.unique(groups)))
        if not numbers:
            of_class = np.unique(labels, return_counts=True)[1]
            # Whole groups cannot be dealt out evenly: there the largest class is enough.
            several = of_class[of_class > 1] if groups is None else of_class.max(keepdims=True)
            count = min(count, int(several.min())) if len(several) else 0
        if count < 2:
            return None
        shuffled = {"n_splits": count, "shuffle": True, "random_state": random_state}
        if numbers:
            folds = KFold(**shuffled) if groups is None else GroupKFold(**shuffled)
        else:
            folds = (StratifiedKFold if groups is None else StratifiedGroupKFold)(**shuffled)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class of fewer rows than folds
            found = list(folds.split(np.zeros(len(labels)), labels, groups))
        found = [(train, test) for train, test in found if len(test)]
        if any(len(np.unique(labels[train])) < 2 for train, _ in found):
            return None
        return cls(labels, found)

    def tested_classes(self) -> set[Any]:
        """Labels of the rows that the folds are scored on."""
        return set().union(*(self.labels[test].tolist() for _, test in self.folds))

    def of_learnt_classes(self) -> LabelledSplit:
        """Scored on rows of classes that the fold's probe has seen; not at all if on less than two.

        Examples
        --------
        >>> import numpy as np
        >>> from vicreg.metrics import LabelledSplit
        >>> split = LabelledSplit.held_out(np.array(list("ababc")), np.arange(2), np.arange(2, 5))
        >>> split.of_learnt_classes().folds
        [(array([0, 1]), array([2, 3]))]
        """
        found = [
            (train, test[np.isin(self.labels[test], self.labels[train])])
            for train, test in self.folds
        ]
        split = LabelledSplit(self.labels, [(train, test) for train, test in found if len(test)])
        return split if len(split.tested_classes()) > 1 else LabelledSplit(self.labels, [])


def silhouette(embedding: Matrix, labels: Labels, *, random_state: int = 0) -> float:
    """Mean silhouette of rows by label, euclidean, over at most 2,000 rows.

    Source: Rousseeuw, "Silhouettes", J. Comput. Appl. Math. 20 (1987). From -1 to 1; nan where
    there are fewer than two labels, or as many as rows.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.metrics import silhouette
    >>> round(silhouette(np.array([[0.0], [0.1], [9.0], [9.1]]), np.array([0, 0, 1, 1])), 2)
    0.99
    """
    if len(embedding) > SILHOUETTE_ROWS:
        chosen = np.random.default_rng(random_state).permutation(len(embedding))[:SILHOUETTE_ROWS]
        embedding, labels = embedding[chosen], labels[chosen]
    if not 1 < len(np.unique(labels)) < len(embedding):
        return float("nan")
    return float(silhouette_score(embedding, labels))


def knn_predictions(
    embedding: Matrix, split: LabelledSplit, *, neighbours: int = 10
) -> list[Labels]:
    """What k-nearest-neighbours (euclidean) say of the test rows, fold by fold.

    Labels that are floats are numbers, predicted by the mean of the neighbours; others are classes.
    """
    kind = KNeighborsRegressor if split.labels.dtype.kind == "f" else KNeighborsClassifier
    return [
        kind(min(neighbours, len(train)))
        .fit(embedding[train], split.labels[train])
        .predict(embedding[test])
        for train, test in split.folds
    ]


def linear_predictions(embedding: Matrix, split: LabelledSplit) -> list[Labels]:
    """What a linear model on standardised embeddings says of the test rows, fold by fold.

    A logistic regression for classes; for numbers (labels that are floats) ridge regression, its
    penalty chosen by leave-one-out on the training rows.
    """
    found = []
    for train, test in split.folds:
        if split.labels.dtype.kind == "f":
            probe = RidgeCV(np.logspace(-2, 5, 8))
        else:
            probe = LogisticRegression(max_iter=2000, tol=1e-3)
        model = make_pipeline(StandardScaler(), probe)
        model.fit(embedding[train], split.labels[train])
        found.append(model.predict(embedding[test]))
    return found


def knn_accuracy(embedding: Matrix, split: LabelledSplit, *, neighbours: int = 10) -> float:
    """Balanced accuracy of a k-nearest-neighbour classifier (euclidean), mean over folds."""
    return _mean_accuracy(split, knn_predictions(embedding, split, neighbours=neighbours))


def linear_accuracy(embedding: Matrix, split: LabelledSplit) -> float:
    """Balanced accuracy of a logistic regression on standardised embeddings, mean over folds."""
    return _mean_accuracy(split, linear_predictions(embedding, split))


def neighbour_lists(embedding: Matrix, count: int) -> NDArray[np.intp]:
    """Positions (rows, count) of each row's nearest other rows, euclidean, the nearest first."""
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(embedding)
    return np.asarray(search.kneighbors(return_distance=False), dtype=np.intp)


def trustworthiness_rows(
    raw: Matrix, embedding: Matrix, *, neighbours: int = 10
) -> NDArray[np.float64]:
    """Trustworthiness row by row (rows,); their mean is the measure.

    1 where all of a row's neighbours in the embedding are near it in the raw space too. Needs
    memory for the square of the rows.

    Source: Venna, Kaski, "Neighborhood Preservation in Nonlinear Projection Methods", ICANN 2001,
    equation 2.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.metrics import trustworthiness_rows
    >>> rows = np.random.default_rng(0).normal(size=(50, 3))
    >>> float(trustworthiness_rows(rows, 2 * rows).mean())
    1.0
    """
    n_rows = len(raw)
    distances = pairwise_distances(raw)
    np.fill_diagonal(distances, -1.0)  # a row is its own nearest, whatever repeats it
    ranks = np.empty((n_rows, n_rows), dtype=np.intp)
    order = np.argsort(distances, axis=1, kind="stable")
    np.put_along_axis(ranks, order, np.arange(n_rows)[None, :], axis=1)
    found = neighbour_lists(embedding, neighbours)
    beyond = np.maximum(np.take_along_axis(ranks, found, axis=1) - neighbours, 0).sum(axis=1)
    worst = neighbours * (2 * n_rows - 3 * neighbours - 1) / 2
    return np.asarray(1 - beyond / worst)


@contextmanager
def few_rows_allowed() -> Iterator[None]:
    """Without scikit-learn's warning of fewer different rows than k-means is to have clusters.

    Each of them is a cluster then, which is as it should be.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def cluster(embedding: Matrix, n_clusters: int, *, random_state: int = 0) -> NDArray[np.intp]:
    """k-means clusters of the rows, the best of ten starts."""
    model = KMeans(n_clusters, n_init=10, random_state=random_state)
    with few_rows_allowed():
        return np.asarray(model.fit_predict(embedding), dtype=np.intp)


def ari(embedding: Matrix, labels: Labels, *, random_state: int = 0) -> float:
    """Adjusted Rand index of k-means (k = number of labels) against the labels.

    Source: Hubert, Arabie, "Comparing partitions", J. Classification 2 (1985). 1 for the same
    partition, 0 for chance.
    """
    found = cluster(embedding, len(np.unique(labels)), random_state=random_state)
    return float(adjusted_rand_score(labels, found))


def effective_rank(embedding: Matrix) -> float:
    """Effective rank of the centred embedding: exp of the entropy of its singular values.

    Source: Garrido, Balestriero, Najman, LeCun, "RankMe", ICML 2023, arXiv 2210.02885, equation 1.
    NOTE[DIFF] RankMe does not centre; a constant embedding should have rank 0, not 1.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.metrics import effective_rank
    >>> round(effective_rank(np.vstack([np.eye(3), -np.eye(3)])), 3)
    3.0
    """
    embedding = np.asarray(embedding, dtype=np.float64)
    centred = embedding - embedding.mean(axis=0)
    # Eigenvalues of the smaller Gram matrix: a tenth of the time of singular values.
    rows, dims = centred.shape
    gram = centred.T @ centred if dims <= rows else centred @ centred.T
    values = np.sqrt(np.linalg.eigvalsh(gram).clip(min=0))
    # The mean is rounded: what it leaves of a constant embedding grows with it.
    if values.size == 0 or values[-1] <= 1e-12 * max(1.0, float(np.linalg.norm(embedding))):
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _mean_accuracy(split: LabelledSplit, predictions: list[Labels]) -> float:
    scores = [
        balanced_accuracy_score(split.labels[test], predicted)
        for (_, test), predicted in zip(split.folds, predictions, strict=True)
    ]
    return float(np.mean(scores))
