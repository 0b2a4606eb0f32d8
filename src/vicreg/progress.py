"""Progress on the terminal: of a fit, of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from typing_extensions import Self

    from vicreg.history import Moment, Pulse

__all__ = ["ProgressBar", "TuningBar", "best_scores"]


def best_scores(trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> list[str]:
    """The best score by each objective that has one, for people: ``best knn 0.931``."""
    told = []
    # What a pruned trial has for a value is of a fit that was not finished.
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    for place, name in enumerate(objectives):
        values = [trial.values[place] for trial in complete]
        if values:
            told.append(f"best {name} {max(values):.3f}")
    return told


class _Bar:
    """A line on stderr: what is done, of how much, what is told of it, and the time left."""

    def __init__(
        self,
        title: str,
        total: int,
        noun: str = "",
        *,
        console: Console | None = None,
        show: bool = True,
    ) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=8),
            TextColumn("{task.completed:.0f}/{task.total:.0f}" + noun),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(compact=True),
            console=console or Console(stderr=True),
            disable=not show,
        )
        self._task = self._progress.add_task(title, total=total, told="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


class ProgressBar(_Bar):
    """Steps per second, the loss and its terms, and the time left, on stderr."""

    def __init__(self, steps: int, title: str = "fit", *, console: Console | None = None) -> None:
        super().__init__(title, steps, console=console)

    def __call__(self, moment: Moment) -> None:
        rate = moment.step / max(moment.seconds, 1e-9)
        told = (
            f"{rate:.0f} steps/s loss {moment.total:.2g} = inv {moment.invariance:.2g} "
            f"var {moment.variance:.2g} cov {moment.covariance:.2g}"
        )
        self._progress.update(self._task, completed=moment.step, told=told)

    def pulse(self, sign: Pulse) -> None:
        """Move between two moments; what was told of the last one stands."""
        self._progress.update(self._task, completed=sign.step)


class TuningBar(_Bar):
    """Trials done, the best score and the time left of a study, on stderr."""

    def __init__(self, n_trials: int, objectives: Sequence[str], *, show: bool) -> None:
        super().__init__("tuning", n_trials, " trials", show=show)
        self._objectives = objectives
        self._before: int | None = None

    def __call__(self, study: Study) -> None:
        trials = study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished()]
        if self._before is None:
            self._before = len(ended)
        told = best_scores(ended, self._objectives)
        pruned = sum(trial.state.name == "PRUNED" for trial in ended)
        failed = sum(trial.state.name == "FAIL" for trial in ended)
        told += [
            f"{count} {noun}" for count, noun in ((pruned, "pruned"), (failed, "failed")) if count
        ]
        self._progress.update(self._task, completed=len(ended) - self._before, told=", ".join(told))
