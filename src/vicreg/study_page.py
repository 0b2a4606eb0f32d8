"""A page about a study that is under way: trials done, the best score, the study's pictures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vicreg.live import WatchedPage
from vicreg.progress import best_scores
from vicreg.study_plots import study_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from optuna.study import Study

__all__ = ["StudyPage"]

#: Seconds between two writings, at the least: pictures of a large study take a second.
EVERY = 5.0


class StudyPage(WatchedPage):
    """Tells of a study on a page: an observer of the study, and a context that ends the page.

    Parameters
    ----------
    path, title, every
        See :class:`vicreg.live.WatchedPage`.
    n_trials : int
        Trials that are to be added.
    """

    def __init__(self, path: Path, title: str, n_trials: int, *, every: float = EVERY) -> None:
        super().__init__(path, title, every=every)
        self._n_trials = n_trials
        self._objectives: Sequence[str] = ()
        self._study: Study | None = None
        self._before: int | None = None
        self._pictured = 0
        self._started = time.perf_counter()

    def __call__(self, study: Study, objectives: Sequence[str]) -> None:
        """Look at the study, and write if the last writing is long enough ago."""
        self._study, self._objectives = study, objectives
        if self._before is None:
            trials = study.get_trials(deepcopy=False)
            self._before = sum(trial.state.is_finished() for trial in trials)
        self._refresh()

    def _tell(self) -> None:
        study = self._study
        if study is None:
            return
        ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
        seconds = time.perf_counter() - self._started
        done = len(ended) - (self._before or 0)
        told = [f"{done} of {self._n_trials} trials done after {seconds:.0f} s"]
        self._state.told = ", ".join(told + best_scores(ended, self._objectives)) + "."
        if len(ended) != self._pictured:  # the pictures are of trials that have ended
            self._pictured = len(ended)
            self._state.pictures = [
                (picture.title, picture.alt, picture.svg())
                for picture in study_pictures(study, self._objectives)
            ]
