"""The training loop. It knows nothing of files, frames or the command line."""

from __future__ import annotations

import copy
import math
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vicreg.batches import permuted_batches
from vicreg.loss import vicreg_loss
from vicreg.matmul import fastest_float32, onednn_is_exact
from vicreg.metrics import effective_rank
from vicreg.networks import Rows
from vicreg.optim import build_optimizer, warmup_cosine
from vicreg.views import Sample, two_views

if TYPE_CHECKING:
    from collections.abc import Callable

    from vicreg.config import Config
    from vicreg.networks import JointEmbedding
    from vicreg.views import Corruption, Layout

__all__ = ["CollapseWarning", "DivergenceError", "History", "InterruptedWarning", "Moment", "train"]

#: How often a fit looks at itself: terms, held-out loss, effective rank.
EVALUATIONS = 30


class CollapseWarning(UserWarning):
    """The embedding has lost dimensions, with the likely cause."""


class InterruptedWarning(UserWarning):
    """A fit was stopped from the keyboard; what was trained so far is kept."""


class DivergenceError(ArithmeticError):
    """The loss became NaN or infinite, with advice."""


class Moment(NamedTuple):
    """What is known at one evaluation during a fit; terms are means since the one before."""

    step: int
    total: float
    invariance: float
    variance: float
    covariance: float
    held_out: float
    effective_rank: float
    lr: float
    seconds: float


@dataclass
class History:
    """The course of a fit."""

    moments: list[Moment] = field(default_factory=list)
    stopped: Literal["finished", "early", "interrupted"] = "finished"
    best_step: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Columns by name, ready for JSON or a frame."""
        columns = {
            name: [getattr(moment, name) for moment in self.moments] for name in Moment._fields
        }
        return {**columns, "stopped": self.stopped, "best_step": self.best_step}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> History:
        """The inverse of :meth:`as_dict`."""
        columns = [document[name] for name in Moment._fields]
        moments = [Moment(*values) for values in zip(*columns, strict=True)]
        return cls(moments, document["stopped"], document["best_step"])


class _Trial(NamedTuple):
    """Held-out rows with a fixed set of views, or the training rows' own where there are none."""

    views: tuple[Rows, Rows]
    rows: Rows


