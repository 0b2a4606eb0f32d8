"""What tuning maximises: scores of a configuration's embedding that do not depend on its loss.

Nothing here looks at the training loss: its weights are among what is searched, and the smallest
weights would win.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.decomposition import PCA

from vicreg.copies import embedded_copies, swapped_copies
from vicreg.fitting import Asked, fit_embedder, fit_together
from vicreg.holdout import hold_out, some_of
from vicreg.label_free import (
    alpha_req,
    cluster_stability,
    lidar,
    linear_prediction,
    neighbour_agreement,
    principal_targets,
    retrieval,
)
from vicreg.metrics import (
    LabelledSplit,
    cluster,
    effective_rank,
    knn_accuracy,
    linear_accuracy,
    silhouette,
)
from vicreg.per_row import NOTHING_TOLD, PerRow
from vicreg.sources import take_columns, take_rows
from vicreg.table import TableEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vicreg.config import Config
    from vicreg.embedder import Embedder
    from vicreg.history import Moment, Pulse
    from vicreg.sources import Source

    Matrix = NDArray[np.floating]
    Index = NDArray[np.intp]
    Labels = NDArray[np.intp]

__all__ = ["OBJECTIVES", "UNKNOWN", "Bench", "Fits", "Objective", "fit_all", "objectives_named"]

TEST_SHARE = 0.3
#: Splits that are looked at for one with classes on both sides.
MOST_SPLITS = 30
#: The label of rows whose class is not known.
UNKNOWN = -1
#: Rows that scores are computed on, and that probes learn from, at the most.
MOST_TEST, MOST_PROBED = 2000, 5000
#: The share of entries swapped in views for scores, whatever the trial trains with.
FIXED_SWAP = 0.3
FIXED_VIEWS = 10
FIXED_ROWS = 500
#: LiDAR grows with the width: it is taken of this many principal components.
FIXED_WIDTH = 32
#: Share of the columns that is hidden from a fit, to be predicted from its embedding.
HIDDEN_SHARE = 1 / 3
FEWEST_COLUMNS = 4
CROSS_CLUSTERS = 20

Side = Literal["train", "test"]
Which = Literal["plain", "blind"]
#: What objectives call a fit: whether columns are hidden from it, how often its seed is changed.
_KEYS: dict[str, tuple[Which, int]] = {
    "plain": ("plain", 0),
    "again": ("plain", 1),
    "blind": ("blind", 0),
}


class Bench:
    """Rows to fit on and rows to judge on, the same for every trial of a study.

    Parameters
    ----------
    source : Source
        The table.
    labels : ndarray of int, shape (rows,), optional
        Classes, from 0; ``UNKNOWN`` where one is not known.
    seed : int
        Of the split, of the hidden columns and of everything drawn for a score.
    split : tuple of ndarray, optional
        Training and test rows; by default 70 and 30 % at random, whole groups where there are
        groups, or else by label where there are labels.
    told : PerRow
        Groups and weights of all rows, of which fits are told.
    """

    def __init__(
        self,
        source: Source,
        labels: Labels | None = None,
        *,
        seed: int = 0,
        split: tuple[Index, Index] | None = None,
        told: PerRow = NOTHING_TOLD,
    ) -> None:
        self.source, self.labels, self.seed = source, labels, seed
        self._all_told = told
        self.train, self.test = self._split() if split is None else split
        #: Of the training rows.
        self.told = told.take(self.train)

    def _split(self) -> tuple[Index, Index]:
        """Rows to fit and to judge by; of splits of groups the first that labels are told by."""
        labels, groups = self.labels, self._all_told.groups

        def split(seed: int) -> tuple[Index, Index]:
            n_rows = self.source.shape[0]
            return hold_out(n_rows, TEST_SHARE, seed, labels=labels, groups=groups)

        if labels is not None and groups is not None:
            for seed in range(self.seed, self.seed + MOST_SPLITS):
                with suppress(ValueError):
                    found = split(seed)
                    Bench(self.source, labels, split=found, told=self._all_told).check_labels()
                    return found
        return split(self.seed)

    def elsewhere(self, *, labelled: bool = False) -> Bench:
        """The same table, judged by rows that this one is fitted on, and fitted on all others.

        Parameters
        ----------
        labelled : bool
            Scores need labels: of several splits take the first that :meth:`check_labels` allows.

        Raises
        ------
        ValueError
            If it allows none.
        """
        for split in range(MOST_SPLITS):
            other = self._elsewhere(self.seed + 1 + split)
            try:
                if labelled:
                    other.check_labels()
            except ValueError as error:
                reason = error
                continue
            return other
        raise ValueError(f"by none of {MOST_SPLITS} splits of the rows; by the last one {reason}")

    def _elsewhere(self, seed: int) -> Bench:
        labels, groups = self.labels, self._all_told.groups
        _, places = hold_out(
            len(self.train),
            TEST_SHARE / (1 - TEST_SHARE),
            seed,
            labels=None if labels is None else labels[self.train],
            groups=None if groups is None else groups[self.train],
        )
        test = self.train[places]
        return Bench(
            self.source,
            labels,
            seed=self.seed + 1,
            split=(np.setdiff1d(np.arange(self.source.shape[0]), test), test),
            told=self._all_told,
        )

    def check_labels(self) -> None:
        """Refuse labels by which nothing can be judged.

        Raises
        ------
        ValueError
            If the rows that probes learn from or those that are judged hold fewer than two
            classes, or the latter a class each.
        """
        assert self.labels is not None
        learnt, judged = (
            self.labels[rows][known]
            for rows, known in zip((self.train, self.test), self.labelled, strict=True)
        )
        by_groups = "" if self._all_told.groups is None else ", or groups that determine them"
        for of, noun in ((learnt, "that probes learn from"), (judged, "that are judged")):
            if len(np.unique(of)) < 2:
                raise ValueError(
                    f"y has too few labels{by_groups}: the rows {noun} hold "
                    f"{len(np.unique(of))} class(es). Label more rows, or tune without labels"
                )
        if len(np.unique(judged)) == len(judged):
            raise ValueError(
                f"y must have classes of several rows, however: the {len(judged)} rows that are "
                "judged are of a class each. Give a column of classes, not of names or numbers"
            )

    def rows(self, which: Which) -> tuple[Source, Source]:
        """Training and test rows, with all columns or without the hidden ones."""
        source = self.source
        if which == "blind":
            visible = np.setdiff1d(np.arange(source.shape[1]), self.hidden).tolist()
            source = take_columns(source, visible)
        return take_rows(source, self.train), take_rows(source, self.test)

    def _some(self, places: Index, most: int) -> Index:
        return some_of(places, most, np.random.default_rng(self.seed))

    @cached_property
    def hidden(self) -> list[int]:
        """Positions of the columns that a blind fit does not see."""
        columns = np.array(
            [c.position for c in TableEncoder.fit(self.source, self.train).columns], dtype=np.intp
        )
        if len(columns) < FEWEST_COLUMNS:
            raise ValueError(
                f"hidden columns need a table of at least {FEWEST_COLUMNS} columns that vary, "
                f"however: {len(columns)}; choose another objective"
            )
        chosen = np.random.default_rng(self.seed).permutation(columns)
        return sorted(chosen[: max(1, round(HIDDEN_SHARE * len(columns)))].tolist())

    @cached_property
    def targets(self) -> tuple[Matrix, Matrix]:
        """Principal components of the hidden columns, of training and test rows."""
        hidden = take_columns(self.source, self.hidden)
        table = TableEncoder.fit(hidden, self.train)
        return principal_targets(
            *(table.dense(table.transform(hidden, rows)) for rows in (self.train, self.test))
        )

    @cached_property
    def probed(self) -> Index:
        """Places, among training rows, of those that scores learn from."""
        return self._some(np.arange(len(self.train)), MOST_PROBED)

    @cached_property
    def judged(self) -> Index:
        """Places, among test rows, of those that scores without labels are computed on."""
        return self._some(np.arange(len(self.test)), MOST_TEST)

    @cached_property
    def viewed(self) -> Index:
        """Places, among test rows, of those that views are made of."""
        return self._some(np.arange(len(self.test)), FIXED_ROWS)

    @cached_property
    def labelled(self) -> tuple[Index, Index]:
        """Places, among training and among test rows, whose label is known."""
        assert self.labels is not None
        train, test = (
            np.flatnonzero(self.labels[rows] != UNKNOWN) for rows in (self.train, self.test)
        )
        return self._some(train, MOST_PROBED), self._some(test, MOST_TEST)


class Fits:
    """The fits of one configuration that scores ask for, made when first asked for.

    Parameters
    ----------
    bench : Bench
    config : Config
    seed : int
    n_threads : int, optional
    device : str
    observe : callable, optional
        Told of an unfinished embedder, as another ``Fits``, and of the share of steps it has had.
    pulse : callable, optional
        See :func:`vicreg.fitting.fit_embedder`.
    """

    def __init__(
        self,
        bench: Bench,
        config: Config,
        *,
        seed: int,
        n_threads: int | None = 1,
        device: str = "auto",
        observe: Callable[[Fits, float], None] | None = None,
        pulse: Callable[[Pulse], None] | None = None,
    ) -> None:
        self.bench, self.config, self.seed = bench, config, seed
        self.n_threads, self.device = n_threads, device
        self._observe, self._pulse = observe, pulse
        self._fitted: dict[tuple[Which, int], Embedder | Exception] = {}
        self._embedded: dict[tuple[Side, Which, int], Matrix] = {}

    def embedder(self, which: Which = "plain", repeat: int = 0) -> Embedder:
        """The fit on all columns or without the hidden ones; ``repeat`` changes its seed.

        Raises
        ------
        KeyboardInterrupt
            If it was interrupted: half a fit is no trial.
        Exception
            What :func:`fit_all` came upon.
        """
        key = which, repeat
        if key not in self._fitted:

            def told(embedder: Embedder, moment: Moment) -> None:
                if self._observe is not None:
                    unfinished = Fits(self.bench, self.config, seed=self.seed)
                    unfinished._fitted[key] = embedder
                    self._observe(unfinished, moment.step / self.config.steps)

            self._fitted[key] = fit_embedder(
                self.bench.rows(which)[0],
                self.config,
                seed=self.seed + repeat,
                device=self.device,
                n_threads=self.n_threads,
                observe=told,
                pulse=self._pulse,
                whole=True,
                groups=self.bench.told.groups,
                weights=self.bench.told.weights,
            )
        fitted = self._fitted[key]
        if isinstance(fitted, Exception):
            raise fitted
        return fitted

    def space(self, side: Side, which: Which = "plain", repeat: int = 0) -> Matrix:
        """Embedding of the training or of the test rows."""
        key = side, which, repeat
        if key not in self._embedded:
            rows = dict(zip(("train", "test"), self.bench.rows(which), strict=True))
            self._embedded[key] = self.embedder(which, repeat).embed(rows[side])
        return self._embedded[key]

    def spaces(self, which: Which = "plain", repeat: int = 0) -> tuple[Matrix, Matrix]:
        """Embeddings of the training and of the test rows."""
        return self.space("train", which, repeat), self.space("test", which, repeat)

    def test(self, which: Which = "plain", repeat: int = 0) -> Matrix:
        """Embedding of the test rows that scores without labels are computed on."""
        return self.space("test", which, repeat)[self.bench.judged]

    @cached_property
    def views(self) -> Matrix:
        """Embeddings (rows, views, dimensions) of test rows under the one fixed corruption."""
        embedder, bench = self.embedder(), self.bench
        table = embedder.table
        rows = table.transform(take_rows(bench.source, bench.test[bench.viewed]))
        copies = swapped_copies(
            rows,
            table.layout,
            np.arange(len(rows)),
            count=FIXED_VIEWS,
            swap=FIXED_SWAP,
            random_state=bench.seed,
        )
        return embedded_copies(embedder.network, copies)


@dataclass(frozen=True)
class Objective:
    """A score to maximise.

    ``fits`` are those it looks at; ``blind_to`` says what it does not see.
    """

    name: str
    score: Callable[[Fits], float]
    formula: str
    source: str
    blind_to: str
    needs_labels: bool = False
    fits: tuple[str, ...] = ("plain",)


def fit_all(several: Sequence[Fits], objectives: Sequence[Objective]) -> None:
    """Make the fits that objectives look at, of several configurations at once.

    For small networks, see :func:`vicreg.fitting.fit_together`. What a fit comes upon, its scores
    raise.
    """
    keys = {_KEYS[name] for objective in objectives for name in objective.fits}
    asked = [(one, key) for key in sorted(keys) for one in several]
    if not asked:
        return
    first = several[0]
    found = fit_together(
        [
            Asked(one.bench.rows(which)[0], one.config, one.seed + repeat, one.bench.told)
            for one, (which, repeat) in asked
        ],
        device=first.device,
        n_threads=first.n_threads,
        pulse=first._pulse,
    )
    for (one, key), fitted in zip(asked, found, strict=True):
        one._fitted[key] = fitted


def _silhouette(fits: Fits) -> float:
    labels, rows = fits.bench.labels, fits.bench.labelled[1]
    assert labels is not None
    return silhouette(fits.space("test")[rows], labels[fits.bench.test][rows])


def _probe(fits: Fits, probe: Callable[[Matrix, LabelledSplit], float]) -> float:
    bench = fits.bench
    assert bench.labels is not None
    train, test = bench.labelled
    spaces = fits.spaces()
    space = np.concatenate((spaces[0][train], spaces[1][test]))
    labels = np.concatenate((bench.labels[bench.train][train], bench.labels[bench.test][test]))
    everything = np.arange(len(space))
    split = LabelledSplit.held_out(labels, everything[: len(train)], everything[len(train) :])
    return probe(space, split)


def _lidar(fits: Fits) -> float:
    views = fits.views
    flat = views.reshape(-1, views.shape[2])
    width = min(FIXED_WIDTH, *flat.shape)
    narrow = PCA(width, svd_solver="full").fit_transform(flat)
    return lidar(narrow.reshape(*views.shape[:2], width))


def _agreement(fits: Fits) -> float:
    return neighbour_agreement(fits.test(), fits.test(repeat=1))


def _stability(fits: Fits) -> float:
    bench, (train, test) = fits.bench, fits.spaces()
    return cluster_stability(train[bench.probed], test[bench.judged], random_state=bench.seed)


def _hidden(fits: Fits) -> float:
    probed, judged = fits.bench.probed, fits.bench.judged
    train, test = fits.spaces("blind")
    targets_train, targets_test = fits.bench.targets
    return linear_prediction(
        train[probed], test[judged], targets_train[probed], targets_test[judged]
    )


def _cross_clusters(fits: Fits) -> float:
    test = fits.test()
    count = max(2, min(CROSS_CLUSTERS, len(test) // 4))
    found = cluster(test, count, random_state=fits.bench.seed)
    score = silhouette(fits.test("blind"), found, random_state=fits.bench.seed)
    return score if np.isfinite(score) else -1.0


_LISTED = (
    Objective(
        "silhouette",
        _silhouette,
        "mean over held-out rows of (b - a) / max(a, b), a and b the mean distances to the own and "
        "to the nearest other class",
        "Rousseeuw 1987",
        "classes that are not round, or of several clumps",
        needs_labels=True,
    ),
    Objective(
        "knn",
        lambda fits: _probe(fits, knn_accuracy),
        "balanced accuracy of the 10 nearest training rows' majority",
        "Fix and Hodges 1951",
        "what a straight line could separate",
        needs_labels=True,
    ),
    Objective(
        "linear",
        lambda fits: _probe(fits, linear_accuracy),
        "balanced accuracy of a logistic regression on standardised dimensions",
        "Alain and Bengio 2016, arXiv 1610.01644",
        "distances: classes may overlap in every direction but one",
        needs_labels=True,
    ),
    Objective(
        "rankme",
        lambda fits: effective_rank(fits.test()),
        "exp of the entropy of the singular values' shares",
        "Garrido et al. 2023, arXiv 2210.02885, equation 1",
        "whether the directions hold signal; it grows with the width",
    ),
    Objective(
        "lidar",
        _lidar,
        "effective rank of scatter between rows over scatter within a row's views; 10 views by "
        "30 % swaps, 32 principal components",
        "Thilak et al. 2024, arXiv 2312.04000, section 3.2",
        "whether what survives the corruption is of use; rows told apart by noise",
    ),
    Objective(
        "alpha_req",
        lambda fits: -abs(alpha_req(fits.test()) - 1),
        "minus the distance of the spectrum's decay from 1",
        "Agrawal et al. 2022, section 3",
        "what the directions hold; a random projection can have any decay",
    ),
    Objective(
        "cluster_stability",
        _stability,
        "adjusted Rand index between 10-means clusters of two halves, mean of three halvings",
        "Lange et al. 2004, section 2",
        "clusters by something of no interest, such as one binary column",
    ),
    Objective(
        "retrieval",
        lambda fits: retrieval(fits.views[:, 0], fits.views[:, 1]),
        "share of rows whose second view is nearest to its own first view",
        "Wu et al. 2018, arXiv 1805.01978, as a test",
        "what rows have in common: it is highest where every row is alone",
    ),
    Objective(
        "seed_agreement",
        _agreement,
        "share of the 10 nearest rows that two seeds agree on",
        "compare Bouthillier et al. 2021, arXiv 2103.03098",
        "the raw table agrees with itself perfectly; costs a second fit",
        fits=("plain", "again"),
    ),
    Objective(
        "hidden_columns",
        _hidden,
        "a third of the columns is hidden from the fit; R² of their first 5 principal components, "
        "predicted by ridge regression from the embedding of the others",
        "this project",
        "distances; structure that lives in few columns alone",
        fits=("blind",),
    ),
    Objective(
        "cross_clusters",
        _cross_clusters,
        "silhouette of 20-means clusters of the embedding, in the embedding by a fit without a "
        "third of the columns",
        "this project",
        "what a straight line could separate",
        fits=("plain", "blind"),
    ),
    Objective(
        "combined",
        lambda fits: (_hidden(fits) + _cross_clusters(fits)) / 2,
        "mean of hidden_columns and cross_clusters",
        "this project",
        "structure that lives in few columns alone; costs a second fit",
        fits=("plain", "blind"),
    ),
)
OBJECTIVES: dict[str, Objective] = {objective.name: objective for objective in _LISTED}


def objectives_named(names: Sequence[str], *, labelled: bool) -> list[Objective]:
    """Objectives by name.

    Raises
    ------
    ValueError
        If a name is unknown or twice there, or needs labels that there are not.
    """
    known = tuple(OBJECTIVES)
    for name in names:
        if name not in known:  # whatever it is, hashable or not
            raise ValueError(
                f"objective must be among {', '.join(known)}, however: objective={name!r}"
            )
        if OBJECTIVES[name].needs_labels and not labelled:
            free = ", ".join(one.name for one in OBJECTIVES.values() if not one.needs_labels)
            raise ValueError(
                f"objective={name!r} needs labels, however: y is None; give labels or choose "
                f"among {free}"
            )
    if not names or len(set(names)) < len(names):
        raise ValueError(f"objectives must be some, each once, however: {list(names)}")
    return [OBJECTIVES[name] for name in names]
