"""The configuration of a fit: one frozen, validated dataclass, and the presets."""

from __future__ import annotations

import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MOST_THREADS",
    "PRESETS",
    "Config",
    "amount",
    "config_from",
    "from_json",
    "number",
    "preset",
]

#: Ends of what may be asked for where nothing else sets one: what lies beyond fits into no machine,
#: or not into float32.
MOST, MOST_WHOLE, WIDEST, MOST_THREADS = 1e30, 10**9, 2**20, 1024
#: Components that are learnt before any is a detail, by default.
LEARNT = 128
#: Components that are neighbourhoods, at the most, and the most of those that are not learnt.
NEIGHBOURHOOD, OF_NOT_LEARNT = 32, 0.25
#: Components that are learnt where a share of details is asked for, at the least.
FEWEST_LEARNT = 16
#: Columns of counts that are kept by default.
TOP_COLUMNS = 1000


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides a fit, apart from the data, the seed and the machine.

    Parameters
    ----------
    n_components
        Width of the embedding.
    hidden
        Widths of the encoder's hidden layers; empty for a single dense layer.
    projector
        Widths of the projector's layers, the last one the projection's; empty for no projector.
    detail_share
        Share of the components that are details: no gradient trains them, see
        :mod:`vicreg.details`. The first 16 components are always learnt ones. With ``"auto"`` the
        first 128 are, and what is beyond them are details. The first 32 of these, or a quarter, are
        neighbourhoods instead (``neighbourhood_scale``).
    detail_scale
        Standard deviation of all details together, in units of that of the learnt components.
    detail_power
        What the variances along the details' principal directions are raised to: above 1 the
        largest count for more, so that a linear model has less to overfit. ``"auto"`` is 1.5 where
        columns are not coherent and rows are at most 1,500, of at most 256 dimensions; 0.5 where
        they are and rows are more than 1,000; 1 elsewhere.
    detail_waves
        Random cosines of the learnt components that details are made of too; 0 for none.
    neighbourhood_scale
        Standard deviation of all neighbourhoods together, in units of that of the learnt
        components: near rows drawn together, see :mod:`vicreg.neighbourhoods`. 0 for none;
        ``"auto"`` is 1, but half of it for counts, and 0 where columns are coherent and yet their
        halves do not fall into the same clusters. There are none without details, nor where two
        networks have weights of their own.
    spectrum
        What becomes of the variances along the learnt components' principal directions after
        training: ``"learnt"`` leaves them; a number is the level of the noise, in units of the mean
        variance, see :mod:`vicreg.spectrum`; ``"auto"`` follows from the columns' coherence
        and the table's fineness.
    skip
        Add a linear map from the input straight to the learnt components.
    batch_norm
        Batch normalisation in hidden layers.
    final_relu
        A ReLU after the last layer of encoder and projector (the seed); without it these last
        layers are linear, without bias in the projector (the paper).
    shared_weights
        One network for both views; otherwise one each, and the embedding is the two's mean.
    normal_scores
        Give the networks every number twice: standardised, and as its normal score.
    smooth_clip
        Standard deviations to which numbers are drawn in, smoothly: z becomes
        z / sqrt(1 + (z / c)^2). 0 for none beyond 10 deviations. Counts are left as they are.
    kind
        What the table holds: counts, or numbers and categories as they are ("table"); "auto"
        recognises counts.
    n_top_columns
        Of counts, how many columns to keep, the most variable ones; 0 for all of them, ``"auto"``
        for 1,000.
    thin
        Of counts, the largest share that a view leaves out; a row's share is drawn up to it.
    swap
        Share of entries that a corrupted view takes from another row of the same column; with
        ``sides="auto"`` the share in which the two views differ. Of counts 0.6 times as many are
        masked instead.
    mask
        Share of entries that a view replaces by the column's mean (or the unknown category).
    noise
        Standard deviation of the Gaussian noise that a view adds, in units of the column's own.
    sides
        Whether both views are corrupted, or only the second. ``"auto"`` follows from how much the
        columns tell about each other, see :mod:`vicreg.rules`.
    block_share
        Share of the corrupted rows in which the swapped entries are a block of columns that go
        together, see :mod:`vicreg.companions`; in the others every entry is drawn on its own.
    neighbours
        Near rows of the table that a second view may be made of; 0 for the row itself only.
    near_share
        Share of second views that are made of a near row.
    lam
        Weight of the invariance term.
    mu
        Weight of the variance term.
    nu
        Weight of the covariance term.
    gamma
        Standard deviation that the variance term asks of every dimension.
    eps
        Floor inside the variance term's root.
    steps
        Optimiser steps, at the most.
    batch_size
        Rows in a batch.
    optimizer
        AdamW, Adam or LARS.
    lr
        Peak learning rate.
    betas
        Decay rates of the first and second moment (AdamW, Adam); LARS takes the first as momentum.
    weight_decay
        Decay of weight matrices; never of biases and normalisation.
    warmup
        Share of the steps over which the learning rate rises; after it a cosine leads to zero.
    constant_lr
        Keep the learning rate at its peak after the warm-up.
    clip_norm
        Norm to which the gradient is clipped; 0 for none.
    validation_fraction
        Share of the rows held out to decide when to stop; 0 for none.
    patience
        Evaluations without a better held-out loss before the fit stops; 0 for never.
    """

    n_components: int = 512
    hidden: tuple[int, ...] = (256,)
    projector: tuple[int, ...] = (256, 256, 256)
    detail_share: float | Literal["auto"] = "auto"
    detail_scale: float = 0.1
    detail_power: float | Literal["auto"] = "auto"
    detail_waves: int = 512
    neighbourhood_scale: float | Literal["auto"] = "auto"
    spectrum: float | Literal["auto", "learnt"] = "auto"
    skip: bool = True
    batch_norm: bool = True
    final_relu: bool = False
    shared_weights: bool = True
    normal_scores: bool = False
    smooth_clip: float = 0.0
    kind: Literal["auto", "table", "counts"] = "auto"
    n_top_columns: int | Literal["auto"] = "auto"
    thin: float = 0.8
    swap: float = 0.5
    mask: float = 0.0
    noise: float = 0.0
    sides: Literal["auto", "both", "one"] = "auto"
    block_share: float = 0.0
    neighbours: int = 0
    near_share: float = 0.5
    lam: float = 25.0
    mu: float = 25.0
    nu: float = 0.1
    gamma: float = 1.0
    eps: float = 1e-4
    steps: int = 600
    batch_size: int = 256
    optimizer: Literal["adamw", "adam", "lars"] = "adamw"
    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    warmup: float = 0.1
    constant_lr: bool = False
    clip_norm: float = 10.0
    validation_fraction: float = 0.1
    patience: int = 10

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
        for name, rule in _RULES.items():
            rule(name, getattr(self, name))
        _check_widths("hidden", self.hidden)
        _check_widths("projector", self.projector)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, however: betas={self.betas!r}")
        if self.kind == "counts" and self.normal_scores:
            raise ValueError(
                "normal_scores are of a table's numbers, not of counts, "
                "however: normal_scores=True and kind='counts'"
            )
        if self.kind == "table" and self.n_top_columns not in ("auto", 0):
            raise ValueError(
                "n_top_columns chooses among counts, "
                f"however: n_top_columns={self.n_top_columns} and kind='table'"
            )
        for beta in self.betas:
            number(0, 1, include_high=False)("betas", beta)

    @property
    def most_columns(self) -> int:
        """Columns of counts to keep; 0 for all."""
        return TOP_COLUMNS if isinstance(self.n_top_columns, str) else self.n_top_columns

    @property
    def n_learnt(self) -> int:
        """Components that training makes."""
        if isinstance(self.detail_share, str):
            return min(self.n_components, LEARNT)
        most = max(0, self.n_components - FEWEST_LEARNT)
        return self.n_components - min(round(self.detail_share * self.n_components), most)

    @property
    def n_neighbourhood(self) -> int:
        """Components that draw near rows together."""
        if not self.neighbourhood_scale or not self.shared_weights:
            return 0
        return min(NEIGHBOURHOOD, int(OF_NOT_LEARNT * (self.n_components - self.n_learnt)))

    @property
    def n_details(self) -> int:
        """Components that are details."""
        return self.n_components - self.n_learnt - self.n_neighbourhood

    def as_dict(self) -> dict[str, Any]:
        """Field names and values, ready for JSON."""
        return dataclasses.asdict(self)


def from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name as JSON has them, with the tuples that it does not know.

    Examples
    --------
    >>> from vicreg.config import from_json
    >>> from_json({"hidden": [256], "lr": 0.001})
    {'hidden': (256,), 'lr': 0.001}
    """
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # NOTE[DIFF] The paper's projector has three layers of 8192 units for images; a table's
    # embedding is a twentieth of a ResNet's.
    "paper": {
        "n_components": 128,
        "nu": 1.0,
        "hidden": (512,),
        "projector": (1024, 1024, 1024),
        "detail_share": 0.0,
        "spectrum": "learnt",
        "skip": False,
        "swap": 0.3,
        "sides": "both",
        "steps": 1200,
        "optimizer": "lars",
        "lr": 0.2,
        "weight_decay": 1e-6,
        "clip_norm": 0.0,
    },
    # The research code that the project grew from. NOTE[DIFF] It had no corruption at all, and
    # then both branches see the same rows; so do they here. Its loss is replaced by the exact one.
    "seed": {
        "n_components": 50,
        "hidden": (),
        "projector": (100,),
        "detail_share": 0.0,
        "spectrum": "learnt",
        "skip": False,
        "batch_norm": False,
        "final_relu": True,
        "shared_weights": False,
        "swap": 0.0,
        "sides": "both",
        "nu": 1.0,
        "eps": 0.01,
        "steps": 300,
        "batch_size": 20,
        "optimizer": "adam",
        "lr": 0.01,
        "betas": (0.9, 0.99),
        "weight_decay": 0.0,
        "warmup": 0.0,
        "constant_lr": True,
        "clip_norm": 0.0,
        "validation_fraction": 0.0,
        "patience": 0,
    },
}


