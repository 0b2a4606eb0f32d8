"""What a trial does, and the loop that begins them."""

from __future__ import annotations

import json
import math
import time
import warnings
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from vicreg.config import Config
from vicreg.objectives import OBJECTIVES, Bench, Fits, fit_all
from vicreg.owners import CAUSE, INTERRUPTED, OWNER, give_back, owner
from vicreg.search_space import draw, settings_of
from vicreg.storages import PASSING, TROUBLE, beating, in_words, until_it_answers
from vicreg.studies import quiet_optuna

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from optuna.study import Study
    from optuna.trial import Trial

    from vicreg.history import Pulse
    from vicreg.trials import Plan

__all__ = ["Tickets", "work"]

#: A fit is looked at for pruning after 1/9 and 3/9 of its steps: the pruner's rungs, of which the
#: next is the end.
RUNGS = 9
LOOKED_AT = (1, 3)


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
    storage: str | Path | None,
    together: int,
    n_threads: int | None,
    told: Callable[[Study], None] | None = None,
    ended: Callable[[], None] | None = None,
) -> None:
    """Begin trials of a study, up to ``together`` at once, as long as there are tickets.

    ``told`` looks at the study again and again, ``ended`` is called once a trial.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        After Ctrl-C, or a signal that was made an exit; trials at hand go back to the queue.
    OSError
        If the storage, whose name messages have, is out of reach for longer than a moment; a
        ConnectionError where it is a database.
    """
    run = _TrialRun(
        of,
        study,
        storage,
        n_threads=n_threads,
        told=lambda: None if told is None else told(study),
        ended=ended,
    )
    while count := take(together):
        try:
            with quiet_optuna(), in_words(storage):
                run(count)
        except (KeyboardInterrupt, SystemExit):
            with quiet_optuna(), suppress(*TROUBLE):
                for number in run.at_hand:
                    give_back(study, number, INTERRUPTED)
            raise
        if told is not None:
            told(study)


class _End(NamedTuple):
    """How a trial ended."""

    state: TrialState
    scores: tuple[float, ...] | None = None
    cause: str | None = None


class _TrialRun:
    """What trials do: a configuration, its fits, its scores."""

    def __init__(
        self,
        of: Plan,
        study: Study,
        storage: str | Path | None,
        *,
        n_threads: int | None,
        told: Callable[[], None],
        ended: Callable[[], None] | None,
    ) -> None:
        self.plan, self.study, self.storage = of, study, storage
        self.bench = Bench(of.source, of.labels, seed=of.seed, told=of.told)
        self.n_threads, self.told, self.ended = n_threads, told, ended
        self.objectives = [OBJECTIVES[name] for name in of.objectives]
        #: The numbers of trials that are begun and not ended.
        self.at_hand: list[int] = []
        self.prunes = of.prune and len(self.objectives) == 1 and len(self.objectives[0].fits) == 1

    def __call__(self, count: int) -> None:
        """So many trials."""
        self.at_hand = []
        if count == 1:
            self._alone()
        else:
            self._together(count)

    def _alone(self) -> None:
        """One trial, cut short where it is hopeless."""
        trial = self._ask()
        with beating(self.study, trial):
            started = time.perf_counter()
            end = _end(lambda: self._run(trial))
            self._tell(trial, end, time.perf_counter() - started)

    def _together(self, count: int) -> None:
        """Several trials, whose networks are trained at once; none of them is pruned."""
        started = time.perf_counter()
        begun: list[tuple[Trial, Fits | Exception]] = []
        for _ in range(count):
            trial = self._ask()
            try:
                begun.append((trial, self._fits(trial)))
            except TROUBLE:
                raise
            except Exception as error:
                begun.append((trial, error))
        fit_all([fits for _, fits in begun if isinstance(fits, Fits)], self.objectives)
        for trial, fits in begun:
            end = _end(partial(self._scores, fits))
            self._tell(trial, end, (time.perf_counter() - started) / count)
            self._pulse()

    def _ask(self) -> Trial:
        until_it_answers(lambda: optuna.storages.fail_stale_trials(self.study))
        with warnings.catch_warnings():
            # It beats all the same.
            warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)
            trial = until_it_answers(self.study.ask)
        self.at_hand.append(trial.number)
        return trial

    def _tell(self, trial: Trial, end: _End | None, seconds: float) -> None:
        """Keep how a trial ended; None if it is another process's by now."""

        def tell(end: _End) -> None:
            trial.set_user_attr("seconds", round(seconds, 3))
            if end.cause is not None:
                trial.set_user_attr(CAUSE, end.cause)
            self.study.tell(trial, end.scores, state=end.state, skip_if_finished=True)

        if end is not None:
            try:
                # Of a process that stood still others think that it is dead.
                with in_words(self.storage), suppress(UpdateFinishedTrialError):
                    until_it_answers(lambda: tell(end))
            except OSError as error:
                raise type(error)(f"{error}{self._not_kept(trial, end)}") from None
        self.at_hand.remove(trial.number)
        if self.ended is not None:
            self.ended()

    def _not_kept(self, trial: Trial, end: _End) -> str:
        """What a person could still make use of."""
        if end.scores is None:
            return ""
        scores = dict(zip(self.plan.objectives, end.scores, strict=True))
        return (
            f". Not kept was trial {trial.number}: {json.dumps(scores)} "
            f"by {json.dumps(trial.params)}"
        )

    def _run(self, trial: Trial) -> tuple[float, ...]:
        scores = self._scores(self._fits(trial, prunes=self.prunes))
        if self.prunes:
            with suppress(*PASSING):
                trial.report(scores[0], RUNGS)  # where its curve ends
        return scores

    def _fits(self, trial: Trial, *, prunes: bool = False) -> Fits:
        """A trial's configuration, ready to be fitted."""
        settings = until_it_answers(lambda: self._drawn(trial))
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

    def _drawn(self, trial: Trial) -> dict[str, Any]:
        trial.set_user_attr(OWNER, owner())
        settings = settings_of({**draw(self.plan.space, trial), **self.plan.fixed})
        trial.set_user_attr("settings", settings)
        return settings

    def _pulse(self, _: Pulse | None = None) -> None:
        # What is wrong with the storage may be over when the trial ends.
        with suppress(*TROUBLE):
            self.told()

    def _scores(self, fits: Fits | Exception) -> tuple[float, ...]:
        if isinstance(fits, Exception):
            raise fits
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
            score = objective.score(unfinished)
            with suppress(*PASSING):  # then it goes on to the next look
                trial.report(score, rung)
                if trial.should_prune():
                    raise optuna.TrialPruned

        return look


def _end(make: Callable[[], tuple[float, ...]]) -> _End | None:
    """How a trial ends that is to make scores; None if it was given to another process."""
    try:
        return _End(TrialState.COMPLETE, make())
    except optuna.TrialPruned:
        return _End(TrialState.PRUNED)
    except UpdateFinishedTrialError:
        return None
    except TROUBLE:
        raise
    except Exception as error:
        told = " ".join(str(error).split()) or "no message"
        return _End(TrialState.FAIL, cause=f"{type(error).__name__}: {told}"[:500])
