"""What tuning found, as a table, in words, in pictures and as files."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicreg.places import fresh_file

if TYPE_CHECKING:
    from optuna.study import Study

    from vicreg.config import Config
    from vicreg.estimator import VICReg
    from vicreg.study_plots import Picture

__all__ = ["TuningResult"]


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
        ``value`` (in the search) and ``fresh``, one number an objective.
    """

    study: Study
    best_estimator_: VICReg
    best_config: Config
    best_trial: int
    objectives: tuple[str, ...]
    finalists: list[dict[str, Any]] = field(default_factory=list)

    @property
    def trials(self) -> list[dict[str, Any]]:
        """One dict a trial: number, state, scores, seconds, cause of a failure, parameters."""
        rows = []
        for trial in self.study.get_trials(deepcopy=False):
            values = trial.values or [None] * len(self.objectives)
            rows.append(
                {
                    "number": trial.number,
                    "state": trial.state.name.lower(),
                    **dict(zip(self.objectives, values, strict=True)),
                    "default": "default" in trial.user_attrs,
                    "seconds": trial.user_attrs.get("seconds"),
                    "cause": trial.user_attrs.get("cause"),
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
        counts = {
            state: sum(trial["state"] == state for trial in trials)
            for state in ("complete", "pruned", "fail")
        }
        told = f"{counts['complete']} trials complete, {counts['pruned']} pruned"
        if counts["fail"]:
            told += f", {counts['fail']} failed"
        won = trials[self.best_trial]
        names = " and ".join(self.objectives)
        told += f". Best by {names}: trial {self.best_trial}"
        if won["default"]:
            return f"{told}, the default configuration: nothing that was tried beats it by enough."
        fresh = {one["trial"]: one for one in self.finalists}
        default = next((one for one in self.finalists if one["default"]), None)
        if default is not None and self.best_trial in fresh:
            own, other = fresh[self.best_trial]["fresh"], default["fresh"]
            pairs = [
                f"{name} {mine:.3f} against {its:.3f}"
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
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        rows = self.trials
        names = list(dict.fromkeys(name for row in rows for name in row))
        paths = [folder / "trials.csv", folder / "tuning.json"]
        with fresh_file(paths[0]) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        for name in _pictures_in(paths[1]):
            (folder / name).unlink(missing_ok=True)
        pictures = {f"{picture.name}.svg": picture.svg() for picture in self.pictures()}
        document = {
            "summary": self.summary(),
            "objectives": list(self.objectives),
            "best_trial": self.best_trial,
            "best_config": self.best_config.as_dict(),
            "finalists": self.finalists,
            "pictures": list(pictures),
        }
        with fresh_file(paths[1]) as fresh:
            fresh.write_text(json.dumps(document, indent=1), encoding="utf-8")
        for name, svg in pictures.items():
            paths.append(folder / name)
            with fresh_file(paths[-1]) as fresh:
                fresh.write_text(svg, encoding="utf-8")
        return paths


def _pictures_in(document: Path) -> list[str]:
    """The names of the pictures that an earlier study has written beside its document."""
    try:
        names = json.loads(document.read_text(encoding="utf-8"))["pictures"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    # No name leads elsewhere, whatever the document says.
    return [Path(str(name)).name for name in names if str(name).endswith(".svg")]
