"""One study's trials: what is asked, what a trial does, and the loop that begins them."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState

from vicreg import __version__
from vicreg.config import Config
from vicreg.fingerprint import fingerprint
from vicreg.holdout import check_groups
from vicreg.objectives import OBJECTIVES, Bench, Fits, fit_all, objectives_named
from vicreg.per_row import NOTHING_TOLD, PerRow, checked_weights
from vicreg.preparation import device_named
from vicreg.search_space import (
    AFTER_TRAINING,
    as_document,
    draw,
    largest,
    search_space,
    settings_of,
    values_of,
)
from vicreg.stack import SAME
from vicreg.studies import (
    MAKING,
    OWNER,
    give_back,
    halving,
    is_url,
    open_storage,
    open_study,
    owner,
    queue_again,
    quiet_optuna,
    release_dead,
    sampler_for,
)
from vicreg.table import TableEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from optuna.study import Study
    from optuna.trial import Trial

    from vicreg.history import Pulse
    from vicreg.search_space import Space
    from vicreg.sources import Source

__all__ = ["Plan", "Tickets", "at_once", "begin", "plan", "work"]

#: A fit is looked at for pruning after 1/9, 3/9 and 6/9 of its steps.
RUNGS = 9
LOOKED_AT = (1, 3, 6)
FEWEST_ROWS = 10
#: Trials whose networks are trained at once, at the most: samplers draw as many at random before
#: they learn from any.
MOST_TOGETHER = 10
#: Multiplications of a step's largest product up to which that pays: ten networks then take a third
#: of their time (``benchmarks/stacked.py``), which is less than pruning would leave of it.
WORK_FOR_STACKS = 500_000
DEFAULT_WITH_LABELS, DEFAULT_WITHOUT = "silhouette", "seed_agreement"


class Plan(NamedTuple):
    """A study's arguments, checked; the same in every process that works on it."""

    source: Source
    labels: NDArray[np.intp] | None
    #: Groups and weights of all rows.
    told: PerRow
    space: Space
    fixed: dict[str, Any]
    objectives: tuple[str, ...]
    seed: int
    device: str
    prune: bool
    #: Of the table, see :func:`vicreg.fingerprint.fingerprint`.
    data: dict[str, Any]
    #: How many trials may be begun at once.
    together: int = 1

    @property
    def document(self) -> dict[str, Any]:
        """What makes trials comparable, kept with the study."""
        return {
            "space": as_document(self.space, self.fixed),
            "objectives": list(self.objectives),
            "seed": self.seed,
            "data": self.data,
            "version": __version__,
        }


def plan(
    source: Source,
    labels: NDArray[np.intp] | None,
    told: PerRow = NOTHING_TOLD,
    *,
    objective: str | Sequence[str] | None,
    space: Mapping[str, object] | None,
    fixed: Mapping[str, object] | None,
    seed: int,
    device: str,
    prune: bool,
    only: bool = False,
    data: dict[str, Any] | None = None,
) -> Plan:
    """Check everything that can be checked before the first trial; ``data`` is known already."""
    n_rows = source.shape[0]
    if n_rows < FEWEST_ROWS:
        raise ValueError(
            f"tuning needs at least {FEWEST_ROWS} rows, to fit some and judge by others, "
            f"however: {n_rows}"
        )
    if objective is None:
        objective = DEFAULT_WITHOUT if labels is None else DEFAULT_WITH_LABELS
    names = _names(objective)
    chosen = objectives_named(names, labelled=labels is not None)
    searched, kept = search_space(space, fixed, only=only)
    # Half-trained, trials that differ in what follows are all alike: there is nothing to prune by.
    prune = prune and not AFTER_TRAINING.issuperset(searched)
    if told.groups is not None:
        check_groups(told.groups)
    bench = Bench(source, labels, seed=seed, told=told)
    if bench.told.weights is not None:
        checked_weights(bench.told.weights, len(bench.train))  # of those that are left
    if any("blind" in one.fits for one in chosen):
        _ = bench.hidden  # refuses a table of too few columns
    if labels is not None and any(one.needs_labels for one in chosen):
        for rows, noun in zip(
            bench.labelled, ("that probes learn from", "that are judged"), strict=True
        ):
            of = labels[bench.train if noun == "that probes learn from" else bench.test][rows]
            if len(np.unique(of)) < 2:
                raise ValueError(
                    f"y has too few labels: the rows {noun} hold {len(np.unique(of))} class(es). "
                    "Label more rows, or tune without labels"
                )
        judged = labels[bench.test][bench.labelled[1]]
        if len(np.unique(judged)) == len(judged):
            raise ValueError(
                f"y must have classes of several rows, however: the {len(judged)} rows that are "
                "judged are of a class each. Give a column of classes, not of names or numbers"
            )
    data = _fingerprint(source, labels, told) if data is None else data
    together = _together(bench, searched, kept, device)
    return Plan(source, labels, told, searched, kept, names, seed, device, prune, data, together)


