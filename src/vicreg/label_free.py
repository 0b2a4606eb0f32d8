"""Scores of embeddings that need no labels: spectra, repeatability, and other columns.

Every function takes arrays and returns a number; more is better, except for :func:`alpha_req`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from vicreg.metrics import few_rows_allowed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.floating]

__all__ = [
    "alpha_req",
    "cluster_agreement",
    "cluster_stability",
    "lidar",
    "linear_prediction",
    "neighbour_agreement",
    "principal_targets",
    "retrieval",
]

#: Added to the within-row scatter of LiDAR (appendix of the paper).
LIDAR_RIDGE = 1e-4
#: The least of a k-means cluster, on average, where clusters of two spaces are compared.
ROWS_OF_A_CLUSTER = 10


def lidar(views: Matrix) -> float:
    """Effective rank of linear discriminant analysis whose classes are single rows.

    Scatter between rows is measured in units of the scatter within a row's views; a dimension
    counts as far as it tells rows apart in spite of the corruption.

    Parameters
    ----------
    views : ndarray, shape (rows, views, dimensions)
        Embeddings of several corrupted copies of every row, at least two of each.

    Returns
    -------
    float
        From 0 to the number of dimensions. It grows with the width and depends on the corruption:
        compare at one width, and with the corruption fixed.

    Notes
    -----
    Source: Thilak et al., "LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL
    Architectures", ICLR 2024, arXiv 2312.04000, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.label_free import lidar
    >>> rows = np.vstack([np.eye(3), -np.eye(3)])
    >>> round(lidar(np.stack([1.01 * rows, 0.99 * rows], axis=1)), 2)
    3.0
    """
    views = np.asarray(views, dtype=np.float64)
    if views.ndim != 3 or views.shape[0] < 2 or views.shape[1] < 2:
        raise ValueError(
            "views must be (rows, views, dimensions) with at least two rows and two views, "
            f"however: shape {views.shape}"
        )
    n_rows, n_views, dims = views.shape
    centres = views.mean(axis=1)
    between = np.cov(centres, rowvar=False, ddof=1).reshape(dims, dims)
    apart = (views - centres[:, None]).reshape(-1, dims)
    within = apart.T @ apart / (n_rows * (n_views - 1)) + LIDAR_RIDGE * np.eye(dims)
    return _entropy_rank(eigh(between, within, eigvals_only=True))


def alpha_req(embedding: Matrix) -> float:
    """Decay α of the covariance's spectrum: eigenvalue i is about i to the power of -α.

    Near 1 is claimed best: below, the tail of the spectrum is noise; above, few directions hold
    everything.

    Parameters
    ----------
    embedding : ndarray, shape (rows, dimensions)

    Returns
    -------
    float
        The slope of a least-squares line through the logarithms, over eigenvalues above a
        millionth of the first; nan where there are fewer than three of them.

    Notes
    -----
    Source: Agrawal, Mondal, Ghosh, Richards, "α-ReQ: Assessing Representation Quality in
    Self-Supervised Learning by measuring eigenspectrum decay", NeurIPS 2022, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.label_free import alpha_req
    >>> rows = np.diag(1 / np.sqrt(np.arange(1.0, 6.0)))
    >>> round(alpha_req(np.vstack([rows, -rows])), 6)
    1.0
    """
    centred = np.asarray(embedding, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    rows, dims = centred.shape
    gram = centred.T @ centred if dims <= rows else centred @ centred.T
    values = np.linalg.eigvalsh(gram)[::-1]
    values = values[values > 1e-6 * values[0]] if values.size and values[0] > 0 else values[:0]
    if len(values) < 3:
        return float("nan")
    slope = np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)[0]
    return float(-slope)


def cluster_agreement(
    one: Matrix, other: Matrix, *, n_clusters: int = 10, random_state: int = 0
) -> float:
    """Adjusted Rand index of the k-means clusters of the same rows in two spaces.

    Parameters
    ----------
    one, other : ndarray, shape (rows, dimensions)
        Dimensions may differ.
    n_clusters : int
        In each space at most a tenth of the rows, and as many as there are different rows.
    random_state : int

    Returns
    -------
    float
        1 for the same clusters, 0 for chance and where a space has a single cluster, which no two
        rows could disagree in. The same on any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.label_free import cluster_agreement
    >>> rows = np.repeat(np.eye(3), 20, axis=0)
    >>> cluster_agreement(rows, 5 * rows[:, ::-1], n_clusters=3)
    1.0
    """
    found = []
    # Sums of several threads are rounded in the order in which these come to an end.
    with threadpool_limits(1), few_rows_allowed():
        for space in (one, other):
            count = min(n_clusters, len(space) // ROWS_OF_A_CLUSTER, len(np.unique(space, axis=0)))
            if count < 2:
                return 0.0
            found.append(KMeans(count, random_state=random_state).fit_predict(space))
    return float(adjusted_rand_score(*found))


def cluster_stability(
    train: Matrix, test: Matrix, *, n_clusters: int = 10, random_state: int = 0
) -> float:
    """Agreement of k-means clusters that two halves of the rows give to the same other rows.

    Parameters
    ----------
    train : ndarray, shape (rows, dimensions)
        Split in halves at random; each half makes clusters of its own.
    test : ndarray, shape (more rows, dimensions)
        Every one goes to its nearest centre of either half.
    n_clusters : int
        At most a quarter of the training rows.
    random_state : int

    Returns
    -------
    float
        Mean adjusted Rand index over three halvings: 1 for the same clusters, 0 for chance. Few
        well separated clusters of any meaning score high.

    Notes
    -----
    Source: Lange, Roth, Braun, Buhmann, "Stability-Based Validation of Clustering Solutions",
    Neural Computation 16 (2004), section 2.
    """
    n_clusters = max(2, min(n_clusters, len(train) // 4))
    random = np.random.default_rng(random_state)
    found = []
    for _ in range(3):
        order = random.permutation(len(train))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        seed = int(random.integers(2**31 - 1))
        with few_rows_allowed():
            one, other = (
                KMeans(n_clusters, n_init=3, random_state=seed).fit(train[half]).predict(test)
                for half in halves
            )
        found.append(adjusted_rand_score(one, other))
    return float(np.mean(found))


def retrieval(view1: Matrix, view2: Matrix, *, top: int = 1) -> float:
    """Share of rows whose second view has the row's own first view among the ``top`` nearest.

    Parameters
    ----------
    view1, view2 : ndarray, shape (rows, dimensions)
        Embeddings of two copies of the same rows; euclidean distance.

    Returns
    -------
    float
        From 0 to 1. It says that rows can be told apart, not that the right ones are near.
    """
    nearest = NearestNeighbors(n_neighbors=min(top, len(view1))).fit(view1)
    found = nearest.kneighbors(view2, return_distance=False)
    return float((found == np.arange(len(view2))[:, None]).any(axis=1).mean())


def neighbour_agreement(one: Matrix, other: Matrix, *, neighbours: int = 10) -> float:
    """Share of a row's nearest rows that two embeddings of the same rows agree on.

    Between two seeds of one configuration it tells what is learnt from what is drawn; between an
    embedding and the raw table how much of the neighbourhoods is kept.

    Parameters
    ----------
    one, other : ndarray, shape (rows, ...)
        Of any widths.

    Returns
    -------
    float
        From 0 to 1; chance is ``neighbours`` / (rows - 1).
    """
    count = min(neighbours, len(one) - 1)
    lists = [
        NearestNeighbors(n_neighbors=count).fit(space).kneighbors(return_distance=False)
        for space in (one, other)
    ]
    shared = [len(np.intersect1d(a, b)) for a, b in zip(*lists, strict=True)]
    return float(np.mean(shared) / count)


def principal_targets(train: Matrix, test: Matrix, *, most: int = 5) -> tuple[Matrix, Matrix]:
    """Principal components of standardised columns, as targets of :func:`linear_prediction`.

    Parameters
    ----------
    train, test : ndarray, shape (rows, columns)
        The components are those of ``train``.
    most : int
        Components, at the most.

    Returns
    -------
    tuple of ndarray, shape (rows, components)
    """
    count = min(most, *train.shape)
    pca = PCA(count, svd_solver="full").fit(train)
    kept = max(1, int((pca.explained_variance_ > 1e-9).sum()))
    return pca.transform(train)[:, :kept], pca.transform(test)[:, :kept]


def linear_prediction(
    train: Matrix, test: Matrix, targets_train: Matrix, targets_test: Matrix
) -> float:
    """How well a line through an embedding predicts what the embedding was not made from.

    Parameters
    ----------
    train, test : ndarray, shape (rows, dimensions)
        Embeddings; the ridge regression learns from the training rows, on standardised dimensions.
    targets_train, targets_test : ndarray, shape (rows, targets)

    Returns
    -------
    float
        R² of the test rows, each target's clipped at 0, mean over the targets.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.label_free import linear_prediction
    >>> rows = np.random.default_rng(0).normal(size=(200, 3))
    >>> round(linear_prediction(rows[:150], rows[150:], rows[:150, :1], rows[150:, :1]), 2)
    1.0
    """
    scaler = StandardScaler().fit(train)
    ridge = Ridge(alpha=1e-2 * len(train)).fit(scaler.transform(train), targets_train)
    answer = ridge.predict(scaler.transform(test)).reshape(targets_test.shape)
    spread = np.square(targets_test - targets_train.mean(axis=0)).sum(axis=0)
    spread[spread == 0] = np.inf
    missed = np.square(targets_test - answer).sum(axis=0) / spread
    return float(np.clip(1 - missed, 0, 1).mean())


def _entropy_rank(eigenvalues: Matrix) -> float:
    values = eigenvalues.clip(min=0)
    if values.size == 0 or values.max() <= 1e-12:
        return 0.0
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
