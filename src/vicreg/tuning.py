"""Tuning: the configuration with the best embedding, with labels or without.

One study, any number of processes and machines. Finished trials are never lost, and the default
configuration is always among them.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import TrialState

from vicreg.config import Config, from_json, number
from vicreg.estimator import VICReg, drawn_seed
from vicreg.finalists import choose
from vicreg.journal import JournalLostError
from vicreg.objectives import UNKNOWN
from vicreg.per_row import PerRow
from vicreg.plain_state import plain_state
from vicreg.progress import TuningBar
from vicreg.sources import read
from vicreg.storages import PASSING, check_storage, in_words
from vicreg.studies import check_sampler, in_memory, seed_of_study
from vicreg.targets import Target
from vicreg.training import InterruptedWarning
from vicreg.trial_loop import Tickets, work
from vicreg.trials import at_once, begin, plan
from vicreg.tuning_result import TuningResult
from vicreg.workers import WorkersDiedError, run_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial


__all__ = ["tune"]

#: What databases have room for.
LONGEST_NAME = 512


@plain_state()
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
    base: Mapping[str, Any] | None = None,
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
    base : mapping, optional
        Arguments that take the place of the default configuration, such as ``preset("seed")``: the
        first trial has them, or is the nearest to them in the space, and all trials have those that
        neither ``space`` nor ``fixed`` names.
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
        If ``objective`` is no name and no sequence of names, or ``space``, ``fixed`` or ``base`` no
        mapping.
    ConnectionError
        If a database does not answer, or not any more.
    OSError
        If the journal is removed, replaced or damaged while the study runs, or cannot be written.
    RuntimeError
        If no trial succeeded, or workers died one after the other.
    KeyboardInterrupt
        After Ctrl-C before any trial is complete, or when the search has ended.

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
    number(1, whole=True)("n_trials", n_trials)
    number(1, whole=True)("n_workers", n_workers)
    number(0, whole=True)("finalists", finalists)
    number(0, include_low=False, optional=True)("timeout", timeout)
    number(0, optional=True)("margin", margin)
    number(1, whole=True, optional=True)("n_threads", n_threads)
    # NumPy's numbers are no plain ones, which a worker's job, a JSON document, must have.
    n_trials, n_workers, finalists = int(n_trials), int(n_workers), int(finalists)
    check_storage(storage, n_workers)
    check_sampler(sampler)
    if not isinstance(study_name, str) or not 0 < len(study_name) <= LONGEST_NAME:
        raise ValueError(
            f"study_name must be a text of at most {LONGEST_NAME} characters, "
            f"however: study_name={study_name!r:.80}"
        )
    if not study_name.isprintable():
        raise ValueError(f"study_name must be printable, however: study_name={study_name!r}")
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
        seed = drawn_seed(random_state)
    of = plan(
        source,
        labels,
        PerRow.checked(groups, sample_weight, source.shape[0]),
        objective=objective,
        space=space,
        only=only,
        fixed=fixed,
        base=base,
        seed=seed,
        device=device,
        prune=prune,
    )
    with in_words(storage), ExitStack() as stack:
        folder = Path()  # of workers
        if n_workers > 1:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vicreg-")))
        passing = storage is None and n_workers > 1
        if passing:
            storage = folder / "study.journal"
        study = begin(of, storage, study_name, sampler=sampler, n_trials=n_trials)
        until = None if timeout is None else time.monotonic() + timeout

        def run(told: Callable[[Study], None]) -> None:
            if n_workers > 1:
                assert storage is not None
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
                return
            work(
                of,
                study,
                Tickets(n_trials, until).take,
                storage=storage,
                together=at_once(of, storage, sampler),
                n_threads=n_threads,
                told=told,
            )

        with TuningBar(n_trials, of.objectives, show=verbose) as bar:
            watchers: list[Callable[[Study], None]] = [bar]
            if observe is not None:
                watchers.append(lambda study: observe(study, of.objectives))
            _search(run, study, of.objectives, watchers, passing=passing)
        if passing:
            study = in_memory(study)
        best, judged, note = choose(
            of, study, finalists=finalists, margin=margin, n_threads=n_threads
        )
        settings = from_json(best.user_attrs["settings"])
        estimator = VICReg(**settings, random_state=seed, device=device, n_threads=n_threads)
        # Half a fit is no winner, and the trials are there to choose it again.
        estimator._fit(X, whole=True, groups=of.told.groups, sample_weight=of.told.weights)
        return TuningResult(
            study=study,
            best_estimator_=estimator,
            best_config=Config(**settings),
            best_trial=best.number,
            objectives=of.objectives,
            finalists=judged,
            note=note,
        )


def _search(
    run: Callable[[Callable[[Study], None]], None],
    study: Study,
    objectives: Sequence[str],
    watchers: Sequence[Callable[[Study], None]],
    *,
    passing: bool,
) -> None:
    """Run trials; it ends early where that leaves some to choose from.

    ``passing`` is whether the study goes with this process.
    """
    seen: list[FrozenTrial] = []

    def told(study: Study) -> None:
        with suppress(*PASSING):
            seen[:] = study.get_trials(deepcopy=False)
            for watch in watchers:
                watch(study)

    told(study)
    try:
        run(told)
    except JournalLostError as error:
        raise JournalLostError(f"{error}{_best_of(seen, objectives)}") from None
    except (KeyboardInterrupt, WorkersDiedError) as error:
        # What is kept elsewhere is not lost by an error; what goes with this process would be.
        to_be_kept = passing or isinstance(error, KeyboardInterrupt)
        states = (TrialState.COMPLETE,)
        if not to_be_kept or not study.get_trials(deepcopy=False, states=states):
            raise
        warnings.warn(
            f"{str(error) or 'interrupted'}: the search ends here, with the trials that are "
            "finished",
            InterruptedWarning,
            stacklevel=4,  # who calls tune, which is decorated
        )


def _best_of(trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> str:
    """The best complete trial of those that were seen, for a person to make use of."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return ""
    best = max(complete, key=lambda trial: trial.values)
    scores = dict(zip(objectives, best.values, strict=True))
    return (
        f". Best of {len(complete)} complete trials was trial {best.number}: "
        f"{json.dumps(scores)} by {json.dumps(best.params)}"
    )