def preset(name: str) -> dict[str, Any]:
    """Arguments of a named configuration: ``"default"``, ``"paper"`` or ``"seed"``.

    Raises
    ------
    ValueError
        If there is no such preset.

    Examples
    --------
    >>> from vicreg import VICReg
    >>> from vicreg.config import preset
    >>> VICReg(**preset("seed")).shared_weights
    False
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {sorted(PRESETS)}, however: preset={name!r}")
    return dict(PRESETS[name])


def config_from(values: dict[str, Any]) -> Config:
    """A configuration from stored values; names it does not know are refused.

    What a value is missing of was not there when it was stored.
    """
    missing = {
        "detail_waves": 0,
        "detail_power": 1.0,
        "neighbourhood_scale": 0.0,
        "spectrum": "learnt",
    }
    values = {**missing, **values}
    unknown = sorted(set(values) - {field.name for field in dataclasses.fields(Config)})
    if unknown:
        raise ValueError(f"unknown configuration entries: {', '.join(unknown)}")
    return Config(**values)


class _Rule(Protocol):
    """A check of one value that names the argument, the rule and the value received."""

    def __call__(self, name: str, value: object) -> None: ...


@dataclass(frozen=True)
class _Number:
    low: float
    high: float
    include_low: bool
    include_high: bool
    whole: bool
    optional: bool

    def __call__(self, name: str, value: object) -> None:
        if self.optional and value is None:
            return
        # numpy's scalars are numbers too; True and False are not.
        kind = numbers.Integral if self.whole else numbers.Real
        size = amount(value) if isinstance(value, kind) else math.nan
        within = (
            math.isfinite(size)
            and (size >= self.low if self.include_low else size > self.low)
            and (size <= self.high if self.include_high else size < self.high)
        )
        if not within:
            raise ValueError(f"{name} must be {self._words(value)}, however: {name}={value!r}")

    def _words(self, value: object) -> str:
        noun = "an integer" if self.whole else "a finite number"
        noun = f"None or {noun}" if self.optional else noun
        low = f"{'at least' if self.include_low else 'above'} {self.low:g}"
        # An end that is there for what machines cannot do is told to those who go beyond it.
        is_beyond = isinstance(value, numbers.Real) and amount(value) > self.high
        if self.high in (MOST, MOST_WHOLE, WIDEST, MOST_THREADS) and not is_beyond:
            return f"{noun} {low}"
        return f"{noun} {low} and {'at most' if self.include_high else 'below'} {self.high:.9g}"


def amount(value: object) -> float:
    """A number as a float: infinite where it is too large for one, and NaN of a truth value.

    Examples
    --------
    >>> from vicreg.config import amount
    >>> amount(10**400), amount(True)
    (inf, nan)
    """
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def _plain(value: Any) -> Any:
    """Lists (from JSON, the command line) as tuples, numpy's numbers as Python's."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    return tuple(_plain(one) for one in value) if isinstance(value, list | tuple) else value


