"""The training loop. It knows nothing of files, frames or the command line."""

from __future__ import annotations

import copy
import math
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from vicreg.batches import mixed_batches
from vicreg.collapse import Deviations, warn_of_collapse
from vicreg.history import History, Moment, Pulse
from vicreg.loss import closed_form_loss
from vicreg.metrics import effective_rank
from vicreg.optim import warmup_cosine
from vicreg.precision import fastest_float32
from vicreg.stack import WORK_FOR_STACKS, StackedStep, likeness
from vicreg.step import TrainingStep
from vicreg.views import TwoViews

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from vicreg.config import Config
    from vicreg.loss import LossWeights
    from vicreg.networks import JointEmbedding, Rows
    from vicreg.partners import Partners
    from vicreg.views import Corruption, Layout, ViewMaker

__all__ = [
    "DivergenceError",
    "InterruptedWarning",
    "Job",
    "train",
    "train_together",
]

#: How often a fit looks at itself: terms, held-out loss, effective rank.
EVALUATIONS = 30
#: The same in a stack, where nobody watches and no held-out rows decide: a look takes as long as
#: ten of a small network's steps.
EVALUATIONS_UNSEEN = 5
#: Rows that decide when to stop, at the most.
MOST_HELD_OUT = 1000
#: Rows that are evaluated at a time, about, at the least: many small batches would cost many calls.
FEWEST_AT_ONCE = 256
#: Seconds between two signs of life, at the least.
PULSE = 1.0


class InterruptedWarning(UserWarning):
    """A fit was stopped from the keyboard; what was trained so far is kept."""


class DivergenceError(ArithmeticError):
    """The loss became NaN or infinite, with advice."""


class _Trial(NamedTuple):
    """Rows with a fixed set of views: held-out ones, or training rows where there are none.

    The views come in batches of about the size that is trained on, or somewhat more, so that their
    loss takes no more memory than a step. All batches are of nearly one size: their mean is the
    rows'.
    """

    batches: list[Rows]
    rows: Rows


@dataclass(frozen=True)
class Job:
    """A network and what to train it on.

    Parameters
    ----------
    network : JointEmbedding
        Trained in place; on the device of the rows.
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
    typical : Rows, optional
        Rows that stand for all where these have weights, see :func:`vicreg.draws.typical_rows`.
    make_views : ViewMaker
    bfloat16 : bool
        See :class:`vicreg.step.TrainingStep`.
    """

    network: JointEmbedding
    rows: Rows
    held_out: Rows | None
    layout: Layout
    corrupt: Corruption
    config: Config
    generator: torch.Generator
    near: Partners | None = None
    held_out_near: Partners | None = None
    weights: Tensor | None = None
    typical: Rows | None = None
    make_views: ViewMaker = TwoViews
    bfloat16: bool = False

    @property
    def rows_to_finish(self) -> Rows:
        """What follows training is worked out from these."""
        return self.rows if self.typical is None else self.typical

    @property
    def work(self) -> int:
        """Multiplications of a step's largest product."""
        return 2 * self.config.batch_size * self.network.largest_layer


def train(
    job: Job,
    *,
    observe: Callable[[Moment], None] | None = None,
    pulse: Callable[[Pulse], None] | None = None,
    whole: bool = False,
) -> History:
    """Train a network in place, by the VICReg loss of two views of every row.

    Parameters
    ----------
    job : Job
    observe : callable, optional
        Told of every :class:`Moment`.
    pulse : callable, optional
        Told where the fit stands, every second or so; what it is told depends on the machine's
        speed, the fit does not.
    whole : bool
        Half a fit is of no use: Ctrl-C goes through.

    Returns
    -------
    History
        With ``stopped == "interrupted"`` after Ctrl-C; the network then holds what was trained.

    Raises
    ------
    DivergenceError
        If the loss is no longer finite.
    KeyboardInterrupt
        After Ctrl-C, if the fit must be whole or nothing is trained yet.
    """
    course = _Course(job, EVALUATIONS, observe)
    failed = _take_all([course], pulse, whole=whole)
    if failed:
        raise failed[course]
    return course.history


def train_together(
    jobs: Sequence[Job], *, pulse: Callable[[Pulse], None] | None = None
) -> list[History | DivergenceError]:
    """:func:`train` small networks, those that are alike in one stack of steps.

    Parameters
    ----------
    jobs : sequence of Job
    pulse : callable, optional
        As of :func:`train`; of each stack the first network's.

    Returns
    -------
    list of History or DivergenceError
        One for each job: a network that diverges does not keep the others from their end.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C.
    """
    unseen = all(job.held_out is None for job in jobs)
    courses = [_Course(job, EVALUATIONS_UNSEEN if unseen else EVALUATIONS) for job in jobs]
    stacks: dict[Hashable, list[_Course]] = {}
    for place, course in enumerate(courses):
        alike = likeness(course.take_step)
        key = place if alike is None else (alike, course.job.config.steps)
        stacks.setdefault(key, []).append(course)
    failed: dict[_Course, DivergenceError] = {}
    for stack in stacks.values():
        failed |= _take_all(stack, pulse, whole=True)
    return [failed.get(course, course.history) for course in courses]


