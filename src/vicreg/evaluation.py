"""Scoring a model on a table: what is fitted, what is held out, what is looked at."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from vicreg import __version__
from vicreg.estimator import VICReg, drawn_seed
from vicreg.fingerprint import fingerprint
from vicreg.frames import listed
from vicreg.maps import check_umap
from vicreg.per_row import PerRow
from vicreg.plain_state import plain_state
from vicreg.scorecard import Scorecard
from vicreg.scored_rows import FEWEST_TEST_ROWS, Division, ScoredRows
from vicreg.scores import Judged, cluster_count, score_spaces
from vicreg.shown_columns import columns_at
from vicreg.sources import column_names, contents, is_annotated, read, take_rows
from vicreg.spaces import Spaces, native, pca_width
from vicreg.targets import MOST_CLASSES, Target
from vicreg.view import CLUSTERS, View, names_of_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicreg.sources import Source

    Index = NDArray[np.intp]

__all__ = ["evaluate"]

#: Fewer scored rows than this say nothing at all.
FEWEST_SCORED = 3
#: Rows of a class that say little of it.
FEW_OF_CLASS = 3
#: Of a fitted model, which is scored as it is.
SEEN = (
    "these are the rows that the model was fitted on: its scores are better than they would be on "
    "new rows"
)
REFIT = "; a model that is not fitted yet (--refit) is scored on rows that it has not seen"
PERHAPS_SEEN = (
    "this is not known to be the table that the model was fitted on; rows that it has seen all the "
    "same count in its favour"
)


@plain_state()
def evaluate(
    model: VICReg,
    X: object,
    y: object = None,
    *,
    groups: object = None,
    sample_weight: object = None,
    batches: object = None,
    ids: object = None,
    target: Literal["auto", "classes", "number"] = "auto",
    test_size: float = 0.3,
    controls: bool = True,
    maps: bool = True,
    umap: bool = False,
    show: Sequence[str] = (),
    title: str = "table",
    label_name: str = "label",
    batch_name: str = "batch",
    random_state: int = 0,
) -> Scorecard:
    """Score an embedding beside the raw table, PCA of the same width and controls.

    A model that is not fitted yet is fitted (a clone of it) on ``1 - test_size`` of the rows and
    scored on the others, which it has never seen. With fewer than 100 of those there are too few:
    then all rows are fitted and scored, and probes are cross-validated. A fitted model is scored as
    it is, and the card says whether these are the rows that it was fitted on. At most 4,000 rows
    are scored, and probes learn from at most 10,000.

    With labels: silhouette by label, balanced accuracy of 10-nearest-neighbours and of a logistic
    regression, adjusted Rand index of k-means. With numbers: R² of a ridge regression, mean
    absolute error of 10-nearest-neighbours. Without either: the silhouette of k-means clusters, as
    many in every space as fit the raw table best. Always scores that need no labels.

    Intervals (95 %) come from resampling the scored rows, without any fit anew. They say how far
    other rows would change a score; not how far another seed of the fit would.

    Parameters
    ----------
    model : VICReg
        Fitted or not.
    X : array, frame, sparse matrix or path, shape (rows, columns)
        The table.
    y : array-like of shape (rows,), optional
        Labels or numbers; rows whose value is missing are left out of the scores.
    groups : array-like of shape (rows,), optional
        What rows belong together, as for :meth:`VICReg.fit`: no group is both learnt from and
        scored, and fits are told of them.
    sample_weight : array-like of shape (rows,), optional
        As for :meth:`VICReg.fit`, of fits; scores count all rows alike.
    batches : array-like of shape (rows,), optional
        Batches that the embedding should not tell apart: a leakage score is added.
    ids : array-like of shape (rows,), optional
        Names of the rows, for the page.
    target : {"auto", "classes", "number"}
        What ``y`` is; ``"auto"`` takes decimal numbers for numbers, all else for classes.
    test_size : float
        Share of the rows that are scored, between 0 and 1.
    controls : bool
        Also score the encoder untrained, and trained on the table with each column shuffled.
    maps : bool
        Also look at the rows: maps, neighbours, what each column does. For the page.
    umap : bool
        Maps by UMAP too, which must be installed.
    show : sequence of str
        Columns that the page must have for hover and colour.
    title, label_name, batch_name : str
        For the report.
    random_state : int
        Seed of the split, the clusters, the maps, the resampling and the shuffling.

    Returns
    -------
    Scorecard

    Raises
    ------
    ValueError
        If labels, groups, weights, batches or ids have another length than the table, labels fewer
        than two classes, groups fewer than three, or the table is not one of the fitted model's.
    TypeError
        If the model is no :class:`VICReg`, or ``random_state`` no integer.
    ImportError
        If UMAP is asked for and not installed.
    KeyboardInterrupt
        After Ctrl-C, in its fits too: half a fit says nothing.

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
    random_state = _checked_seed(model, random_state)
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must be between 0 and 1, however: test_size={test_size!r}")
    if umap:
        check_umap()
    clock = _Clock()
    fitted = _is_fitted(model)
    contained = contents(X, model.embedder_.table.texts if fitted else ())
    source = model._read(contained) if fitted else read(contained)
    n_rows = source.shape[0]
    if n_rows < FEWEST_SCORED:
        raise ValueError(
            f"X must have at least {FEWEST_SCORED} rows to be scored, however: {n_rows}"
        )
    judged_by = None if y is None else Target.of(y, n_rows, name=label_name, kind=target)
    in_batches = None if batches is None else _batches(batches, n_rows, batch_name)
    told = PerRow.checked(groups, sample_weight, n_rows)
    names = names_of_rows(ids, n_rows)
    columns = _names_of_columns(model if fitted else None, contained, source)
    columns_at(columns, show)

    division = Division.of(n_rows, test_size, judged_by, told.groups, random_state)
    fit = _Fit.of(model, source, division, told, controls=controls)
    clock.lap("fit")
    notes = list(fit.notes)
    scored = division.scored
    if judged_by is not None:
        scored = scored[judged_by.known[scored]]
        notes += _notes_on(judged_by, scored)
        if len(scored) < FEWEST_SCORED:
            raise ValueError(
                f"{label_name} must be known of at least {FEWEST_SCORED} of the rows that are "
                f"scored, however: of {len(scored)}; leave y out, or give more of it"
            )
    width = max(_width(fit.model), fit.model.embedder_.config.n_components)
    rows = ScoredRows.of(division.train, scored, n_rows, width, random_state, maps=maps)
    notes += _notes_on_pca(fit.model, rows)
    spaces = Spaces.of(
        fit.model,
        source,
        rows.used,
        rows.at(rows.learnt),
        rows.at(rows.viewed),
        lambda: (take_rows(source, division.train), fit.beside),
        controls=controls,
        seed_of_fits=fit.seed,
        random_state=random_state,
    )
    clock.lap("spaces and controls")
    own_groups = None if told.groups is None else told.groups[rows.used]
    split, of_batches = (
        None if one is None else rows.probe_split(one, own_groups, division, random_state)
        for one in (judged_by, in_batches)
    )
    batches_told: set[str] = set()
    if in_batches is not None and of_batches is not None:
        # A batch that no probe has seen is found by none, however plain it is to see.
        of_batches = of_batches.of_learnt_classes()
        batches_told = of_batches.tested_classes()
        notes += _notes_on_batches(len(batches_told), in_batches.values[rows.scored])
    n_groups = 0 if judged_by is None else len(np.unique(judged_by.values[rows.scored]))
    scored = rows.at(rows.scored)
    if judged_by is None or judged_by.is_number or n_groups < 2:
        n_clusters = cluster_count(spaces.rows["raw"][scored], random_state)
    else:
        n_clusters = n_groups
    estimates, clusters = score_spaces(
        spaces,
        Judged(
            scored,
            split,
            of_batches,
            min(n_clusters, MOST_CLASSES),
            random_state,
            groups=None if own_groups is None else own_groups[scored],
        ),
    )
    clock.lap("scores")
    view = None
    if maps:
        colours = _colours(judged_by, in_batches, rows.shown)
        colours[CLUSTERS] = _clusters_of(rows.shown, rows.scored, clusters["vicreg"])
        if division.held_out and not fitted:
            use = np.where(np.isin(rows.shown, division.train), "fitted", "held out")
            colours["use of the row"] = use
        named = judged_by is not None and not judged_by.is_number
        view = View.of(
            fit.model.embedder_,
            source,
            rows.shown,
            [names[row] for row in rows.shown],
            {name: space[rows.at(rows.shown)] for name, space in spaces.rows.items()},
            np.isin(rows.shown, rows.scored),
            colours=colours,
            columns=columns,
            label=judged_by.values[rows.shown] if judged_by is not None and named else None,
            show=show,
            umap=umap,
            random_state=random_state,
        )
        if len(rows.shown) < n_rows:
            view.notes.append(
                f"the maps show {len(rows.shown)} of the {n_rows} rows, drawn at random"
            )
        clock.lap("maps and columns")
    card = Scorecard(
        title=title,
        n_rows=n_rows,
        n_scored=len(rows.scored),
        held_out=division.held_out and not fitted,
        seen=fit.seen,
        label_name=None if judged_by is None else label_name,
        n_groups=n_clusters if judged_by is None else 0 if judged_by.is_number else n_groups,
        estimates=estimates,
        model=fit.model,
        notes=[*notes, *fit.model.notes_],
        view=view,
        batch_name=None if in_batches is None else batch_name,
        n_batches=len(batches_told),
        facts={
            "versions": _versions(),
            "table": fit.of_table,
            "seconds": clock.seconds,
        },
    )
    fit.model.evaluation_ = card.as_dict()  # for the card in its folder
    return card


