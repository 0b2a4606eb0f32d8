"""An embedding against the raw table, PCA and controls, on the same rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted

from vicreg.metrics import (
    LabelledSplit,
    ari,
    cluster,
    effective_rank,
    knn_accuracy,
    linear_accuracy,
    silhouette,
)
from vicreg.persistence import fresh_file
from vicreg.report import render_report
from vicreg.sources import contents, read, shuffle_columns, take_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicreg.estimator import VICReg
    from vicreg.sources import Source

    Matrix = NDArray[np.floating]
    Labels = NDArray[np.generic]
    Index = NDArray[np.intp]

__all__ = ["Scorecard", "evaluate"]

#: Fewer held-out rows than this say little: then all rows are scored, and the card says so.
FEWEST_TEST_ROWS = 100
MAP_ROWS = 1000
#: Differences below this are no difference.
TIE = 0.005
LABELLED_MEASURES = ("silhouette", "10-NN", "linear", "ari", "effective rank")
UNLABELLED_MEASURES = ("silhouette of clusters", "effective rank")


@dataclass
class Scorecard:
    """Scores of an embedding beside the raw table, PCA and controls.

    Attributes
    ----------
    scores : dict
        Method to measure to value. Methods: ``vicreg``, ``raw``, ``raw unscaled`` (where the table
        is all numbers), ``pca``, ``untrained``, ``shuffled``.
    verdict : str
        One sentence; it says so where the embedding does not beat the raw table or PCA.
    held_out : bool
        Whether the scored rows were kept from the fit.
    maps : dict
        Space to kind of map to points (rows, 2) and their silhouette.
    model : VICReg
        The fitted model that was scored.
    """

    title: str
    n_rows: int
    n_scored: int
    held_out: bool
    label_name: str | None
    n_groups: int
    scores: dict[str, dict[str, float]]
    verdict: str
    maps: dict[str, dict[str, tuple[Matrix, float]]]
    map_labels: Labels
    model: VICReg
    notes: list[str] = field(default_factory=list)

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures, in the order of the table's columns."""
        return UNLABELLED_MEASURES if self.label_name is None else LABELLED_MEASURES

    @property
    def described(self) -> str:
        """What was scored on what, in one line."""
        rows = f"{self.n_rows} rows"
        if self.held_out:
            rows += f", scored on {self.n_scored} rows that the fit has not seen"
        else:
            rows += f", scored on {self.n_scored} of them"
        if self.label_name is None:
            return f"{rows}; without labels: by {self.n_groups} k-means clusters of each space"
        return f"{rows}; by {self.label_name}, {self.n_groups} classes"

    def as_dict(self) -> dict[str, Any]:
        """Everything but maps and model, ready for JSON."""
        return {
            "title": self.title,
            "described": self.described,
            "verdict": self.verdict,
            "measures": list(self.measures),
            "scores": self.scores,
            "map_silhouettes": {
                space: {kind: score for kind, (_, score) in of_space.items()}
                for space, of_space in self.maps.items()
            },
            "n_rows": self.n_rows,
            "n_scored": self.n_scored,
            "held_out": self.held_out,
            "notes": self.notes,
            "history": self.model.history_,
            "config": self.model.embedder_.config.as_dict(),
        }

    def to_json(self) -> str:
        """The card as one JSON line; NaN becomes null."""
        return json.dumps(_without_nan(self.as_dict()))

    def to_markdown(self) -> str:
        """The score table in Markdown."""
        lines = ["| method | " + " | ".join(self.measures) + " |"]
        lines.append("|---" * (len(self.measures) + 1) + "|")
        for method, of_method in self.scores.items():
            cells = [_told(of_method.get(measure)) for measure in self.measures]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def to_html(self, path: str | Path | None = None) -> str:
        """The card as a self-contained page; written to ``path`` if given."""
        page = render_report([self.for_report()], title=f"VICReg on {self.title}")
        if path is not None:
            with fresh_file(Path(path)) as fresh:
                fresh.write_text(page, encoding="utf-8")
        return page

    def for_report(self) -> dict[str, Any]:
        """:meth:`as_dict` with what the pictures need."""
        coloured_by = "k-means cluster" if self.label_name is None else self.label_name
        return {
            **self.as_dict(),
            "maps": self.maps,
            "map_labels": self.map_labels,
            "coloured_by": coloured_by,
        }

    def __str__(self) -> str:
        return f"{self.title}: {self.described}\n{self.to_markdown()}\n{self.verdict}"