def _names(objective: object) -> tuple[str, ...]:
    """The objectives' names, of one or of several."""
    names = (objective,) if isinstance(objective, str) else objective
    if not isinstance(names, Iterable) or isinstance(names, Mapping):
        raise TypeError(
            "objective must be a name or a list of names, "
            f"however: objective={objective!r}; choose among {', '.join(OBJECTIVES)}"
        )
    return tuple(names)


def at_once(of: Plan, storage: str | Path | None, sampler: str) -> int:
    """How many of a plan's trials are begun at once.

    In a database one: it finds a dead worker's trial by its heartbeats, which a trial has alone.
    With a Gaussian process too: to draw beside trials whose scores are not known takes it longer
    than such trials do.
    """
    in_database = storage is not None and is_url(storage)
    return 1 if in_database or sampler == "gp" else of.together


class Tickets:
    """How many trials may still begin, and until when; the first one may in any case.

    ``takers`` is the number of those who ask for them: none gets more than its share of what is
    left.
    """

    def __init__(self, count: int, until: float | None = None, takers: int = 1) -> None:
        self.left, self._takers, self._any_taken = count, takers, False
        self._until = math.inf if until is None else until

    def take(self, most: int = 1) -> int:
        """How many trials may begin now, of so many that are wanted."""
        if time.monotonic() >= self._until:
            most = 0 if self._any_taken else 1
        count = min(most, math.ceil(self.left / self._takers))
        self.left -= count
        self._any_taken = True
        return count

    def give_back(self, count: int) -> None:
        """Trials were begun and not ended."""
        self.left += count


def work(
    of: Plan,
    study: Study,
    take: Callable[[int], int],
    *,
    together: int,
    n_threads: int | None,
    told: Callable[[Study], None] | None = None,
) -> None:
    """Begin trials of a study, up to ``together`` at once, as long as there are tickets.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        After Ctrl-C, or a signal that was made an exit; trials at hand go back to the queue.
    """
    bench = Bench(of.source, of.labels, seed=of.seed, told=of.told)
    run = _TrialRun(of, bench, n_threads, None if told is None else lambda: told(study))
    while count := take(together):
        try:
            with quiet_optuna():
                if count == 1:
                    study.optimize(run, n_trials=1, catch=(Exception,))
                else:
                    run.together(study, count)
        except (KeyboardInterrupt, SystemExit):
            with quiet_optuna():
                for number in run.at_hand:
                    if not give_back(study, number, "interrupted"):
                        queue_again(study, number, "interrupted")
            raise
        if told is not None:
            told(study)


class _TrialRun:
    """What a trial does: a configuration, its fits, its scores."""

    def __init__(
        self,
        of: Plan,
        bench: Bench,
        n_threads: int | None,
        told: Callable[[], None] | None,
    ) -> None:
        self.plan, self.bench, self.n_threads, self.told = of, bench, n_threads, told
        self.objectives = [OBJECTIVES[name] for name in of.objectives]
        #: The numbers of trials that are begun and not ended.
        self.at_hand: list[int] = []
        self.prunes = of.prune and len(self.objectives) == 1 and len(self.objectives[0].fits) == 1

    def __call__(self, trial: Trial) -> tuple[float, ...]:
        """One trial, cut short where it is hopeless; Optuna records how it ends."""
        self.at_hand = [trial.number]
        started = time.perf_counter()
        try:
            scores = self._scores(self._fits(trial, prunes=self.prunes))
        except optuna.TrialPruned:
            raise
        except Exception as error:
            _name_cause(trial, error)
            raise
        finally:
            trial.set_user_attr("seconds", round(time.perf_counter() - started, 3))
        self.at_hand = []
        return scores

    def together(self, study: Study, count: int) -> None:
        """So many trials, whose networks are trained at once; none of them is pruned."""
        started = time.perf_counter()
        self.at_hand = []  # without one that failed alone before
        begun: list[tuple[Trial, Fits | Exception]] = []
        for _ in range(count):
            trial = study.ask()
            self.at_hand.append(trial.number)
            try:
                begun.append((trial, self._fits(trial)))
            except Exception as error:
                begun.append((trial, error))
        fit_all([fits for _, fits in begun if isinstance(fits, Fits)], self.objectives)
        for trial, fits in begun:
            scores: tuple[float, ...] | None = None
            try:
                if isinstance(fits, Exception):
                    raise fits
                scores = self._scores(fits)
            except Exception as error:
                _name_cause(trial, error)
            trial.set_user_attr("seconds", round((time.perf_counter() - started) / count, 3))
            study.tell(trial, scores, state=None if scores else TrialState.FAIL)
            self.at_hand.remove(trial.number)
            if self.told is not None:
                self.told()

    def _fits(self, trial: Trial, *, prunes: bool = False) -> Fits:
        """A trial's configuration, ready to be fitted."""
        trial.set_user_attr(OWNER, owner())
        settings = settings_of({**draw(self.plan.space, trial), **self.plan.fixed})
        trial.set_user_attr("settings", settings)
        # The default is what all others are measured by: it runs to its end.
        prunes = prunes and "default" not in trial.user_attrs
        return Fits(
            self.bench,
            Config(**settings),
            seed=self.plan.seed,
            n_threads=self.n_threads,
            device=self.plan.device,
            observe=self._pruning(trial) if prunes else None,
            pulse=self._pulse,
        )

    def _pulse(self, _: Pulse) -> None:
        if self.told is not None:
            self.told()

    def _scores(self, fits: Fits) -> tuple[float, ...]:
        scores = tuple(objective.score(fits) for objective in self.objectives)
        for name, score in zip(self.plan.objectives, scores, strict=True):
            if not math.isfinite(score):
                raise ArithmeticError(
                    f"{name} is {score}: the embedding does not vary, or has too few dimensions or "
                    "rows for it"
                )
        return scores

    def _pruning(self, trial: Trial) -> Callable[[Fits, float], None]:
        (objective,) = self.objectives
        left = list(LOOKED_AT)

        def look(unfinished: Fits, share: float) -> None:
            if not left or share < left[0] / RUNGS or share >= 1:
                return
            rung = left.pop(0)
            trial.report(objective.score(unfinished), rung)
            if trial.should_prune():
                raise optuna.TrialPruned

        return look