@dataclass(frozen=True)
class _Fit:
    """The fitted model that is scored, and what fits of its controls are to be told.

    ``seen`` is whether the scored rows are known to be rows of the fit, ``seed`` what the controls
    begin with too, ``beside`` what a fit is told of its rows, ``of_table`` the table's fingerprint.
    """

    model: VICReg
    seen: bool
    seed: int
    beside: dict[str, Any]
    of_table: dict[str, Any]
    notes: list[str]

    @classmethod
    def of(
        cls, model: VICReg, source: Source, division: Division, told: PerRow, *, controls: bool
    ) -> _Fit:
        """Of a model that is fitted, as it is; else of a clone, fitted on the division's rows."""
        # Drawn once: the controls begin with the model's own weights. A generator's copy draws.
        seed = clone(model).random_state
        if not isinstance(seed, int | np.integer):
            seed = drawn_seed(seed)
        of_fit = told.take(division.train)
        beside: dict[str, Any] = {
            name: values
            for name, values in (("groups", of_fit.groups), ("sample_weight", of_fit.weights))
            if values is not None
        }
        of_table = fingerprint(source)
        if _is_fitted(model):
            seen = model.fitted_on_ == of_table
            notes = [(SEEN + (REFIT if division.held_out else "")) if seen else PERHAPS_SEEN]
            missed = [name for name in model.fitted_with_ if name not in beside]
            if missed and controls:
                told_of = " and ".join(missed)
                notes.append(f"controls are fitted without the {told_of} of the model")
            return cls(model, seen, seed, beside, of_table, notes)
        model = clone(model).set_params(random_state=seed)
        model._fit(native(take_rows(source, division.train)), whole=True, **beside)
        notes = []
        if not division.held_out:
            notes.append(
                f"too few rows to hold {FEWEST_TEST_ROWS} out: scored on the rows of the fit"
            )
        return cls(model, not division.held_out, seed, beside, of_table, notes)


