"""The scikit-learn face: a thin shell over :mod:`vicreg.fitting`."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from vicreg.config import MOST_THREADS, Config, from_json, number
from vicreg.fingerprint import fingerprint
from vicreg.fitting import fit_embedder
from vicreg.header import (
    PairedTable,
    TableHeader,
    check_names,
    layer_of_counts,
    named,
    naming,
    read_checked,
)
from vicreg.pairs import SECOND, naming_second
from vicreg.per_row import PerRow
from vicreg.persistence import Artifact, read_artifact, write_artifact
from vicreg.plain_state import plain_state
from vicreg.sources import contents, is_annotated, matrices, with_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vicreg.embedder import Embedder
    from vicreg.history import Moment, Pulse
    from vicreg.sources import Source

__all__ = ["VICReg", "drawn_seed", "load"]


class VICReg(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Embedding of a table, learnt without labels by VICReg.

    Two corrupted views of every row go through an encoder and a projector; the loss pulls the
    views together, keeps every dimension alive and decorrelates the dimensions (Bardes, Ponce,
    LeCun, arXiv 2105.04906). The encoder's output is the embedding.

    A row's embedding depends on that row and the fitted model alone, to the bit. The same seed and
    the same number of threads give the same bits.

    Parameters
    ----------
    n_components : int, default 512
        Width of the embedding.
    hidden : sequence of int
        Widths of the encoder's hidden layers.
    projector : sequence of int
        Widths of the projector's layers.
    detail_share : float or "auto"
        Share of the components that are details: the row itself, the encoder's last hidden layer
        and waves over the learnt components, as a random rotation of their first principal
        components. They stand behind the learnt components, of which there are at least 16. With
        ``"auto"`` the first 128 components are learnt, and those beyond are details, but for the
        neighbourhoods.
    detail_scale : float
        How large the details are beside the learnt components: small ones leave distances alone,
        and a model that standardises its inputs reads them all the same.
    detail_power : float or "auto"
        What the variances along the details' principal directions are raised to. Above 1 the
        largest count for more: a linear model on the embedding overfits less, and knows less.
        ``"auto"`` takes 1.5 for up to 1,500 rows of up to 256 dimensions whose columns tell little
        about each other, 0.5 for more than 1,000 rows whose columns tell much, and 1 elsewhere.
    detail_waves : int
        Random cosines of the learnt components that the details are made of too, with which a
        linear model can draw borders that are not straight.
    neighbourhood_scale : float or "auto"
        How large the neighbourhoods are beside the learnt components, behind which they stand: 32
        components (or a quarter of those not learnt) in which near rows are drawn together and
        others kept apart. 0 for none: classes are then less apart, and clusters less clear.
        ``"auto"`` takes 1, for counts 0.5, and 0 where columns tell much about each other and yet
        two halves of them do not fall into the same clusters: there clusters would be made up.
    spectrum : float, "auto" or "learnt"
        What becomes of the variances along the learnt components' principal directions after
        training. ``"learnt"`` leaves them. A number is the level of the noise, in units of the mean
        variance: directions above it come nearer to each other, those below it count less in
        distances. ``"auto"`` takes 0.2 or less where columns tell much about each other, as pixels
        do, the less the more the table's small directions tell; and 6 elsewhere, see
        :mod:`vicreg.spectrum`.
    skip : bool
        Add a linear map from the input straight to the learnt components.
    batch_norm : bool
        Batch normalisation in hidden layers.
    final_relu : bool
        A ReLU after the last layer of encoder and projector.
    shared_weights : bool
        One network for both views; with False one each, and the embedding is the mean of the two.
    normal_scores : bool
        Give the networks every number twice: standardised, and as its normal score.
    smooth_clip : float
        Standard deviations c to which numbers are drawn in, smoothly: z becomes
        z / sqrt(1 + (z / c)^2); 0 for none beyond 10 deviations. Counts are left as they are.
    kind : {"auto", "table", "counts"}
        What the table holds. Counts are brought to one depth and their logarithm is taken; with
        ``"auto"`` they are recognised, with a note: see :func:`vicreg.counts.looks_like_counts`.
    n_top_columns : int or "auto"
        Of counts, how many columns to keep, the most variable ones of the training rows; 0 for all
        of them, ``"auto"`` for 1,000.
    thin : float
        Of counts, the largest share that a view leaves out, by binomial thinning; a row's share is
        drawn between 0 and this.
    swap, mask : float
        Shares of entries that a view replaces: by another row's value, by the column's mean.
    noise : float
        Standard deviation of added noise, in units of the column's own.
    sides : {"auto", "both", "one"}
        Which views are corrupted: both, the second only, or by a rule: both where the columns
        tell much about each other, each at a lower rate, so that the views differ in ``swap`` of
        the entries either way. Of counts, 0.6 times as many are masked in the second view.
    block_share : float
        Share of the corrupted rows in which a block of columns that go together is swapped, and not
        every entry on its own.
    neighbours : int
        Near rows of the table that a row's second view may be made of; 0 for the row alone.
    near_share : float
        Share of second views that are made of a near row.
    lam, mu, nu, gamma, eps : float
        Weights of the loss, its target deviation and floor; see :func:`vicreg.vicreg_loss`.
    steps : int
        Optimiser steps, at the most.
    batch_size : int
        Rows in a batch; lowered, with a note, for smaller tables.
    optimizer : {"adamw", "adam", "lars"}
        The optimiser.
    lr, betas, weight_decay
        Its settings.
    warmup : float
        Share of the steps over which the learning rate rises; a cosine leads down again.
    constant_lr : bool
        Keep the learning rate after the warm-up.
    clip_norm : float
        Norm to which gradients are clipped; 0 for none.
    validation_fraction : float
        Share of the rows held out to decide when to stop; 0 for none.
    patience : int
        Evaluations (30 in a fit) without a better held-out loss before it stops; 0 for never.
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    n_threads : int, optional
        CPU threads; by default one for small networks and PyTorch's number for large ones.
    precision : {"auto", "float32", "bfloat16"}
        Number format of the networks' products in training; ``"auto"`` takes bfloat16 where the
        processor has it and the work is large enough. Everything else is float32.
    verbose : bool
        Show a progress bar.
    random_state : int, RandomState or None
        The seed of everything random.

    Attributes
    ----------
    embedder_ : Embedder
        Table encoder and network.
    history_ : dict
        Loss, its terms, held-out loss and effective rank at up to 31 moments of the fit; how it
        ended, its best step and its last.
    fitted_on_ : dict or None
        Rows, columns and SHA-256 of the fitted table, by which :func:`vicreg.evaluate` knows it
        again; None for models that were saved before there was one.
    evaluation_ : dict or None
        Scores of the last :func:`vicreg.evaluate`, for the card that is saved with the model.
    notes_ : list of str
        What a user should know: columns dropped, batch lowered, stopped early.
    fitted_with_ : list of str
        What the fit was told beside the table: groups, weights, a second table.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where the table had string names.
    n_iter_ : int
        Steps taken; after Ctrl-C the step that was reached.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from vicreg import VICReg
    >>> X = load_iris().data
    >>> model = VICReg(n_components=8, steps=20, random_state=0)
    >>> model.fit_transform(X).shape
    (150, 8)
    >>> model.transform(X[:1]).shape
    (1, 8)
    """

    def __init__(
        self,
        n_components: int = 512,
        *,
        hidden: Sequence[int] = (256,),
        projector: Sequence[int] = (256, 256, 256),
        detail_share: float | Literal["auto"] = "auto",
        detail_scale: float = 0.1,
        detail_power: float | Literal["auto"] = "auto",
        detail_waves: int = 512,
        neighbourhood_scale: float | Literal["auto"] = "auto",
        spectrum: float | Literal["auto", "learnt"] = "auto",
        skip: bool = True,
        batch_norm: bool = True,
        final_relu: bool = False,
        shared_weights: bool = True,
        normal_scores: bool = False,
        smooth_clip: float = 0.0,
        kind: Literal["auto", "table", "counts"] = "auto",
        n_top_columns: int | Literal["auto"] = "auto",
        thin: float = 0.8,
        swap: float = 0.5,
        mask: float = 0.0,
        noise: float = 0.0,
        sides: Literal["auto", "both", "one"] = "auto",
        block_share: float = 0.0,
        neighbours: int = 0,
        near_share: float = 0.5,
        lam: float = 25.0,
        mu: float = 25.0,
        nu: float = 0.1,
        gamma: float = 1.0,
        eps: float = 1e-4,
        steps: int = 600,
        batch_size: int = 256,
        optimizer: Literal["adamw", "adam", "lars"] = "adamw",
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 1e-4,
        warmup: float = 0.1,
        constant_lr: bool = False,
        clip_norm: float = 10.0,
        validation_fraction: float = 0.1,
        patience: int = 10,
        device: str = "auto",
        n_threads: int | None = None,
        precision: Literal["auto", "float32", "bfloat16"] = "auto",
        verbose: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.hidden = hidden
        self.projector = projector
        self.detail_share = detail_share
        self.detail_scale = detail_scale
        self.detail_power = detail_power
        self.detail_waves = detail_waves
        self.neighbourhood_scale = neighbourhood_scale
        self.spectrum = spectrum
        self.skip = skip
        self.batch_norm = batch_norm
        self.final_relu = final_relu
        self.shared_weights = shared_weights
        self.normal_scores = normal_scores
        self.smooth_clip = smooth_clip
        self.kind = kind
        self.n_top_columns = n_top_columns
        self.thin = thin
        self.swap = swap
        self.mask = mask
        self.noise = noise
        self.sides = sides
        self.block_share = block_share
        self.neighbours = neighbours
        self.near_share = near_share
        self.lam = lam
        self.mu = mu
        self.nu = nu
        self.gamma = gamma
        self.eps = eps
        self.steps = steps
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.betas = betas
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.constant_lr = constant_lr
        self.clip_norm = clip_norm
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.n_threads = n_threads
        self.precision = precision
        self.verbose = verbose
        self.random_state = random_state

    def fit(
        self,
        X: object,
        y: object = None,  # noqa: ARG002 (scikit-learn)
        *,
        groups: object = None,
        sample_weight: object = None,
        X_paired: object = None,
        observe: Callable[[Moment], None] | None = None,
        pulse: Callable[[Pulse], None] | None = None,
    ) -> VICReg:
        """Learn the embedding.

        Parameters
        ----------
        X : array, frame, sparse matrix, AnnData or path, shape (rows, columns)
            Numbers, text, dates, truth values; missing values allowed, infinities not.
        y : ignored
        groups : array-like, shape (rows,), optional
            What rows belong together, such as replicates or sessions of a patient: a row's second
            view is then made of another row of its group. Numbers, text or dates, none missing.
        sample_weight : array-like, shape (rows,), optional
            How often a row is drawn, in proportion to the others: a weight of 2 is as good as the
            row twice, 0 as the row left out. The table's statistics are weighted too.
        X_paired : array, frame, sparse matrix or path, shape (rows, other columns), optional
            A second table of the same rows in the same order, such as another sensor or omics
            layer. It gets an encoder of its own into the same space: a row's views are its
            corrupted rows in both tables.
        observe : callable, optional
            Told of some 30 moments of the fit: step, loss, terms, held-out loss, effective rank.
        pulse : callable, optional
            Told where the fit stands, every second or so between two moments: step, loss, seconds.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If groups or weights are not one per row, a group is missing, all rows are of one
            group, a weight is negative or not finite, or ``X_paired`` has other rows than ``X``.

        Examples
        --------
        >>> import numpy as np
        >>> from vicreg import VICReg
        >>> random = np.random.default_rng(0)
        >>> patient = np.repeat(np.arange(30), 4)
        >>> X = random.normal(size=(30, 6))[patient] + 0.3 * random.normal(size=(120, 6))
        >>> model = VICReg(n_components=4, steps=20, random_state=0)
        >>> model.fit(X, groups=patient, sample_weight=1 + patient % 2).transform(X).shape
        (120, 4)
        """
        return self._fit(
            X,
            untrained=False,
            groups=groups,
            sample_weight=sample_weight,
            X_paired=X_paired,
            observe=observe,
            pulse=pulse,
        )

    def transform(self, X: object = None, *, X_paired: object = None) -> NDArray[np.float32]:
        """Embedding (rows, n_components), float32, of tables with the fitted columns.

        Parameters
        ----------
        X : array, frame, sparse matrix or path, shape (rows, columns)
            May be left out where ``X_paired`` is given.
        X_paired : array, frame, sparse matrix or path, shape (rows, other columns), optional
            The second table of a model that was fitted with one. With both tables the embedding is
            the mean of the two.

        Raises
        ------
        ValueError
            If there is no table, the tables' rows differ in number, or ``X_paired`` is given to a
            model that was fitted without.

        Examples
        --------
        >>> import numpy as np
        >>> from vicreg import VICReg
        >>> random = np.random.default_rng(0)
        >>> hidden = random.normal(size=(200, 3))
        >>> X, X2 = hidden @ random.normal(size=(3, 8)), hidden @ random.normal(size=(3, 5))
        >>> model = VICReg(n_components=4, steps=20, random_state=0).fit(X, X_paired=X2)
        >>> both = model.transform(X, X_paired=X2)
        >>> bool(np.allclose(both, (model.transform(X) + model.transform(X_paired=X2)) / 2))
        True
        """
        return self._embedding(X, X_paired)

    @plain_state()
    def _embedding(self, X: object, X_paired: object, *, first_row: int = 0) -> NDArray[np.float32]:
        """What ``transform`` gives; ``first_row`` is what messages call the first of the rows."""
        check_is_fitted(self)
        if X is None and X_paired is None:
            raise ValueError("X must be a table, or X_paired one, however: neither is given")
        sides = []
        if X is not None:
            table = contents(X, self.embedder_.table.texts)
            with naming(self, table):
                sides.append(self.embedder_.embed(self._read(table), first_row=first_row))
        if X_paired is not None:
            if self.paired_columns_ is None:
                raise ValueError(
                    "X_paired must go to a model that was fitted with it, however: this one was "
                    "fitted on X alone; fit it with fit(X, X_paired=...)"
                )
            encoder = self.embedder_.side(1)[1]
            with naming_second():
                second = contents(X_paired, encoder.texts)
                source = read_checked(self.paired_columns_, second, reset=False)
                check_names(self.paired_columns_, encoder.columns, source)
                sides.append(self.embedder_.embed(source, side=1, first_row=first_row))
        if len(sides) == 1:
            return sides[0]
        if len(sides[0]) != len(sides[1]):
            raise ValueError(
                "X_paired must have the rows of X, in the same order, "
                f"however: {len(sides[1])} rows, X has {len(sides[0])}"
            )
        mean: NDArray[np.float32] = np.mean(sides, axis=0, dtype=np.float32)
        return mean

    def save(self, path: str | Path) -> None:
        """Write the fitted model to a folder: safetensors and JSON, no pickle.

        A model that is there is replaced, whole or not at all: ``model.json``,
        ``weights.safetensors`` and ``README.md``. Other files in its folder stay there, such as
        notes, and ``tuning``, which ``vicreg tune`` writes and a fit does not renew. A link is
        followed. Of several saves to one folder at the same time the last one stays.

        Parameters
        ----------
        path : str or Path
            A model folder, an empty folder, or one that is not there yet; it is made.

        Raises
        ------
        FileExistsError
            If there is something else: a file, or a folder with files in it but without a
            ``model.json`` that this package wrote.
        OSError
            If the folder cannot be replaced, as the current folder or a mount, or its parent
            cannot be written to.
        """
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        seed = self.random_state
        params = {
            **self._config().as_dict(),
            "device": self.device,
            "n_threads": _checked_threads(self.n_threads),
            "precision": self.precision,
            "verbose": bool(self.verbose),
            # A generator's state is not part of the model.
            "random_state": int(seed) if isinstance(seed, int | np.integer) else None,
        }
        artifact = Artifact(
            self.embedder_,
            params,
            None if names is None else [str(name) for name in names],
            self.n_features_in_,
            self.n_rows_,
            dict(self.aside_),
            None if self.paired_columns_ is None else self.paired_columns_.as_dict(),
            self.fitted_on_,
            self.evaluation_,
        )
        write_artifact(artifact, Path(path))

    @plain_state()
    def _fit(
        self,
        X: object,
        *,
        untrained: bool = False,
        whole: bool = False,
        groups: object = None,
        sample_weight: object = None,
        X_paired: object = None,
        observe: Callable[[Moment], None] | None = None,
        pulse: Callable[[Pulse], None] | None = None,
    ) -> VICReg:
        config = self._config()
        beside = {"groups": groups, "sample_weight": sample_weight, "second table": X_paired}
        n_threads = _checked_threads(self.n_threads)
        # A fit that fails leaves what the model was as it was.
        header = TableHeader()
        table = contents(X)
        source = read_checked(header, table, reset=True)
        n_rows = source.shape[0]
        columns = None if X_paired is None else PairedTable()
        with naming_second():
            second = contents(X_paired)
            paired = None if columns is None else read_checked(columns, second, reset=True)
        seed = drawn_seed(self.random_state)
        with naming(header, table):
            told = PerRow.checked(groups, sample_weight, n_rows)
            fitted_on = fingerprint(source)  # now: what it frees, the encoding finds
            embedder = fit_embedder(
                source,
                config,
                seed=seed,
                device=self.device,
                n_threads=n_threads,
                precision=self.precision,
                verbose=self.verbose,
                untrained=untrained,
                groups=told.groups,
                weights=told.weights,
                paired=paired,
                observe=None if observe is None else lambda _, moment: observe(moment),
                pulse=pulse,
                whole=whole,
            )
        embedder.notes = [
            SECOND + named(columns, second, note.removeprefix(SECOND))
            if columns is not None and note.startswith(SECOND)
            else named(header, table, note)
            for note in embedder.notes
        ]
        if config.kind == "auto" and embedder.table.depth is None:
            hint = layer_of_counts(table)
            embedder.notes += [] if hint is None else [hint]
        self._adopt(
            embedder,
            n_rows=n_rows,
            paired_columns=columns,
            fitted_on=fitted_on,
            fitted_with=[name for name, one in beside.items() if one is not None],
        )
        header.give_to(self)
        return self

    def _config(self) -> Config:
        return Config(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(Config)}
        )

    def _adopt(
        self,
        embedder: Embedder,
        n_rows: int,
        paired_columns: PairedTable | None,
        fitted_on: dict[str, Any] | None,
        fitted_with: list[str],
    ) -> None:
        self.embedder_ = embedder
        self.n_rows_ = n_rows
        self.fitted_with_ = fitted_with
        self.paired_columns_ = paired_columns
        self.fitted_on_ = fitted_on
        self.aside_: dict[str, Any] = {}
        self.evaluation_: dict[str, Any] | None = None
        self.history_ = embedder.history.as_dict()
        self.notes_ = list(embedder.notes)
        self.n_iter_ = embedder.history.last_step

    def _read(self, X: object) -> Source:
        """A table with the fitted columns; of an AnnData the layer of the fit, if it has it."""
        table, layer = contents(X), self.aside_.get("layer")
        if layer is not None and is_annotated(table) and layer in matrices(table):
            table = with_layer(table, layer)
        source = read_checked(self, table, reset=False)
        check_names(self, self.embedder_.table.columns, source)
        return source

    @property
    def _n_features_out(self) -> int:
        return self.embedder_.config.n_components

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def drawn_seed(random_state: Any) -> int:
    """A whole number that follows from an argument ``random_state`` of scikit-learn's.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> from vicreg.estimator import drawn_seed
    >>> drawn_seed(0) == drawn_seed(0), drawn_seed(0) == drawn_seed(1)
    (True, False)
    """
    try:
        random = check_random_state(random_state)
    except ValueError:
        raise ValueError(
            "random_state must be None, an integer from 0 to 2**32 - 1 or a "
            f"numpy.random.RandomState, however: random_state={random_state!r}"
        ) from None
    return int(random.randint(2**31 - 1))


def _checked_threads(n_threads: Any) -> int | None:
    number(1, MOST_THREADS, whole=True, optional=True)("n_threads", n_threads)
    return None if n_threads is None else int(n_threads)  # NumPy's is none that JSON knows


# scikit-learn wraps transform, for set_output, in a function that cannot do without X.
_wrapped_transform = VICReg.transform


@functools.wraps(_wrapped_transform)
def _transform(self: VICReg, X: object = None, *, X_paired: object = None) -> NDArray[np.float32]:
    embedding: Any = _wrapped_transform(self, X, X_paired=X_paired)
    # scikit-learn looks for an index in frames that are X.
    table: Any = X_paired if X is None else X
    names = table.obs_names if is_annotated(table) else getattr(table, "index", None)
    if _is_pandas(embedding) and (_is_pandas(table) or is_annotated(table)):
        embedding.index = names
    return embedding  # type: ignore[no-any-return]


def _is_pandas(table: object) -> bool:
    return type(table).__module__.split(".")[0] == "pandas"


VICReg.transform = _transform  # type: ignore[method-assign]


@plain_state()
def load(path: str | Path) -> VICReg:
    """A fitted model from the folder that :meth:`VICReg.save` wrote.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing.
    ValueError
        If a file was altered or is not a model of a known format.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from vicreg import VICReg, load
    >>> X = np.arange(40.0).reshape(20, 2)
    >>> model = VICReg(n_components=4, steps=5, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model")
    ...     again = load(f"{folder}/model")
    >>> bool((again.transform(X) == model.transform(X)).all())
    True
    """
    artifact = read_artifact(Path(path))
    params = from_json(artifact.params)
    unknown = sorted(params.keys() - VICReg().get_params().keys())
    if unknown:
        raise ValueError(
            f"{path} was written by another version of vicreg, with settings that this one does "
            f"not know: {', '.join(unknown)}; load it with that version"
        )
    model = VICReg(**params)
    paired = None if artifact.paired is None else PairedTable.from_dict(artifact.paired)
    beside = {
        "groups": artifact.aside.get("groups"),
        "sample_weight": artifact.aside.get("weight"),
        "second table": paired,
    }
    fitted_with = [name for name, one in beside.items() if one is not None]
    model._adopt(artifact.embedder, artifact.n_rows, paired, artifact.fitted_on, fitted_with)
    model.n_features_in_ = artifact.n_features
    model.aside_ = artifact.aside
    if artifact.feature_names is not None:
        model.feature_names_in_ = np.asarray(artifact.feature_names, dtype=object)
    return model
