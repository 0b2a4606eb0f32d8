"""A progress bar for a fit, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from types import TracebackType

    from vicreg.training import Moment

__all__ = ["ProgressBar"]


class ProgressBar:
    """Steps per second, the loss and its terms, and the time left, on stderr."""

    def __init__(self, steps: int, title: str = "fit", *, console: Console | None = None) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=8),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(compact=True),
            console=console or Console(stderr=True),
        )
        self._task = self._progress.add_task(title, total=steps, told="")

    def __call__(self, moment: Moment) -> None:
        rate = moment.step / max(moment.seconds, 1e-9)
        told = (
            f"{rate:.0f} steps/s loss {moment.total:.2g} = inv {moment.invariance:.2g} "
            f"var {moment.variance:.2g} cov {moment.covariance:.2g}"
        )
        self._progress.update(self._task, completed=moment.step, told=told)

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
