"""The spaces that an embedding is compared with: the raw table, PCA, and controls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA

from vicreg.copies import embedded_copies, swapped_copies
from vicreg.sources import shuffle_columns, take_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from vicreg.estimator import VICReg
    from vicreg.networks import Rows
    from vicreg.sources import Source
    from vicreg.table import TableEncoder

    Matrix = NDArray[np.floating]
    Index = NDArray[np.intp]

__all__ = ["Spaces", "native", "pca_width"]

#: Corrupted copies of a row, and the share of its entries that are swapped in them: the same for
#: every space and model, so that what is measured on them can be compared.
N_VIEWS = 4
SWAP = 0.3


@dataclass
class Spaces:
    """The same rows in every space, in the order raw, PCA, controls after the embedding itself.

    Attributes
    ----------
    rows : dict
        Method to matrix (rows, dimensions).
    views : dict
        Method to corrupted copies of some of the rows (chosen rows, copies, dimensions).
    """

    rows: dict[str, Matrix] = field(default_factory=dict)
    views: dict[str, Matrix] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: VICReg,
        source: Source,
        shown: Index,
        train: Index,
        viewed: Index,
        fitted_on: Callable[[], tuple[Source, dict[str, Any]]],
        *,
        controls: bool,
        seed_of_fits: int,
        random_state: int,
    ) -> Spaces:
        """Every space of a model's table.

        Parameters
        ----------
        model : VICReg
            Fitted.
        source : Source
            The table.
        shown : ndarray of int
            The rows to put into every space, (n,).
        train : ndarray of int
            Positions among them that PCA is fitted on.
        viewed : ndarray of int
            Positions among them of the rows to make corrupted copies of.
        fitted_on : callable
            Gives the rows that controls are fitted on, and what a fit is told beside them.
        controls : bool
            Whether to fit the untrained and the shuffled encoder.
        seed_of_fits : int
            Of both: that of the model, where it is known.
        random_state : int
            Of all else.
        """
        found = cls()
        part = take_rows(source, shown)
        table = model.embedder_.table
        encoded = table.transform(part)
        raw = table.dense(encoded)
        copies = _copies(encoded, table, viewed, random_state)
        raw_copies = [table.dense(one) for one in copies]

        found.rows["vicreg"] = model.embedder_.embed(part)
        found.views["vicreg"] = embedded_copies(model.embedder_.side()[0], copies)
        found.rows["raw"] = raw
        found.views["raw"] = np.stack(raw_copies, axis=1)
        plain = ("number", "duration")
        if all(one.kind in plain and one.parts == ("value",) for one in table.columns):
            unscaled = table.raw(part)  # a gap here, where the fitted rows had none, is the mean
            found.rows["raw unscaled"] = np.where(np.isnan(unscaled), table.mean, unscaled)
        width = pca_width(model.embedder_.config.n_components, len(train), raw.shape[1])
        components = PCA(width, random_state=random_state).fit(raw[train])
        found.rows["pca"] = components.transform(raw)
        found.views["pca"] = np.stack([components.transform(one) for one in raw_copies], axis=1)
        if controls:
            training_rows, beside = fitted_on()
            # The same seed: the same weights at initialisation.
            fresh = clone(model).set_params(random_state=seed_of_fits)
            untrained = clone(fresh)._fit(
                native(training_rows), untrained=True, whole=True, **beside
            )
            random = np.random.default_rng(random_state)
            mixed = native(shuffle_columns(training_rows, random))
            shuffled = clone(fresh)._fit(mixed, whole=True, **beside)
            for name, control in (("untrained", untrained), ("shuffled", shuffled)):
                found.rows[name] = control.embedder_.embed(part)
                own = control.embedder_.table
                copies = _copies(own.transform(part), own, viewed, random_state)
                found.views[name] = embedded_copies(control.embedder_.side()[0], copies)
        return found


def pca_width(n_components: int, n_rows: int, n_dims: int) -> int:
    """Components of the rival PCA: as many as the embedding has, and as tell something.

    In as many dimensions as there are rows, each of one variance, as a linear probe has them, rows
    are as far from each other as from all others, and the probe learns nothing.

    Examples
    --------
    >>> from vicreg.spaces import pca_width
    >>> pca_width(128, 1000, 64), pca_width(128, 100, 500)
    (64, 50)
    """
    return max(1, min(n_components, n_rows // 2, n_dims))


def native(source: Source) -> object:
    """What the estimator takes: the array, or the frame in its user's library."""
    return source.to_native() if isinstance(source, nw.DataFrame) else source


def _copies(rows: Rows, table: TableEncoder, viewed: Index, random_state: int) -> list[Rows]:
    return swapped_copies(
        rows, table.layout, viewed, count=N_VIEWS, swap=SWAP, random_state=random_state
    )