def number(
    low: float,
    high: float | None = None,
    *,
    include_low: bool = True,
    include_high: bool = True,
    whole: bool = False,
    optional: bool = False,
) -> _Number:
    """A check of an argument that is a number, Python's or NumPy's; ``optional``: or None.

    Without ``high`` it may be anything that a machine can do with: up to 1e30, or a billion.

    Examples
    --------
    >>> from vicreg.config import number
    >>> number(1, whole=True, optional=True)("n_threads", 0)
    Traceback (most recent call last):
        ...
    ValueError: n_threads must be None or an integer at least 1, however: n_threads=0
    """
    if high is None:
        high = MOST_WHOLE if whole else MOST
    return _Number(low, high, include_low, include_high, whole, optional)


@dataclass(frozen=True)
class _OneOf:
    options: tuple[object, ...]

    def __call__(self, name: str, value: object) -> None:
        if value not in self.options or (True in self.options and not isinstance(value, bool)):
            options = ", ".join(repr(option) for option in self.options)
            raise ValueError(f"{name} must be one of {options}, however: {name}={value!r}")


@dataclass(frozen=True)
class _NumberOr:
    number: _Number
    words: tuple[str, ...]

    def __call__(self, name: str, value: object) -> None:
        if value in self.words:
            return
        try:
            self.number(name, value)
        except ValueError as error:
            words = ", ".join(f'"{word}"' for word in self.words)
            told = str(error).replace("must be", f"must be {words} or", 1)
            raise ValueError(told) from None


