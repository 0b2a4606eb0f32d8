"""What tuning found, as a table, in words, in pictures and as files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicreg.owners import CAUSE, INTERRUPTED, RETRY_CAUSE, RETRY_OF
from vicreg.places import fresh_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from vicreg.config import Config
    from vicreg.estimator import VICReg
    from vicreg.study_plots import Picture

__all__ = ["TuningResult", "write_contents"]

DOCUMENT = "tuning.json"


@dataclass(frozen=True)
class TuningResult:
    """What tuning found.

    Attributes
    ----------
    study : optuna.study.Study
    best_estimator_ : VICReg
        Fitted on all rows with the best configuration.
    best_config : Config
    best_trial : int
        Its number in the study.
    objectives : tuple of str
    finalists : list of dict
        The best trials and the default, judged anew on other rows: ``trial``, ``default``,
        ``value`` (in the search) and ``fresh``, one number an objective, or None.
    note : str
        Why the finalists could not be judged anew, if that is so.
    """

    study: Study
    best_estimator_: VICReg
    best_config: Config
    best_trial: int
    objectives: tuple[str, ...]
    finalists: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""

    @cached_property  # once: other processes may go on with the study
    def trials(self) -> list[dict[str, Any]]:
        """One dict a trial: number, state, scores, seconds, cause of a failure, parameters.

        A trial that was pruned has no score; ``last_score`` is of its unfinished fit. ``retry_of``
        is the number of a trial that was cut short and whose place it takes.
        """
        trials = self.study.get_trials(deepcopy=False)
        causes = _causes(trials)
        rows = []
        for trial in trials:
            is_pruned = trial.state.name == "PRUNED"
            values = trial.values if trial.state.name == "COMPLETE" else None
            rows.append(
                {
                    "number": trial.number,
                    "state": trial.state.name.lower(),
                    **dict.fromkeys(self.objectives),
                    **dict(zip(self.objectives, values or [], strict=False)),
                    "last_score": trial.value if is_pruned else None,
                    "default": "default" in trial.user_attrs,
                    "seconds": trial.user_attrs.get("seconds"),
                    "cause": causes.get(trial.number),
                    "retry_of": trial.user_attrs.get(RETRY_OF),
                    **trial.params,
                }
            )
        return rows

    def to_frame(self) -> Any:
        """The trials as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.trials)

    def summary(self) -> str:
        """One or two sentences: what was found, and how far it can be trusted."""
        trials = self.trials
        won = trials[self.best_trial]
        names = " and ".join(self.objectives)
        told = f"{_counted(trials)}. Best by {names}: trial {self.best_trial}"
        if won["default"]:
            why = self.note or "nothing that was tried beats it by enough"
            return f"{told}, the default configuration: {why}."
        fresh = {one["trial"]: one for one in self.finalists}
        default = next((one for one in self.finalists if one["default"]), None)
        if self.note:
            told += f"; {self.note}"
        elif default is not None and self.best_trial in fresh:
            own, other = fresh[self.best_trial]["fresh"], default["fresh"]
            pairs = [
                f"{name} {_shown(mine)} against {_shown(its)}"
                for name, mine, its in zip(self.objectives, own, other, strict=True)
            ]
            told += (
                f"; judged anew, on other rows, as the best of {len(self.finalists)}: "
                f"{', '.join(pairs)} of the default"
            )
        elif not any(trial["default"] and trial["state"] == "complete" for trial in trials):
            told += "; the default configuration has no score to compare it with"
        return told + "."

    def pictures(self) -> list[Picture]:
        """Figures of the study: history, importances, parallel coordinates, slices, curves."""
        from vicreg.study_plots import study_pictures

        return study_pictures(self.study, self.objectives)

    def for_report(self) -> list[tuple[str, str, str]]:
        """The pictures as title, alternative text and SVG: for ``card.pictures``."""
        return [(picture.title, picture.alt, picture.svg()) for picture in self.pictures()]

    def write(self, folder: str | Path) -> list[Path]:
        """Write trials (CSV), best configuration and finalists (JSON) and pictures (SVG).

        Parameters
        ----------
        folder : str or Path
            Made if it is missing. Pictures that were written there before are replaced.

        Returns
        -------
        list of Path
            The files.
        """
        return write_contents(self.contents(), Path(folder))

    def contents(self) -> dict[str, str]:
        """What :meth:`write` writes, by the names of the files."""
        rows = self.trials
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, names)
        writer.writeheader()
        writer.writerows(rows)
        pictures = {f"{picture.name}.svg": picture.svg() for picture in self.pictures()}
        document = {
            "summary": self.summary(),
            "objectives": list(self.objectives),
            "best_trial": self.best_trial,
            "best_config": self.best_config.as_dict(),
            "finalists": self.finalists,
            "pictures": list(pictures),
        }
        return {
            "trials.csv": table.getvalue(),
            DOCUMENT: json.dumps(document, indent=1),
            **pictures,
        }


def write_contents(contents: Mapping[str, str], folder: Path) -> list[Path]:
    """Write what :meth:`TuningResult.contents` gives; pictures of an earlier study go."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _pictures_in(folder / DOCUMENT):
        (folder / name).unlink(missing_ok=True)
    paths = [folder / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        with fresh_file(path) as fresh:
            fresh.write_text(content, encoding="utf-8", newline="")
    return paths


def _counted(trials: Sequence[Mapping[str, Any]]) -> str:
    """How many trials ended in what way."""
    states = [trial["state"] for trial in trials]
    retried = {trial["retry_of"] for trial in trials}
    cut = sum(
        trial["state"] == "fail" and (trial["number"] in retried or trial["cause"] == INTERRUPTED)
        for trial in trials
    )
    told = f"{states.count('complete')} trials complete, {states.count('pruned')} pruned"
    failed = states.count("fail") - cut
    if failed:
        told += f", {failed} failed"
    return f"{told}, {cut} cut short and queued again" if cut else told


def _causes(trials: Sequence[FrozenTrial]) -> dict[int, str]:
    """Why trials failed, by their numbers.

    A database fails a trial whose heart has stopped without a word: the cause is with the one that
    took its place.
    """
    later = {
        trial.user_attrs[RETRY_OF]: str(trial.user_attrs[RETRY_CAUSE])
        for trial in trials
        if RETRY_OF in trial.user_attrs
    }
    own = {
        trial.number: str(trial.user_attrs[CAUSE])
        for trial in trials
        if CAUSE in trial.user_attrs and trial.state.name == "FAIL"
    }
    return {**later, **own}


def _shown(score: float | None) -> str:
    return "no score" if score is None else f"{score:.3f}"


def _pictures_in(document: Path) -> list[str]:
    """The names of the pictures that an earlier study has written beside its document."""
    try:
        names = json.loads(document.read_text(encoding="utf-8"))["pictures"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    # No name leads elsewhere, whatever the document says.
    return [Path(str(name)).name for name in names if str(name).endswith(".svg")]