class _Course:
    """One network's training: what is known of it beside its steps."""

    def __init__(
        self,
        job: Job,
        evaluations: int,
        observe: Callable[[Moment], None] | None = None,
    ) -> None:
        self.job, self._observe = job, observe
        self._trial = _trial(job)
        self._at_start = Deviations.of(job.network, *self._trial)
        self.take_step = TrainingStep(
            job.network,
            job.rows,
            job.layout,
            job.corrupt,
            job.config,
            generator=job.generator,
            near=job.near,
            weights=job.weights,
            make_views=job.make_views,
            bfloat16=job.bfloat16,
        )
        self.history = History()
        self._watch = _Watch(job.config.patience if job.held_out is not None else 0)
        self._every = max(1, job.config.steps // evaluations)
        job.network.train()

    def factor(self, step: int) -> float:
        """What the peak learning rate is multiplied by."""
        config = self.job.config
        return warmup_cosine(step - 1, config.steps, config.warmup, constant=config.constant_lr)

    def is_evaluated(self, step: int) -> bool:
        """Whether the fit looks at itself after a step."""
        return step % self._every == 0 or step == self.job.config.steps

    def should_stop(self, step: int, seconds: float) -> bool:
        """Evaluate, and say whether held-out rows ask for an end.

        Raises
        ------
        DivergenceError
            If the loss is no longer finite.
        """
        network, config = self.job.network, self.job.config
        terms = self.take_step.mean_terms()
        self.take_step.forget_terms()
        held_out_loss, rank = _evaluate(network, self._trial, self.take_step.weights)
        # The terms are of before the last update, which may be the one that diverged.
        if not math.isfinite(terms[0] + held_out_loss):
            raise DivergenceError(_advice(step, config))
        network.train()
        moment = Moment(
            step,
            *terms,
            held_out=held_out_loss,
            effective_rank=rank,
            lr=config.lr * self.factor(step),
            seconds=seconds,
        )
        self.history.moments.append(moment)
        self.history.last_step = step
        if self._observe is not None:
            self._observe(moment)
        if self._watch.should_stop(moment, network) and step < config.steps:
            self.history.stopped = "early"
        return self.history.stopped == "early"

    def settle(self) -> None:
        """Go back to the best weights, and warn of a collapse."""
        network = self.job.network
        self.history.best_step = self._watch.settle(network, self.history)
        network.eval()
        ranks = [moment.effective_rank for moment in self.history.moments]
        after = Deviations.of(network, *self._trial)
        warn_of_collapse(self._at_start, after, ranks, self.job.config)


def _take_all(
    courses: list[_Course], pulse: Callable[[Pulse], None] | None, *, whole: bool
) -> dict[_Course, DivergenceError]:
    """All steps of one course, or of several that are alike; those that diverged, and why."""
    first, running = courses[0], list(courses)
    steps = [course.take_step for course in courses]
    is_small = first.job.work <= WORK_FOR_STACKS and likeness(first.take_step) is not None
    stack = StackedStep(steps) if len(courses) > 1 or is_small else None
    failed: dict[_Course, DivergenceError] = {}
    started = beat = time.perf_counter()
    with fastest_float32(max(course.job.work for course in courses)):
        for step in range(1, first.job.config.steps + 1):
            try:
                if stack is None:
                    first.take_step(first.factor(step))
                else:
                    stack([course.factor(step) for course in courses])
                now = time.perf_counter()
                if not first.is_evaluated(step):
                    if pulse is not None and now - beat >= PULSE:
                        beat = now
                        pulse(Pulse(step, first.take_step.mean_terms()[0], beat - started))
                    continue
                for course in list(running):
                    try:
                        if not course.should_stop(step, now - started):
                            continue
                    except DivergenceError as error:
                        failed[course] = error
                    running.remove(course)
                    if stack is not None:
                        stack.draw_no_more(course.take_step)
                if not running:
                    break
            except KeyboardInterrupt:
                if step == 1 or whole:
                    raise
                first.history.stopped, first.history.last_step = "interrupted", step
                warnings.warn(
                    f"interrupted at step {step} of {first.job.config.steps}: the model keeps "
                    "what it has learnt so far",
                    InterruptedWarning,
                    stacklevel=2,
                )
                break
        if stack is None:
            first.take_step.finish()
        else:
            stack.finish()
        for course in courses:
            if course not in failed:
                course.settle()
    return failed


def _trial(job: Job) -> _Trial:
    device = job.rows.numbers.device
    chosen = job.held_out
    if chosen is None:
        chosen = job.rows.sample(MOST_HELD_OUT, torch.Generator(device).manual_seed(0))
    most = max(job.config.batch_size, FEWEST_AT_ONCE)
    batches = [
        job.make_views(
            chosen,
            job.layout,
            job.corrupt,
            len(positions),
            job.generator,
            sides=job.config.sides,
            near=job.held_out_near,
        )(positions)
        for positions in mixed_batches(len(chosen), most, device)
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
        if not self.weights or self.best_step == history.last_step:
            return history.last_step
        network.load_state_dict(self.weights)
        return self.best_step


def _advice(step: int, config: Config) -> str:
    advice = f"a learning rate below lr={config.lr:g}"
    if not config.clip_norm:
        advice += ", gradient clipping (clip_norm=10)"
    if not config.batch_norm:
        advice += ", batch_norm=True"
    return f"the loss became NaN or infinite by step {step} of {config.steps}. Try {advice}"