_FLAG = _OneOf((True, False))
_RULES: dict[str, _Rule] = {
    "n_components": number(1, WIDEST, whole=True),
    "detail_share": _NumberOr(number(0, 1), ("auto",)),
    "detail_scale": number(0),
    "detail_power": _NumberOr(number(0), ("auto",)),
    "detail_waves": number(0, WIDEST, whole=True),
    "neighbourhood_scale": _NumberOr(number(0), ("auto",)),
    "spectrum": _NumberOr(number(0), ("auto", "learnt")),
    "skip": _FLAG,
    "batch_norm": _FLAG,
    "final_relu": _FLAG,
    "shared_weights": _FLAG,
    "normal_scores": _FLAG,
    "smooth_clip": number(0),
    "kind": _OneOf(("auto", "table", "counts")),
    "n_top_columns": _NumberOr(number(0, whole=True), ("auto",)),
    "thin": number(0, 1, include_high=False),
    "swap": number(0, 1),
    "mask": number(0, 1),
    "noise": number(0),
    "sides": _OneOf(("auto", "both", "one")),
    "block_share": number(0, 1),
    "neighbours": number(0, whole=True),
    "near_share": number(0, 1),
    "lam": number(0),
    "mu": number(0),
    "nu": number(0),
    "gamma": number(0),
    "eps": number(0, include_low=False),
    "steps": number(1, whole=True),
    "batch_size": number(2, whole=True),
    "optimizer": _OneOf(("adamw", "adam", "lars")),
    "lr": number(0, include_low=False),
    "weight_decay": number(0),
    "warmup": number(0, 1),
    "constant_lr": _FLAG,
    "clip_norm": number(0),
    "validation_fraction": number(0, 0.5),
    "patience": number(0, whole=True),
}


def _check_widths(name: str, widths: object) -> None:
    if not isinstance(widths, tuple):
        raise ValueError(f"{name} must be a sequence of widths, however: {name}={widths!r}")
    for width in widths:
        number(1, WIDEST, whole=True)(name, width)