class _Clock:
    """Seconds of the parts of a work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


def _checked_seed(model: VICReg, random_state: int) -> int:
    if not isinstance(model, VICReg):
        raise TypeError(
            f"model must be a VICReg, fitted or not, however: {type(model).__name__}; of a "
            "pipeline give its last step, and the table as the steps before leave it"
        )
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
        raise TypeError(f"random_state must be an integer, however: random_state={random_state!r}")
    return int(random_state)


def _is_fitted(model: VICReg) -> bool:
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


def _names_of_columns(fitted: VICReg | None, table: object, source: Source) -> list[str]:
    """The columns' names, of genes too; a fitted model has put them into its own order."""
    names: Any = getattr(fitted, "feature_names_in_", None)
    if names is None:
        names = table.var_names if is_annotated(table) else column_names(source)  # type: ignore[attr-defined]
    return [str(name) for name in names]


def _batches(batches: object, n_rows: int, name: str) -> Target:
    """Batches of all rows; a row without one is of a batch of its own kind."""
    found = Target.of(batches, n_rows, name=name, kind="classes", argument="batches")
    values = np.where(found.known, found.values, "(missing)")
    return Target(name, values, np.ones(n_rows, dtype=bool))


def _notes_on(target: Target, scored: Index) -> list[str]:
    notes = [target.note] if target.note else []
    if not target.is_number and target.n_classes <= MOST_CLASSES:
        names, counts = np.unique(target.values[scored], return_counts=True)
        few = names[counts < FEW_OF_CLASS]
        if len(names) == 1:
            notes.append(
                f"all rows that are scored are of one class, {str(names[0])!r}: {target.name} "
                "says nothing of them"
            )
        elif len(few):
            notes.append(
                f"fewer than {FEW_OF_CLASS} rows of {listed(few.tolist())} are scored: by a mean "
                "over classes they count as much as all others, and no interval knows their luck"
            )
    if target.n_classes > MOST_CLASSES:
        notes.append(
            f"{target.name} has {target.n_classes} classes: above {MOST_CLASSES} the linear probe "
            "and k-means against the labels are left out (for a quantity: target='number', "
            "--target number)"
        )
    return notes