def train(
    network: JointEmbedding,
    rows: Rows,
    held_out: Rows | None,
    layout: Layout,
    corrupt: Corruption,
    config: Config,
    *,
    generator: torch.Generator,
    observe: Callable[[Moment], None] | None = None,
) -> History:
    """Train a network in place, by the VICReg loss of two views of every row.

    Parameters
    ----------
    network : JointEmbedding
        On the device of the rows.
    rows : Rows
        Training rows, all in memory.
    held_out : Rows or None
        Rows that decide when to stop. Their views are drawn once.
    layout : Layout
        The table's columns, for the corruption.
    corrupt : Corruption
    config : Config
        Loss, optimiser and schedule. ``batch_size`` is at most the number of rows.
    generator : torch.Generator
        The only source of randomness, on the device of the rows.
    observe : callable, optional
        Told of every :class:`Moment`.

    Returns
    -------
    History
        With ``stopped == "interrupted"`` after Ctrl-C; the network then holds what was trained.

    Raises
    ------
    DivergenceError
        If the loss is no longer finite.
    """
    optimizer = build_optimizer(
        network,
        config.optimizer,
        lr=config.lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
    )
    parameters = [parameter for parameter in network.parameters() if parameter.numel()]
    trial = _trial(rows, held_out, layout, corrupt, config, generator)
    at_start = _deviations(network, trial)
    batches = permuted_batches(len(rows), config.batch_size, generator)
    weights = {name: getattr(config, name) for name in ("lam", "mu", "nu", "gamma", "eps")}
    every = max(1, config.steps // EVALUATIONS)
    history = History()
    watch = _Watch(config.patience if held_out is not None else 0)
    started = time.perf_counter()
    sums = torch.zeros(4, device=rows.numbers.device)
    since = 0

    network.train()
    with fastest_float32(2 * config.batch_size * network.largest_layer):
        for step in range(1, config.steps + 1):
            try:
                factor = warmup_cosine(
                    step - 1, config.steps, config.warmup, constant=config.constant_lr
                )
                for group in optimizer.param_groups:
                    group["lr"] = config.lr * factor
                sample = Sample(rows, next(batches), layout)
                view1, view2 = two_views(sample, corrupt, generator, sides=config.sides)
                try:
                    z1, z2 = network(view1, view2)
                    terms = vicreg_loss(z1, z2, **weights)
                except ValueError as error:
                    raise DivergenceError(_advice(step, config)) from error
                optimizer.zero_grad(set_to_none=True)
                terms.total.backward()  # type: ignore[no-untyped-call]
                if config.clip_norm:
                    nn.utils.clip_grad_norm_(parameters, config.clip_norm)
                optimizer.step()
                sums += torch.stack(terms).detach()
                since += 1
                if step % every and step != config.steps:
                    continue
                total, invariance, variance, covariance = (sums / since).tolist()
                held_out_loss, rank = _evaluate(network, trial, weights)
                network.train()
                moment = Moment(
                    step,
                    total,
                    invariance,
                    variance,
                    covariance,
                    held_out=held_out_loss,
                    effective_rank=rank,
                    lr=config.lr * factor,
                    seconds=time.perf_counter() - started,
                )
                sums.zero_()
                since = 0
                history.moments.append(moment)
                if observe is not None:
                    observe(moment)
                if watch.should_stop(moment, network):
                    history.stopped = "early"
                    break
            except KeyboardInterrupt:
                if step == 1:
                    raise
                history.stopped = "interrupted"
                warnings.warn(
                    f"interrupted at step {step} of {config.steps}: the model keeps what it has "
                    "learnt so far",
                    InterruptedWarning,
                    stacklevel=2,
                )
                break
        history.best_step = watch.settle(network, history)
    network.eval()
    _warn_of_collapse(at_start, _deviations(network, trial), history, config)
    return history


@torch.no_grad()
def embed(network: JointEmbedding, rows: Rows, *, block: int = 256) -> Tensor:
    """Embeddings of rows (n, k), in blocks of one fixed size.

    A matrix product may round a row differently in a larger or smaller matrix. With every block of
    the same size, the last one filled up, and in a library that treats all rows of a block alike,
    a row's embedding is the same to the bit whatever the other rows of the call are. Where there is
    no such library the products are done in float64, whose rounding is gone in float32.
    """
    network.eval()
    on_cpu = rows.numbers.device.type == "cpu"
    dtype = torch.float64 if on_cpu and not onednn_is_exact() else torch.float32
    if dtype == torch.float64:
        network = copy.deepcopy(network).double()
    outputs = []
    with fastest_float32(math.inf):
        for start in range(0, len(rows), block):
            part = rows.take(slice(start, start + block))
            missing = block - len(part)
            part = Rows(
                nn.functional.pad(part.numbers.to(dtype), (0, 0, 0, missing)),
                nn.functional.pad(part.codes, (0, 0, 0, missing)),
            )
            outputs.append(network.embed(part)[: block - missing].float())
    return torch.cat(outputs)


def _trial(
    rows: Rows,
    held_out: Rows | None,
    layout: Layout,
    corrupt: Corruption,
    config: Config,
    generator: torch.Generator,
) -> _Trial:
    """A fixed set of views: of the held-out rows, or of at most a thousand training rows."""
    chosen = rows.take(slice(0, 1000)) if held_out is None else held_out
    index = torch.arange(len(chosen), device=rows.numbers.device)
    views = two_views(Sample(chosen, index, layout), corrupt, generator, sides=config.sides)
    return _Trial(views, chosen)


@torch.no_grad()
def _evaluate(
    network: JointEmbedding, trial: _Trial, weights: dict[str, float]
) -> tuple[float, float]:
    """Loss of the fixed views, and the effective rank of their rows' embedding."""
    network.eval()
    try:
        z1, z2 = network(*trial.views)
        loss = float(vicreg_loss(z1, z2, **weights).total)
    except ValueError:
        loss = float("inf")
    embedding = network.embed(trial.rows)
    finite = bool(torch.isfinite(embedding).all())
    rank = effective_rank(embedding[:1000].cpu().numpy()) if finite else 0.0
    return loss, rank


class _Watch:
    """Keeps the best weights by held-out loss, and says when to stop."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best = float("inf")
        self.best_step = 0
        self.weights: dict[str, Tensor] = {}
        self.worse = 0

    def should_stop(self, moment: Moment, network: nn.Module) -> bool:
        if not self.patience:
            return False
        if moment.held_out < self.best:
            self.best, self.best_step, self.worse = moment.held_out, moment.step, 0
            self.weights = copy.deepcopy(network.state_dict())
            return False
        self.worse += 1
        return self.worse >= self.patience

    def settle(self, network: nn.Module, history: History) -> int:
        """Go back to the best weights; returns their step."""
        last = history.moments[-1].step if history.moments else 0
        if not self.weights or self.best_step == last:
            return last
        network.load_state_dict(self.weights)
        return self.best_step


def _advice(step: int, config: Config) -> str:
    advice = f"a learning rate below lr={config.lr:g}"
    if not config.clip_norm:
        advice += ", gradient clipping (clip_norm=10)"
    if not config.batch_norm:
        advice += ", batch_norm=True"
    return f"the loss became NaN or infinite at step {step} of {config.steps}. Try {advice}"


class _Deviations(NamedTuple):
    """Standard deviation of every dimension over the fixed views' rows."""

    projection: Tensor
    embedding: Tensor


@torch.no_grad()
def _deviations(network: JointEmbedding, trial: _Trial) -> _Deviations:
    network.eval()
    return _Deviations(network(*trial.views)[0].std(dim=0), network.embed(trial.rows).std(dim=0))


def _warn_of_collapse(
    at_start: _Deviations, at_end: _Deviations, history: History, config: Config
) -> None:
    if not history.moments:
        return
    findings = []
    for name, before, after in zip(_Deviations._fields, at_start, at_end, strict=True):
        # The loss gives the projection its scale; the embedding's is its own.
        is_projection = name == "projection"
        floor = 0.05 * (config.gamma or 1.0) if is_projection else 1e-3 * float(after.median())
        # What was as small at the start has not died in the fit: a short one leaves it so.
        dead = int(((after < floor) & (after < before / 2)).sum())
        if dead > len(after) // 10:
            findings.append(f"{dead} of {len(after)} dimensions of the {name} are dead")
    ranks = [moment.effective_rank for moment in history.moments]
    if ranks[-1] < 0.5 * ranks[0] and ranks[-1] < 0.1 * config.n_components:
        findings.append(f"its effective rank fell from {ranks[0]:.1f} to {ranks[-1]:.1f}")
    if not findings:
        return
    message = f"the embedding collapses: {'; '.join(findings)}. {_cause(config)}"
    warnings.warn(message, CollapseWarning, stacklevel=2)


def _cause(config: Config) -> str:
    if config.mu == 0 or config.gamma == 0:
        return (
            f"Nothing keeps dimensions apart: the variance term is off (mu={config.mu:g}, "
            f"gamma={config.gamma:g})"
        )
    if config.mu < 0.2 * config.lam:
        return (
            f"The variance term is weak beside the invariance: mu={config.mu:g}, "
            f"lam={config.lam:g}; the paper takes them equal"
        )
    if config.final_relu:
        return "A ReLU on the last layer can switch units off for good: try final_relu=False"
    if config.nu == 0:
        return "Nothing decorrelates dimensions: the covariance term is off (nu=0)"
    if config.swap + config.mask + config.noise > 0.9:
        return (
            f"The views have little in common: swap={config.swap:g}, mask={config.mask:g}, "
            f"noise={config.noise:g}; try weaker corruption"
        )
    return f"The learning rate may be too high: lr={config.lr:g}"
