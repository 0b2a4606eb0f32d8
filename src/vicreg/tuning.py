"""Tuning: the configuration with the best embedding, with labels or without.

One study, any number of processes and machines. Finished trials are never lost, and the default
configuration is always among them.
"""

from __future__ import annotations

import csv
import json
import math
import numbers
import tempfile
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from optuna.trial import TrialState
from sklearn.utils import check_random_state

from vicreg.config import Config
from vicreg.estimator import VICReg
from vicreg.objectives import OBJECTIVES, UNKNOWN, Bench, Fits
from vicreg.per_row import PerRow
from vicreg.places import fresh_file
from vicreg.progress import TuningBar
from vicreg.sources import read
from vicreg.studies import check_sampler, check_storage, in_memory, seed_of_study
from vicreg.targets import Target
from vicreg.training import InterruptedWarning
from vicreg.trials import Tickets, at_once, begin, plan, work
from vicreg.workers import run_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from vicreg.study_plots import Picture
    from vicreg.trials import Plan

__all__ = ["TuningResult", "tune"]


#: See docs/tuning.md for what it rests on.
LABEL_FREE_MARGIN = 3.0


def tune(
    X: object,
    y: object = None,
    *,
    groups: object = None,
    sample_weight: object = None,
    n_trials: int = 30,
    objective: str | Sequence[str] | None = None,
    space: Mapping[str, object] | None = None,
    fixed: Mapping[str, object] | None = None,
    only: bool = False,
    storage: str | Path | None = None,
    study_name: str = "vicreg",
    timeout: float | None = None,
    n_workers: int = 1,
    sampler: str = "auto",
    prune: bool = True,
    finalists: int = 3,
    margin: float | None = None,
    device: str = "auto",
    n_threads: int | None = None,
    observe: Callable[[Study, tuple[str, ...]], None] | None = None,
    verbose: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> TuningResult:
    """Search for the configuration with the best embedding, and fit it.

    The default configuration is the first trial. 30 % of the rows are never fitted in the search;
    scores are taken on them, never from the training loss, whose weights are searched. In the end
    the best trials and the default are judged anew on other rows, and the winner of it is fitted
    on all rows.

    Parameters
    ----------
    X : array, frame, sparse matrix or path, shape (rows, columns)
        See :meth:`vicreg.VICReg.fit`.
    y : array-like, shape (rows,), optional
        Classes; missing (None, NaN) for rows whose class is not known. Only objectives see them.
    groups : array-like, shape (rows,), optional
        As for :meth:`vicreg.VICReg.fit`: rows of one group are views of each other. No group is
        both fitted and judged, so there must be three at the least.
    sample_weight : array-like, shape (rows,), optional
        As for :meth:`vicreg.VICReg.fit`, of fits; scores count all rows alike.
    n_trials : int
        Trials to add to the study.
    objective : str or sequence of str, optional
        See ``vicreg.objectives.OBJECTIVES``. By default ``"silhouette"`` with labels and
        ``"seed_agreement"`` without. Several give a Pareto front, ``result.study.best_trials``.
    space : mapping, optional
        What is searched, by name, in place of the default; a single value fixes an argument. See
        :func:`vicreg.search_space.search_space`.
    fixed : mapping, optional
        Arguments of :class:`vicreg.VICReg` that all trials have.
    only : bool
        Search what ``space`` names and nothing else.
    storage : str or path, optional
        A journal file, made or resumed, or a database URL; by default the study is in memory.
    study_name : str
        Of the study in its storage.
    timeout : float, optional
        Seconds after which no further trial begins.
    n_workers : int
        Processes of one thread each.
    sampler : {"auto", "tpe", "gp", "random"}
        ``"auto"``: a Gaussian process up to 25 trials and one objective, else TPE; TPE for
        networks so small that several trials are begun at once.
    prune : bool
        Stop hopeless trials early, by successive halving. Not those that are begun at once.
    finalists : int
        Trials that are judged anew; 0 to trust the search's own scores.
    margin : float, optional
        A trial is judged anew only if its score is above the default's by this many standard
        deviations of all trials' scores; with 0 and one objective the best trials are in any case.
        By default 0 with labels and 3 without: no score without labels is good enough to leave a
        good default for a small difference (``docs/tuning.md``).
    device : str
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    n_threads : int, optional
        Threads of a fit with one worker.
    observe : callable, optional
        Told of the study and the objectives' names, again and again while it runs.
    verbose : bool
        Show progress.
    random_state : int, RandomState or None
        With one worker the same seed gives the same study. None draws one, or takes that of the
        study which is resumed.

    Returns
    -------
    TuningResult

    Raises
    ------
    ValueError
        For arguments that make no study, labels that do not suit the objective, groups or weights
        that do not suit the table, or a storage with another study of the same name.
    TypeError
        If ``objective`` is no name and no sequence of names, or ``space`` or ``fixed`` no mapping.
    ConnectionError
        If a database does not answer.
    RuntimeError
        If no trial succeeded.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from vicreg import tune
    >>> X, y = load_iris(return_X_y=True)
    >>> space = {"steps": 20, "n_components": 8, "lam": {"low": 5, "high": 50, "log": True}}
    >>> result = tune(X, n_trials=3, space=space, random_state=0)
    >>> len(result.trials), result.best_estimator_.transform(X).shape
    (3, (150, 8))
    """
    _check_arguments(
        n_trials=n_trials,
        timeout=timeout,
        n_workers=n_workers,
        finalists=finalists,
        margin=margin,
        n_threads=n_threads,
    )
    # NumPy's numbers are no plain ones, which a worker's job, a JSON document, must have.
    n_trials, n_workers, finalists = int(n_trials), int(n_workers), int(finalists)
    check_storage(storage, n_workers)
    check_sampler(sampler)
    source = read(X)
    labels = None
    if y is not None:
        target = Target.of(y, source.shape[0])
        if target.is_number:
            raise ValueError(
                f"y must hold classes, however: {len(np.unique(target.values[target.known]))} "
                "different decimal numbers; bin them first, or tune without labels"
            )
        # By number: any text may be the name of a class, the empty one too.
        labels = np.full(len(target.known), UNKNOWN, dtype=np.intp)
        labels[target.known] = np.unique(target.values[target.known], return_inverse=True)[1]
    seed = None if random_state is not None else seed_of_study(storage, study_name)
    if seed is None:
        seed = int(check_random_state(random_state).randint(2**31 - 1))
    of = plan(
        source,
        labels,
        PerRow.checked(groups, sample_weight, source.shape[0]),
        objective=objective,
        space=space,
        only=only,
        fixed=fixed,
        seed=seed,
        device=device,
        prune=prune,
    )
    until = None if timeout is None else time.monotonic() + timeout
    with ExitStack() as stack:
        folder = Path()  # of workers
        if n_workers > 1:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vicreg-")))
        passing = storage is None and n_workers > 1
        if passing:
            storage = folder / "study.journal"
        study = begin(of, storage, study_name, sampler=sampler, n_trials=n_trials)
        with TuningBar(n_trials, of.objectives, show=verbose) as bar:

            def told(study: Study) -> None:
                bar(study)
                if observe is not None:
                    observe(study, of.objectives)

            told(study)
            try:
                if n_workers > 1:
                    run_workers(
                        of,
                        study,
                        folder,
                        storage=storage,
                        sampler=sampler,
                        n_trials=n_trials,
                        n_workers=n_workers,
                        until=until,
                        told=told,
                    )
                else:
                    work(
                        of,
                        study,
                        Tickets(n_trials, until).take,
                        together=at_once(of, storage, sampler),
                        n_threads=n_threads,
                        told=told,
                    )
            except KeyboardInterrupt:
                if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                    raise
                warnings.warn(
                    "interrupted: the search ends here, with the trials that are finished",
                    InterruptedWarning,
                    stacklevel=2,
                )
        if passing:
            study = in_memory(study)
        return _finish(of, study, X, finalists=finalists, margin=margin, n_threads=n_threads)


def _finish(
    of: Plan,
    study: Study,
    X: object,
    *,
    finalists: int,
    margin: float | None,
    n_threads: int | None,
) -> TuningResult:
    """Judge the best trials and the default anew, on other rows, and fit the winner on all rows.

    The best of many scores on the same rows is partly luck. So the best trials and the default are
    fitted again with another seed, judged by rows that the search was fitted on and fitted on all
    others, and the choice among them is made by that score alone.

    Raises
    ------
    RuntimeError
        If no trial succeeded; the message has the causes.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        causes = {
            str(trial.user_attrs["cause"])
            for trial in study.get_trials(deepcopy=False)
            if "cause" in trial.user_attrs
        }
        raise RuntimeError(
            f"no trial of study {study.study_name!r} succeeded. Causes: "
            f"{'; '.join(sorted(causes)) or 'none finished'}"
        )
    default = next((trial for trial in complete if "default" in trial.user_attrs), None)
    if margin is None:
        labelled = any(OBJECTIVES[name].needs_labels for name in of.objectives)
        margin = 0.0 if labelled else LABEL_FREE_MARGIN
    ranked = sorted(
        (trial for trial in complete if _is_above(trial, default, margin, complete)),
        key=lambda trial: _rank(trial, complete),
    )
    judged = ranked[:finalists]
    if default is not None and judged and default not in judged:
        judged.append(default)
    scores: list[dict[str, Any]] = []
    if len(judged) > 1:
        bench = Bench(of.source, of.labels, seed=of.seed, told=of.told).elsewhere()
        for trial in judged:
            fits = Fits(
                bench,
                Config(**_tuples(trial.user_attrs["settings"])),
                seed=of.seed + 1,
                n_threads=n_threads,
                device=of.device,
            )
            fresh = [OBJECTIVES[name].score(fits) for name in of.objectives]
            scores.append(
                {
                    "trial": trial.number,
                    "default": trial is default,
                    "value": list(trial.values),
                    "fresh": [value if math.isfinite(value) else None for value in fresh],
                }
            )
        best = judged[int(np.argmin(_mean_ranks([one["fresh"] for one in scores])))]
        study.set_user_attr("finalists", scores)
    else:
        best = ranked[0]
    settings = _tuples(best.user_attrs["settings"])
    estimator = VICReg(**settings, random_state=of.seed, device=of.device, n_threads=n_threads)
    estimator.fit(X, groups=of.told.groups, sample_weight=of.told.weights)
    return TuningResult(
        study=study,
        best_estimator_=estimator,
        best_config=Config(**settings),
        best_trial=best.number,
        objectives=of.objectives,
        finalists=scores,
    )


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


def _check_arguments(
    *,
    n_trials: object,
    timeout: object,
    n_workers: object,
    finalists: object,
    margin: object,
    n_threads: object,
) -> None:
    """Refuse numbers that make no study."""
    for name, value, least in (
        ("n_trials", n_trials, 1),
        ("n_workers", n_workers, 1),
        ("finalists", finalists, 0),
    ):
        if not _is_whole(value, least):
            raise ValueError(f"{name} must be an integer from {least}, however: {name}={value!r}")
    if n_threads is not None and not _is_whole(n_threads, 1):
        raise ValueError(
            "n_threads must be an integer from 1, or None for as many as pay, "
            f"however: n_threads={n_threads!r}"
        )
    if timeout is not None and not (_is_number(timeout) and timeout > 0):
        raise ValueError(f"timeout must be seconds above 0, or None, however: timeout={timeout!r}")
    if margin is not None and not (_is_number(margin) and margin >= 0):
        raise ValueError(f"margin must be a number from 0, or None, however: margin={margin!r}")


def _is_whole(value: object, least: int) -> bool:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        return False
    return int(value) >= least


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number, of Python or of NumPy, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_above(
    trial: FrozenTrial, default: FrozenTrial | None, margin: float, among: Sequence[FrozenTrial]
) -> bool:
    """Whether a trial is the default, or better than it by more than the margin by some score."""
    if default is None or trial is default:
        return True
    spread = np.std([one.values for one in among], axis=0)
    gain = np.array(trial.values) - np.array(default.values)
    return bool((gain > margin * spread).any()) or (margin == 0 and len(trial.values) == 1)


def _rank(trial: FrozenTrial, among: Sequence[FrozenTrial]) -> float:
    """Mean place of a trial by each objective, 0 for the best; ties go to the earlier one."""
    places = []
    for objective in range(len(trial.values)):
        better = [one for one in among if one.values[objective] > trial.values[objective]]
        places.append(len(better))
    return float(np.mean(places)) + 1e-6 * trial.number


def _mean_ranks(scores: Sequence[Sequence[float | None]]) -> list[float]:
    table = np.array([[-math.inf if v is None else v for v in row] for row in scores], dtype=float)
    return [float((table > row).sum(axis=0).mean()) for row in table]


def _tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