def _notes_on_batches(n_told: int, of_scored: NDArray[np.generic]) -> list[str]:
    """Which batches the leakage is of, where it is not of all; ``n_told`` is 0 or more than 1."""
    n_batches = len(np.unique(of_scored))
    if n_told == n_batches:
        return []
    if n_batches == 1:
        told = "left out: all rows that are scored are of one batch"
    elif not n_told:
        told = (
            f"left out: of the {n_batches} batches fewer than two have rows among those that a "
            "probe learns from, as where groups are batches"
        )
    else:
        told = (
            f"of {n_told} of the {n_batches} batches: no row of the others is among those that a "
            "probe learns from"
        )
    return [f"leakage is {told}"]


def _width(model: VICReg) -> int:
    """Numbers of the encoded table."""
    table = model.embedder_.table
    return table.n_numbers + sum(table.cardinalities)


def _notes_on_pca(model: VICReg, rows: ScoredRows) -> list[str]:
    n_components, width = model.embedder_.config.n_components, _width(model)
    of_pca = pca_width(n_components, len(rows.learnt), width)
    if of_pca >= min(n_components, width):
        return []
    note = (
        f"PCA has {of_pca} components, half as many as it learns from rows: on as many as "
        "there are rows a linear probe says nothing"
    )
    return [note]


def _colours(
    target: Target | None, batches: Target | None, shown: Index
) -> dict[str, NDArray[np.generic]]:
    found = {}
    for one in (target, batches):
        if one is not None:
            values = one.values[shown]
            if one.is_number:
                values = np.where(one.known[shown], values, np.nan)
            found[one.name] = values
    return found


def _clusters_of(shown: Index, scored: Index, clusters: Index) -> NDArray[np.str_]:
    names = np.full(len(shown), "", dtype=object)
    there = np.isin(scored, shown)
    names[np.searchsorted(shown, scored[there])] = [f"cluster {one + 1}" for one in clusters[there]]
    return names.astype(str)


def _versions() -> dict[str, str]:
    return {
        "vicreg": __version__,
        "Python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }
