"""What a report shows of the rows: maps, neighbours, columns, spectra and what moves them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from vicreg.importance import column_importance
from vicreg.maps import MOST_PLACED, make_maps, map_silhouette
from vicreg.metrics import neighbour_lists
from vicreg.shown_columns import columns_at, shown_column
from vicreg.sources import column_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicreg.embedder import Embedder
    from vicreg.importance import Importance
    from vicreg.maps import Maps
    from vicreg.shown_columns import ShownColumn
    from vicreg.sources import Source

    Matrix = NDArray[np.floating]
    Labels = NDArray[np.generic]
    Index = NDArray[np.intp]

__all__ = ["CLUSTERS", "Confusion", "View", "names_of_rows"]

#: The colour of the embedding's own clusters, which only scored rows have.
CLUSTERS = "cluster of the embedding"

NEIGHBOURS = 10
#: Columns of the table that a page carries, and labels of a confusion table.
MOST_COLUMNS = 24
MOST_LABELS = 30
#: Eigenvalues that are drawn.
MOST_VALUES = 256
PICTURED = ("raw", "pca", "vicreg")


@dataclass(frozen=True)
class Confusion:
    """How often rows of one label have neighbours of another: shares (labels, labels)."""

    labels: list[str]
    shares: dict[str, Matrix]


@dataclass
class View:
    """What a report shows of the rows, all of it of the same rows in the same order.

    Attributes
    ----------
    rows : ndarray of int
        Their places in the table.
    ids : list of str
        Their names.
    colours : dict
        What they can be coloured by besides columns: label, clusters, batch, use.
    columns : list of ShownColumn
        Columns of the table, those that move the embedding most first.
    maps, neighbours : dict
        Of each of raw, pca, vicreg: maps (rows, 2), nearest rows (rows, 10) as places in the view.
    confusion : Confusion or None
    spectra, deviations : dict
        Of each space: eigenvalues of the covariance and standard deviations, the largest first,
        256 at the most.
    widths : dict
        Of each space: its dimensions.
    importance : list of Importance
    notes : list of str
    """

    rows: Index
    ids: list[str]
    colours: dict[str, Labels] = field(default_factory=dict)
    columns: list[ShownColumn] = field(default_factory=list)
    maps: Maps = field(default_factory=dict)
    neighbours: dict[str, Index] = field(default_factory=dict)
    confusion: Confusion | None = None
    spectra: dict[str, list[float]] = field(default_factory=dict)
    deviations: dict[str, list[float]] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    importance: list[Importance] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        embedder: Embedder,
        source: Source,
        rows: Index,
        ids: list[str],
        spaces: dict[str, Matrix],
        scored: NDArray[np.bool_],
        *,
        colours: dict[str, Labels],
        columns: Sequence[str],
        label: Labels | None = None,
        show: Sequence[str] = (),
        umap: bool = False,
        random_state: int = 0,
    ) -> View:
        """Look at rows of a table.

        Parameters
        ----------
        embedder : Embedder
        source : Source
            The table.
        rows : ndarray of int, shape (n,)
            Places of the rows in the table.
        ids : list of str
            A name for each of them.
        spaces : dict
            Space to matrix (n, dimensions); raw, pca and vicreg are pictured.
        scored : ndarray of bool, shape (n,)
            Rows that t-SNE and UMAP should place before others.
        colours : dict
            Name to text or numbers (n,).
        columns : sequence of str
            What the table's columns are called, which an array of genes does not know.
        label : ndarray of str, shape (n,), optional
            For the confusion of neighbours; empty where there is none.
        show : sequence of str
            Columns that must be on the page.
        umap : bool
        random_state : int
        """
        pictured = {name: spaces[name] for name in PICTURED}
        view = cls(rows, ids, dict(colours))
        if len(set(ids)) < len(ids):
            view.notes.append(
                f"{len(ids) - len(set(ids))} of the {len(ids)} row ids shown repeat another one; "
                "the row's number tells them apart"
            )
        encoded = embedder.table.transform(source, rows)
        view.importance = column_importance(embedder, encoded, random_state=random_state)
        view.columns = _columns(source, rows, columns_at(columns, show), view.importance)
        kept = {str(column.name) for column in embedder.table.columns}
        of_kept = sum(column.name in kept for column in view.columns)
        if of_kept < len(kept):
            which = "those that move the embedding most" if view.importance else "the first ones"
            view.notes.append(
                f"hover and colour have {of_kept} of the {len(kept)} columns of the fit: "
                f"those asked for, and {which}"
            )
        called = dict(zip(map(str, column_names(source)), columns, strict=True))
        view.importance = [replace(one, name=called[one.name]) for one in view.importance]
        view.columns = [replace(one, name=called[one.name]) for one in view.columns]
        for name, space in pictured.items():
            view.spectra[name], view.deviations[name] = _spectrum(space)
            view.widths[name] = space.shape[1]
        if len(rows) < 5:
            view.notes.append("too few rows for maps")
            return view
        order = np.random.default_rng(random_state).permutation(len(rows))
        order = order[np.argsort(~scored[order], kind="stable")]
        placed = np.sort(order[:MOST_PLACED])
        if len(placed) < len(rows):
            who = "t-SNE and UMAP place" if umap else "t-SNE places"
            view.notes.append(f"{who} {len(placed)} of the {len(rows)} rows")
        view.maps = make_maps(pictured, placed, umap=umap, random_state=random_state)
        count = min(NEIGHBOURS, len(rows) - 1)
        view.neighbours = {name: neighbour_lists(space, count) for name, space in pictured.items()}
        if label is not None:
            view.confusion = _confusion(label, view.neighbours)
        return view

    def silhouettes(self, labels: Labels) -> dict[str, dict[str, float]]:
        """Silhouette of every map's points by a label (rows,)."""
        return {
            space: {kind: map_silhouette(points, labels) for kind, points in of_space.items()}
            for space, of_space in self.maps.items()
        }


def names_of_rows(ids: object, n_rows: int) -> list[str]:
    """The rows' names as text: those given, or their numbers.

    Raises
    ------
    ValueError
        If there are not as many as rows.
    """
    if ids is None:
        return [str(row) for row in range(n_rows)]
    values = ids.to_list() if hasattr(ids, "to_list") else np.asarray(ids).tolist()
    if len(values) != n_rows:
        raise ValueError(
            f"ids must name each of the {n_rows} rows, however: {len(values)} were given"
        )
    return [f"row {row}" if value is None else str(value) for row, value in enumerate(values)]


def _columns(
    source: Source, rows: Index, show: Sequence[int], importance: list[Importance]
) -> list[ShownColumn]:
    named = {str(name): place for place, name in enumerate(column_names(source))}
    wanted = list(show)
    wanted += [named[one.name] for one in importance if named[one.name] not in wanted]
    if not importance:
        wanted += [place for place in range(source.shape[1]) if place not in wanted]
    kept = wanted[: max(MOST_COLUMNS, len(show))]
    found = [shown_column(source, place, rows) for place in kept]
    return [column for column in found if column is not None]


def _spectrum(space: Matrix) -> tuple[list[float], list[float]]:
    centred = np.asarray(space, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    rows, dims = centred.shape
    gram = centred.T @ centred if dims <= rows else centred @ centred.T
    values = np.linalg.eigvalsh(gram)[::-1].clip(min=0) / max(rows - 1, 1)
    deviations = np.sort(centred.std(axis=0))[::-1]
    return values[:MOST_VALUES].tolist(), deviations[:MOST_VALUES].tolist()


def _confusion(labels: Labels, neighbours: dict[str, Index]) -> Confusion | None:
    """Shares of the neighbours of each label's rows, the most frequent labels by name."""
    known = np.array([str(label) != "" for label in labels])
    names, counts = np.unique(labels[known], return_counts=True)
    if len(names) < 2:
        return None
    kept = np.sort(names[np.argsort(-counts, kind="stable")[:MOST_LABELS]])
    listed = [str(name) for name in kept]
    codes = np.searchsorted(kept, labels).clip(max=len(kept) - 1)
    codes[kept[codes] != labels] = len(kept)  # another label, or none
    shares = {}
    for space in ("raw", "vicreg"):
        near = codes[neighbours[space]]
        table = np.zeros((len(kept) + 1, len(kept) + 1))
        np.add.at(table, (codes[:, None].repeat(near.shape[1], axis=1), near), 1)
        shares[space] = table[:-1] / table[:-1].sum(axis=1, keepdims=True).clip(min=1)
    return Confusion(listed, shares)