def begin(
    of: Plan,
    storage: str | Path | None,
    study_name: str,
    *,
    sampler: str,
    n_trials: int,
    is_worker: bool = False,
) -> Study:
    """The plan's study, made with the default configuration first in its queue, or resumed.

    Where the space does not hold the default, the point nearest to it is taken.
    """
    with quiet_optuna():
        opened, is_new = open_study(
            open_storage(storage), study_name, of.document, n_objectives=len(of.objectives)
        )
        if not is_new:
            _wait_for_first(opened)
        trials = opened.get_trials(deepcopy=False)
        # Who joins or resumes a study must not draw what has been drawn from the seed already.
        seed = of.seed if is_new else _mixed(of.seed, len(trials), owner())
        if sampler == "auto" and at_once(of, storage, sampler) > 1:
            sampler = "tpe"
        opened.sampler = sampler_for(sampler, n_trials, len(of.objectives), seed)
        opened.pruner = halving(enabled=of.prune)
        has_default = any("default" in trial.user_attrs for trial in trials)
        if not has_default:
            inside = values_of(Config(**settings_of(of.fixed)), of.space)
            opened.enqueue_trial(inside, user_attrs={"default": True})
        if not is_worker:
            release_dead(opened)
    return opened


def _wait_for_first(study: Study) -> None:
    """Whoever made a study puts the default into its queue; unless it died in between."""
    until = time.monotonic() + MAKING
    while not study.get_trials(deepcopy=False) and time.monotonic() < until:
        time.sleep(0.05)


def _name_cause(trial: Trial, error: Exception) -> None:
    """Keep with a trial why it failed."""
    told = " ".join(str(error).split()) or "no message"
    trial.set_user_attr("cause", f"{type(error).__name__}: {told}"[:500])


def _together(bench: Bench, space: Space, fixed: dict[str, Any], device: str) -> int:
    """How many trials are begun at once: several where all are alike, and the largest is small."""
    try:
        config = Config(**settings_of({**largest(space), **fixed}))
    except (TypeError, ValueError):  # ends that are allowed one by one
        return 1
    same = SAME | {"batch_size"} if config.batch_norm else SAME
    on_gpu = device_named(device).type != "cpu"
    if same.intersection(space) or config.optimizer == "lars" or on_gpu:
        return 1
    table = TableEncoder.fit(
        bench.source,
        bench.train,
        normal_scores=config.normal_scores,
        holds=config.kind,
        n_top_columns=config.most_columns,
    )
    widths = [table.n_numbers, *config.hidden, config.n_components, *config.projector]
    layers = [before * after for before, after in pairwise(widths)]
    if config.skip:
        layers.append(table.n_numbers * config.n_components)
    work = 2 * min(config.batch_size, len(bench.train)) * max(layers)
    return 1 if table.cardinalities or work > WORK_FOR_STACKS else MOST_TOGETHER


def _mixed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def _fingerprint(source: Source, labels: NDArray[np.intp] | None, told: PerRow) -> dict[str, Any]:
    """The table's fingerprint, with those of its labels, groups and weights."""
    of_labels = b"" if labels is None else labels.astype("<i8").tobytes()
    parts = {"labels": of_labels}
    if told.groups is not None:
        parts["groups"] = told.groups.astype("<i8").tobytes()
    if told.weights is not None:
        parts["weights"] = told.weights.astype("<f8").tobytes()
    digests = {name: hashlib.sha256(part).hexdigest()[:16] for name, part in parts.items()}
    return {**fingerprint(source), **digests}
