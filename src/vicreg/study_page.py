"""A page about a study that is under way: trials done, the best score, the study's pictures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vicreg.live import LiveState, write_live_page
from vicreg.study_plots import study_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from optuna.study import Study

__all__ = ["StudyPage"]

#: Seconds between two writings, at the least: pictures of a large study take a second.
EVERY = 5.0


class StudyPage:
    """Tells of a study on a page: an observer of the study, and a context that ends the page.

    Parameters
    ----------
    path : Path
        The page, written whole or not at all.
    title : str
    n_trials : int
        Trials that are to be added.
    every : float
        Seconds between two writings, at the least.
    """

    def __init__(self, path: Path, title: str, n_trials: int, *, every: float = EVERY) -> None:
        self._path, self._n_trials, self._every = path, n_trials, every
        self._state = LiveState(title, told="The table is being read.")
        self._objectives: Sequence[str] = ()
        self._study: Study | None = None
        self._before: int | None = None
        self._shown = 0
        self._written = -float("inf")

    def __call__(self, study: Study, objectives: Sequence[str]) -> None:
        """Look at the study; write where trials have ended since the last time."""
        self._study, self._objectives = study, objectives
        ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        self._before = ended if self._before is None else self._before
        if ended != self._shown and time.perf_counter() - self._written >= self._every:
            self._shown = ended
            self._write()

    def __enter__(self) -> StudyPage:
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state.running = False
        self._state.status = "finished" if kind is None else "stopped"
        self._write()
        if error is not None:
            self._state.told += f" {type(error).__name__}: {error}"
            write_live_page(self._path, self._state)

    def _write(self) -> None:
        study = self._study
        if study is not None:
            ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
            told = [f"{len(ended) - (self._before or 0)} of {self._n_trials} trials done"]
            for place, name in enumerate(self._objectives):
                values = [trial.values[place] for trial in ended if trial.values]
                if values:
                    told.append(f"best {name} {max(values):.3f}")
            self._state.told = ", ".join(told) + "."
            self._state.pictures = [
                (picture.title, picture.alt, picture.svg())
                for picture in study_pictures(study, self._objectives)
            ]
        write_live_page(self._path, self._state)
        self._written = time.perf_counter()
