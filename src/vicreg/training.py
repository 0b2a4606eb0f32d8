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

from vicreg.collapse import Deviations, warn_of_collapse
from vicreg.loss import closed_form_loss
from vicreg.metrics import effective_rank
from vicreg.optim import warmup_cosine
from vicreg.precision import fastest_float32
from vicreg.step import TrainingStep
from vicreg.views import TwoViews

if TYPE_CHECKING:
    from collections.abc import Callable

    from vicreg.config import Config
    from vicreg.loss import LossWeights
    from vicreg.networks import JointEmbedding, Rows
    from vicreg.partners import Partners
    from vicreg.views import Corruption, Layout, ViewMaker

__all__ = ["DivergenceError", "History", "InterruptedWarning", "Moment", "Pulse", "train"]

#: How often a fit looks at itself: terms, held-out loss, effective rank.
EVALUATIONS = 30
#: Rows that decide when to stop, at the most.
MOST_HELD_OUT = 1000
#: Rows that are evaluated at a time, at the least: many small batches would cost many calls.
FEWEST_AT_ONCE = 256
#: Seconds between two signs of life, at the least.
PULSE = 1.0


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


class Pulse(NamedTuple):
    """A sign of life between two evaluations; the loss is the mean since the last of them."""

    step: int
    total: float
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
    """Rows with a fixed set of views: held-out ones, or training rows where there are none.

    The views come in batches of the size that is trained on, or somewhat more, so that their loss
    takes no more memory than a step.
    """

    batches: list[Rows]
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
    near: Partners | None = None,
    held_out_near: Partners | None = None,
    weights: Tensor | None = None,
    make_views: ViewMaker = TwoViews,
    bfloat16: bool = False,
    observe: Callable[[Moment], None] | None = None,
    pulse: Callable[[Pulse], None] | None = None,
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
    near : Partners, optional
        See :class:`vicreg.step.TrainingStep`.
    held_out_near : Partners, optional
        Of the held-out rows.
    weights : Tensor, shape (rows,), optional
    make_views : ViewMaker
    bfloat16 : bool
        See :class:`vicreg.step.TrainingStep`.
    observe : callable, optional
        Told of every :class:`Moment`.
    pulse : callable, optional
        Told where the fit stands, every second or so; what it is told depends on the machine's
        speed, the fit does not.

    Returns
    -------
    History
        With ``stopped == "interrupted"`` after Ctrl-C; the network then holds what was trained.

    Raises
    ------
    DivergenceError
        If the loss is no longer finite.
    """
    trial = _trial(rows, held_out, layout, corrupt, config, generator, held_out_near, make_views)
    at_start = Deviations.of(network, *trial)
    take_step = TrainingStep(
        network,
        rows,
        layout,
        corrupt,
        config,
        generator=generator,
        near=near,
        weights=weights,
        make_views=make_views,
        bfloat16=bfloat16,
    )
    every = max(1, config.steps // EVALUATIONS)
    history = History()
    watch = _Watch(config.patience if held_out is not None else 0)
    started = beat = time.perf_counter()
    network.train()
    with fastest_float32(2 * config.batch_size * network.largest_layer):
        for step in range(1, config.steps + 1):
            try:
                factor = warmup_cosine(
                    step - 1, config.steps, config.warmup, constant=config.constant_lr
                )
                take_step(factor)
                if step % every and step != config.steps:
                    if pulse is not None and time.perf_counter() - beat >= PULSE:
                        beat = time.perf_counter()
                        pulse(Pulse(step, take_step.mean_terms()[0], beat - started))
                    continue
                terms = take_step.mean_terms()
                take_step.forget_terms()
                if not math.isfinite(terms[0]):
                    raise DivergenceError(_advice(step, config))
                held_out_loss, rank = _evaluate(network, trial, take_step.weights)
                network.train()
                moment = Moment(
                    step,
                    *terms,
                    held_out=held_out_loss,
                    effective_rank=rank,
                    lr=config.lr * factor,
                    seconds=time.perf_counter() - started,
                )
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
        take_step.finish()
        history.best_step = watch.settle(network, history)
    network.eval()
    ranks = [moment.effective_rank for moment in history.moments]
    warn_of_collapse(at_start, Deviations.of(network, *trial), ranks, config)
    return history


def _trial(
    rows: Rows,
    held_out: Rows | None,
    layout: Layout,
    corrupt: Corruption,
    config: Config,
    generator: torch.Generator,
    near: Partners | None,
    make_views: ViewMaker,
) -> _Trial:
    chosen = rows.take(slice(0, MOST_HELD_OUT)) if held_out is None else held_out
    size = min(max(config.batch_size, FEWEST_AT_ONCE), len(chosen))
    starts = range(0, len(chosen) - size + 1, size)
    batches = [
        make_views(chosen, layout, corrupt, size, generator, sides=config.sides, near=near)(
            torch.arange(start, start + size, device=rows.numbers.device)
        )
        for start in starts
    ]
    return _Trial(batches, chosen)


@torch.no_grad()
def _evaluate(network: JointEmbedding, trial: _Trial, weights: LossWeights) -> tuple[float, float]:
    """Mean loss of the fixed views, and the effective rank of their rows' embedding."""
    network.eval()
    losses = []
    for views in trial.batches:
        z1, z2 = network(views)
        losses.append(closed_form_loss(z1, z2, weights).total)
    loss = float(torch.stack(losses).mean())
    embedding = network.learnt(trial.rows)
    finite = bool(torch.isfinite(embedding).all())
    rank = effective_rank(embedding.cpu().numpy()) if finite else 0.0
    return loss if math.isfinite(loss) else math.inf, rank


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
    return f"the loss became NaN or infinite by step {step} of {config.steps}. Try {advice}"
