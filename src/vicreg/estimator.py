"""The scikit-learn face: a thin shell over :mod:`vicreg.embedder`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from vicreg.config import Config
from vicreg.embedder import fit_embedder
from vicreg.persistence import Artifact, read_artifact, write_artifact
from vicreg.sources import read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vicreg.embedder import Embedder
    from vicreg.sources import Source
    from vicreg.training import Moment

__all__ = ["VICReg", "load"]


class VICReg(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Embedding of a table, learnt without labels by VICReg.

    Two corrupted views of every row go through an encoder and a projector; the loss pulls the
    views together, keeps every dimension alive and decorrelates the dimensions (Bardes, Ponce,
    LeCun, arXiv 2105.04906). The encoder's output is the embedding.

    A row's embedding depends on that row and the fitted model alone, to the bit. The same seed and
    the same number of threads give the same bits.

    Parameters
    ----------
    n_components : int, default 128
        Width of the embedding.
    hidden : sequence of int
        Widths of the encoder's hidden layers.
    projector : sequence of int
        Widths of the projector's layers.
    skip : bool
        Add a linear map from the input straight to the embedding.
    batch_norm : bool
        Batch normalisation in hidden layers.
    final_relu : bool
        A ReLU after the last layer of encoder and projector.
    shared_weights : bool
        One network for both views; with False one each, and the embedding is the mean of the two.
    normal_scores : bool
        Give the networks every number twice: standardised, and as its normal score.
    swap, mask : float
        Shares of entries that a view replaces: by another row's value, by the column's mean.
    noise : float
        Standard deviation of added noise, in units of the column's own.
    sides : {"both", "one"}
        Which views are corrupted.
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
        Loss, its terms, held-out loss and effective rank at up to 31 moments of the fit.
    evaluation_ : dict or None
        Scores of the last :func:`vicreg.evaluate`, for the card that is saved with the model.
    notes_ : list of str
        What a user should know: columns dropped, batch lowered, stopped early.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only where the table had string names.
    n_iter_ : int
        Steps taken.

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
        n_components: int = 128,
        *,
        hidden: Sequence[int] = (256,),
        projector: Sequence[int] = (256, 256, 256),
        skip: bool = True,
        batch_norm: bool = True,
        final_relu: bool = False,
        shared_weights: bool = True,
        normal_scores: bool = False,
        swap: float = 0.3,
        mask: float = 0.0,
        noise: float = 0.0,
        sides: Literal["both", "one"] = "both",
        neighbours: int = 0,
        near_share: float = 0.5,
        lam: float = 25.0,
        mu: float = 25.0,
        nu: float = 0.2,
        gamma: float = 1.0,
        eps: float = 1e-4,
        steps: int = 1500,
        batch_size: int = 256,
        optimizer: Literal["adamw", "adam", "lars"] = "adamw",
        lr: float = 1e-3,
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
        self.skip = skip
        self.batch_norm = batch_norm
        self.final_relu = final_relu
        self.shared_weights = shared_weights
        self.normal_scores = normal_scores
        self.swap = swap
        self.mask = mask
        self.noise = noise
        self.sides = sides
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
        observe: Callable[[Moment], None] | None = None,
    ) -> VICReg:
        """Learn the embedding.

        Parameters
        ----------
        X : array, frame, sparse matrix or path, shape (rows, columns)
            Numbers, text, dates, truth values; missing values allowed, infinities not.
        y : ignored
        observe : callable, optional
            Told of some 30 moments of the fit: step, loss, terms, held-out loss, effective rank.

        Returns
        -------
        self
        """
        return self._fit(X, untrained=False, observe=observe)

    def transform(self, X: object) -> NDArray[np.float32]:
        """Embedding (rows, n_components), float32, of a table with the fitted columns."""
        check_is_fitted(self)
        embedding: NDArray[np.float32] = self.embedder_.embed(self._read(X, reset=False))
        return embedding

    def save(self, path: str | Path) -> None:
        """Write the fitted model to a folder: safetensors and JSON, no pickle."""
        check_is_fitted(self)
        names = getattr(self, "feature_names_in_", None)
        seed = self.random_state
        params = {
            **self._config().as_dict(),
            "device": self.device,
            "n_threads": None if self.n_threads is None else int(self.n_threads),
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
            self.evaluation_,
        )
        write_artifact(artifact, Path(path))

    def _fit(
        self, X: object, *, untrained: bool, observe: Callable[[Moment], None] | None = None
    ) -> VICReg:
        config = self._config()
        if self.n_threads is not None and self.n_threads < 1:
            raise ValueError(f"n_threads must be at least 1, however: n_threads={self.n_threads!r}")
        source = self._read(X, reset=True)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._adopt(
            fit_embedder(
                source,
                config,
                seed=seed,
                device=self.device,
                n_threads=self.n_threads,
                precision=self.precision,
                verbose=self.verbose,
                untrained=untrained,
                observe=observe,
            ),
            n_rows=source.shape[0],
        )
        return self

    def _config(self) -> Config:
        return Config(
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(Config)}
        )

    def _adopt(self, embedder: Embedder, n_rows: int) -> None:
        self.embedder_ = embedder
        self.n_rows_ = n_rows
        self.aside_: dict[str, str | None] = {}
        self.evaluation_: dict[str, Any] | None = None
        self.history_ = embedder.history.as_dict()
        self.notes_ = list(embedder.notes)
        self.n_iter_ = self.history_["step"][-1] if self.history_["step"] else 0

    def _read(self, X: object, *, reset: bool) -> Source:
        source = read(X)
        # scikit-learn's own check of names and width; of the values it knows nothing.
        native = source.to_native() if isinstance(source, nw.DataFrame) else source
        validate_data(self, native, reset=reset, skip_check_array=True)
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
    params: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
        for name, value in artifact.params.items()
    }
    model = VICReg(**params)
    model._adopt(artifact.embedder, artifact.n_rows)
    model.n_features_in_ = artifact.n_features
    model.aside_ = artifact.aside
    if artifact.feature_names is not None:
        model.feature_names_in_ = np.asarray(artifact.feature_names, dtype=object)
    return model
