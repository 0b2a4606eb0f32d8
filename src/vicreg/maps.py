"""Two-dimensional maps of spaces for people to look at. They show; they prove nothing."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from vicreg.metrics import silhouette

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.floating]
    Index = NDArray[np.intp]
    Maps = dict[str, dict[str, Matrix]]

__all__ = ["MOST_PLACED", "MOST_POINTS", "check_umap", "make_maps", "map_silhouette"]

#: Points on a page, and those that t-SNE and UMAP place (they take seconds a thousand).
MOST_POINTS = 20_000
MOST_PLACED = 1000
#: Iterations of t-SNE: half of scikit-learn's default, at which the picture no longer changes much.
ITERATIONS = 500


def check_umap() -> None:
    """Refuse the map that an optional package makes, before any work.

    Raises
    ------
    ImportError
        If UMAP is not installed.
    """
    if find_spec("umap") is None:
        raise ImportError(
            "umap=True needs the package umap-learn, however: it is not installed; "
            "pip install umap-learn, or leave it out"
        )


def make_maps(
    spaces: dict[str, Matrix], placed: Index, *, umap: bool = False, random_state: int = 0
) -> Maps:
    """Maps (rows, 2) of every space by PCA and t-SNE, and UMAP if asked for.

    Parameters
    ----------
    spaces : dict
        Space to matrix (rows, dimensions), five rows at least.
    placed : ndarray of int
        Rows that t-SNE and UMAP place; all others are NaN in their maps.
    umap : bool
    random_state : int

    Returns
    -------
    dict
        Space to kind of map to points.
    """
    found: Maps = {}
    for name, rows in spaces.items():
        found[name] = {"PCA": _plane(rows, random_state)}
        few = np.asarray(rows[placed], dtype=np.float32)
        perplexity = min(30.0, (len(few) - 1) / 3)
        # A space of one dimension has no plane to start from.
        start = "pca" if few.shape[1] > 1 else "random"
        tsne = TSNE(
            2, perplexity=perplexity, init=start, max_iter=ITERATIONS, random_state=random_state
        )
        found[name]["t-SNE"] = _spread(tsne.fit_transform(few), placed, len(rows))
        if umap:
            found[name]["UMAP"] = _spread(_umap(few, random_state), placed, len(rows))
    return found


def map_silhouette(points: Matrix, labels: NDArray[np.generic]) -> float:
    """Silhouette of a map's points by label, over those that are placed, 2,000 at the most.

    Points without a label, an empty text, are left out.
    """
    counted = np.isfinite(points[:, 0]) & (labels != "")
    return silhouette(points[counted], labels[counted])


def _plane(rows: Matrix, random_state: int) -> Matrix:
    plane: Matrix = PCA(min(2, rows.shape[1]), random_state=random_state).fit_transform(rows)
    return plane if plane.shape[1] == 2 else np.column_stack((plane, np.zeros(len(plane))))


def _umap(rows: Matrix, random_state: int) -> Matrix:
    from umap import UMAP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on threads and on tables of few rows
        placed: Matrix = UMAP(
            n_neighbors=min(15, len(rows) - 1), random_state=random_state, n_jobs=1
        ).fit_transform(rows)
    return placed


def _spread(points: Matrix, places: Index, n_rows: int) -> Matrix:
    everywhere = np.full((n_rows, 2), np.nan, dtype=np.float32)
    everywhere[places] = points
    return everywhere