def evaluate(
    model: VICReg,
    X: object,
    y: object = None,
    *,
    test_size: float = 0.3,
    controls: bool = True,
    maps: bool = True,
    title: str = "table",
    label_name: str = "label",
    random_state: int = 0,
) -> Scorecard:
    """Score an embedding beside the raw table, PCA of the same width and controls.

    A model that is not fitted yet is fitted (a clone of it) on ``1 - test_size`` of the rows and
    scored on the others, which it has never seen. With fewer than 100 of those there are too few:
    then all rows are fitted and scored, and probes are cross-validated. A fitted model is scored as
    it is.

    With labels: silhouette by label, balanced accuracy of 10-nearest-neighbours and of a logistic
    regression, adjusted Rand index of k-means. Without: the silhouette of k-means clusters, as many
    in every space as fit the raw table best. Always the effective rank.

    Parameters
    ----------
    model : VICReg
        Fitted or not.
    X : array, frame, sparse matrix or path, shape (rows, columns)
        The table.
    y : array-like of shape (rows,), optional
        Labels; rows whose label is missing are left out of the scores.
    test_size : float
        Share of the rows that are scored, between 0 and 1.
    controls : bool
        Also score the encoder untrained, and trained on the table with each column shuffled.
    maps : bool
        Also make PCA and t-SNE maps of at most 1,000 rows.
    title, label_name : str
        For the report.
    random_state : int
        Seed of the split, the clusters, the maps and the shuffling.

    Returns
    -------
    Scorecard

    Raises
    ------
    ValueError
        If labels have another length than the table, fewer than two classes, or are continuous.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from vicreg import VICReg, evaluate
    >>> X, y = load_iris(return_X_y=True)
    >>> model = VICReg(n_components=8, steps=20, random_state=0)
    >>> card = evaluate(model, X, y, maps=False, title="iris")
    >>> sorted(card.scores)
    ['pca', 'raw', 'raw unscaled', 'shuffled', 'untrained', 'vicreg']
    """
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must be between 0 and 1, however: test_size={test_size!r}")
    table = contents(X)
    source = read(table)
    if source.shape[0] < 2:
        raise ValueError(f"X must have at least two rows to be scored, however: {source.shape[0]}")
    labels = None if y is None else _checked_labels(y, source.shape[0])
    train, scored = _split(source.shape[0], labels, test_size, random_state)
    enough = len(scored) >= FEWEST_TEST_ROWS
    if not enough:
        train = scored = np.arange(source.shape[0])
    notes: list[str] = []
    fitted = _is_fitted(model)
    if fitted:
        model._read(table, reset=False)  # for the columns' names, which a matrix does not carry on
        notes.append("the model was scored as it was fitted: rows it has seen count in its favour")
    else:
        model = clone(model).fit(_native(take_rows(source, train)))
        if not enough:
            notes.append(
                f"too few rows to hold {FEWEST_TEST_ROWS} out: scored on the rows of the fit"
            )
    if len(train) - 1 < min(model.embedder_.config.n_components, model.embedder_.table.n_numbers):
        notes.append(
            f"PCA has as many components as {len(train)} rows allow: in so many dimensions a row "
            "is as far from all others, and a probe on them says little"
        )
    spaces = _spaces(model, source, train, controls=controls, random_state=random_state)
    if labels is None:
        n_groups = _cluster_count(spaces["raw"][scored], random_state)
        scores = {
            method: _score_clusters(space[scored], n_groups, random_state)
            for method, space in spaces.items()
        }
        names: Labels = cluster(spaces["vicreg"][scored], n_groups, random_state=random_state)
    else:
        known = labels.known[scored]
        scored = scored[known]
        names = labels.values[scored]
        n_groups = len(np.unique(names))
        split = (
            LabelledSplit.held_out(labels.values, train[labels.known[train]], scored)
            if enough
            else _crossed(labels.values, scored, random_state)
        )
        scores = {
            method: _score_labels(space, names, scored, split, random_state)
            for method, space in spaces.items()
        }
    shown = _shown_rows(len(scored), random_state)
    pictured = {space: spaces[space][scored][shown] for space in ("raw", "vicreg")}
    return Scorecard(
        title=title,
        n_rows=source.shape[0],
        n_scored=len(scored),
        held_out=enough and not fitted,
        label_name=None if labels is None else label_name,
        n_groups=n_groups,
        scores=scores,
        verdict=_verdict(scores, labelled=labels is not None),
        maps=_maps(pictured, names[shown], random_state) if maps and len(shown) >= 5 else {},
        map_labels=names[shown],
        model=model,
        notes=[*notes, *model.notes_],
    )


@dataclass(frozen=True)
class _Labels:
    values: Labels
    known: NDArray[np.bool_]


def _checked_labels(y: object, n_rows: int) -> _Labels:
    values = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
    if values.ndim != 1 or len(values) != n_rows:
        raise ValueError(
            f"y must have one label for each of the {n_rows} rows, however: shape {values.shape}"
        )
    missing = np.array([value is None or value != value for value in values.tolist()], dtype=bool)
    present = values[~missing]
    if present.dtype.kind == "f" and type_of_target(present).startswith("continuous"):
        raise ValueError(
            f"y must hold classes, however: {len(np.unique(present))} different decimal numbers; "
            "bin them first"
        )
    if present.dtype.kind == "O":
        present = present.astype(str)
    classes, codes = np.unique(present, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must hold at least two classes, however: {len(classes)}")
    names = np.full(n_rows, "", dtype=object)
    names[~missing] = np.array([str(name) for name in classes], dtype=object)[codes]
    return _Labels(names.astype(str), ~missing)


def _is_fitted(model: VICReg) -> bool:
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


def _native(source: Source) -> object:
    return source.to_native() if isinstance(source, nw.DataFrame) else source


def _split(
    n_rows: int, labels: _Labels | None, test_size: float, random_state: int
) -> tuple[Index, Index]:
    """Training and scored rows, by label where every class has two rows."""
    everything = np.arange(n_rows)
    if n_rows < 2:
        return everything, everything
    strata = None
    if labels is not None:
        counts = np.unique(labels.values, return_counts=True)[1]
        fewest = min(round(test_size * n_rows), round((1 - test_size) * n_rows))
        if counts.min() >= 2 and fewest >= len(counts):
            strata = labels.values
    train, test = train_test_split(
        everything, test_size=test_size, stratify=strata, random_state=random_state
    )
    return np.sort(train), np.sort(test)


def _crossed(values: Labels, scored: Index, random_state: int) -> LabelledSplit | None:
    """Cross-validation over the scored rows, in positions of the whole table."""
    split = LabelledSplit.crossed(values[scored], random_state)
    if split is None:
        return None
    return LabelledSplit(values, [(scored[train], scored[test]) for train, test in split.folds])


def _spaces(
    model: VICReg, source: Source, train: Index, *, controls: bool, random_state: int
) -> dict[str, Matrix]:
    """All rows in every space; each space is fitted on the training rows."""
    table = model.embedder_.table
    raw = _dense(model, source)
    width = model.embedder_.config.n_components
    spaces: dict[str, Matrix] = {"vicreg": model.embedder_.embed(source), "raw": raw}
    if all(column.kind == "number" and column.parts == ("value",) for column in table.columns):
        spaces["raw unscaled"] = table.raw(source)
    components = PCA(min(width, len(train) - 1, raw.shape[1]), random_state=random_state)
    spaces["pca"] = components.fit(raw[train]).transform(raw)
    if controls:
        training_rows = take_rows(source, train)
        # The same seed: the same weights at initialisation.
        untrained = clone(model)._fit(_native(training_rows), untrained=True)
        spaces["untrained"] = untrained.embedder_.embed(source)
        random = np.random.default_rng(random_state)
        shuffled = clone(model).fit(_native(shuffle_columns(training_rows, random)))
        spaces["shuffled"] = shuffled.embedder_.embed(source)
    return spaces


def _dense(model: VICReg, source: Source) -> Matrix:
    """The encoded table as one matrix: standardised numbers beside one-hot categories."""
    table = model.embedder_.table
    rows = table.transform(source)
    parts: list[Matrix] = [rows.numbers.numpy().astype(np.float64)]
    for place, cardinality in enumerate(table.cardinalities):
        parts.append(np.eye(cardinality)[rows.codes[:, place].numpy()])
    return np.column_stack(parts)


def _score_labels(
    space: Matrix, names: Labels, scored: Index, split: LabelledSplit | None, random_state: int
) -> dict[str, float]:
    """All measures; without a split none of the probes."""
    measured = {
        "silhouette": silhouette(space[scored], names, random_state=random_state),
        "ari": ari(space[scored], names, random_state=random_state),
        "effective rank": effective_rank(space[scored]),
    }
    if split is not None:
        measured["10-NN"] = knn_accuracy(space, split)
        measured["linear"] = linear_accuracy(space, split)
    return measured


def _score_clusters(space: Matrix, n_groups: int, random_state: int) -> dict[str, float]:
    found = cluster(space, n_groups, random_state=random_state)
    return {
        "silhouette of clusters": silhouette(space, found, random_state=random_state),
        "effective rank": effective_rank(space),
    }


def _cluster_count(raw: Matrix, random_state: int) -> int:
    """The number of k-means clusters, 2 to 10, with the best silhouette on the raw table."""
    counts = range(2, min(10, len(raw) - 1) + 1)
    scores = {
        count: silhouette(raw, cluster(raw, count, random_state=random_state)) for count in counts
    }
    return max(
        scores, key=lambda count: (np.nan_to_num(scores[count], nan=-1.0), -count), default=2
    )


def _shown_rows(n_rows: int, random_state: int) -> Index:
    order = np.random.default_rng(random_state).permutation(n_rows)
    return np.sort(order[:MAP_ROWS])


def _maps(
    spaces: dict[str, Matrix], names: Labels, random_state: int
) -> dict[str, dict[str, tuple[Matrix, float]]]:
    found: dict[str, dict[str, tuple[Matrix, float]]] = {}
    for space, points in spaces.items():
        perplexity = min(30.0, (len(points) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=random_state)
        planes = {
            "PCA": _plane(points, random_state),
            "t-SNE": tsne.fit_transform(np.asarray(points, dtype=np.float32)),
        }
        found[space] = {
            kind: (plane, _plane_silhouette(plane, names)) for kind, plane in planes.items()
        }
    return found


def _plane(points: Matrix, random_state: int) -> Matrix:
    plane: Matrix = PCA(min(2, points.shape[1]), random_state=random_state).fit_transform(points)
    return plane if plane.shape[1] == 2 else np.column_stack((plane, np.zeros(len(plane))))


def _plane_silhouette(plane: Matrix, names: Labels) -> float:
    if not 1 < len(np.unique(names)) < len(plane):
        return float("nan")
    return float(silhouette_score(plane, names))


def _verdict(scores: dict[str, dict[str, float]], *, labelled: bool) -> str:
    """One sentence on whether the embedding beats the raw table and PCA."""
    measures = ("silhouette", "10-NN", "linear") if labelled else ("silhouette of clusters",)
    rivals = [name for name in ("raw", "raw unscaled", "pca") if name in scores]
    wins: list[str] = []
    ties: list[str] = []
    losses: list[str] = []
    for measure in measures:
        own = scores["vicreg"].get(measure, float("nan"))
        best = max(rivals, key=lambda name: np.nan_to_num(scores[name].get(measure, -1), nan=-1))
        other = scores[best].get(measure, float("nan"))
        if own != own or other != other:
            continue
        told = f"{measure} ({own:.3f} against {other:.3f} of {best})"
        (wins if own > other + TIE else ties if own >= other - TIE else losses).append(told)
    if not wins + ties + losses:
        return "There are too few rows or labels to tell whether the embedding is of use."
    if losses and not wins:
        sentence = f"The embedding does not beat the raw table or PCA: behind on {_joined(losses)}"
    elif not wins:
        sentence = f"The embedding does not beat the raw table or PCA: level on {_joined(ties)}"
    else:
        sentence = f"The embedding beats the raw table and PCA on {_joined(wins)}"
        if losses:
            sentence += f", but not on {_joined(losses)}"
    if ties and (wins or losses):
        sentence += f", and is level on {_joined(ties)}"
    first = measures[0]
    own = scores["vicreg"].get(first, float("nan"))
    idle = [
        name
        for name in ("untrained", "shuffled")
        if name in scores and scores[name].get(first, float("nan")) >= own - TIE
    ]
    if idle:
        sentence += f"; the {_joined(idle)} encoder has as high a {first}, so nothing was learnt"
    return sentence + "."


def _joined(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _told(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.3f}"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
