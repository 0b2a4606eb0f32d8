"""The four scores of a space, fitted on training rows and judged on test rows.

Balanced accuracy of probes; where one class is rare, its average precision instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vicreg.metrics import LabelledSplit, ari, knn_accuracy, linear_accuracy, silhouette

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.floating]
    Labels = NDArray[np.str_]

__all__ = ["MEASURES", "boosted", "score", "score_without_probes"]

MEASURES = ("linear", "knn", "silhouette", "ari")


def score(
    train: Matrix, test: Matrix, y_train: Labels, y_test: Labels, *, rare: str | None = None
) -> dict[str, float]:
    """All four; a probe learns from the training rows' labels."""
    # In one precision for all methods.
    train, test = train.astype(np.float64), test.astype(np.float64)
    if rare is None:
        everything = np.arange(len(train) + len(test))
        split = LabelledSplit.held_out(
            np.concatenate((y_train, y_test)), everything[: len(train)], everything[len(train) :]
        )
        space = np.concatenate((train, test))
        probes = {"linear": linear_accuracy(space, split), "knn": knn_accuracy(space, split)}
    else:
        classifiers = {
            "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, tol=1e-3)),
            "knn": KNeighborsClassifier(10),
        }
        probes = {
            name: _judged(classifier.fit(train, y_train), test, y_test, rare)
            for name, classifier in classifiers.items()
        }
    return {**probes, **score_without_probes(test, y_test)}


def score_without_probes(test: Matrix, y_test: Labels) -> dict[str, float]:
    """The silhouette by label, and the agreement of k-means with the labels."""
    test = test.astype(np.float64)
    return {"silhouette": silhouette(test, y_test), "ari": ari(test, y_test)}


def boosted(
    train: Matrix, test: Matrix, y_train: Labels, y_test: Labels, *, rare: str | None = None
) -> dict[str, float]:
    """Gradient boosting with labels, the reference that learns without a space of its own."""
    classifier = HistGradientBoostingClassifier(random_state=0).fit(train, y_train)
    return {"linear": _judged(classifier, test, y_test, rare)}


def _judged(classifier: Any, test: Matrix, y_test: Labels, rare: str | None) -> float:
    if rare is None:
        return float(balanced_accuracy_score(y_test, classifier.predict(test)))
    place = list(classifier.classes_).index(rare)
    likely = classifier.predict_proba(test)[:, place]
    return float(average_precision_score(y_test == rare, likely))
