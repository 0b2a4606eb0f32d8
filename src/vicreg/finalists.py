"""The best trials of a study and the default, judged anew on other rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.trial import TrialState

from vicreg.config import Config, from_json
from vicreg.objectives import OBJECTIVES, Bench, Fits
from vicreg.storages import until_it_answers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from vicreg.trials import Plan

__all__ = ["LABEL_FREE_MARGIN", "choose"]

#: Deviations of all scores, see :func:`choose`; docs/tuning.md has what it rests on.
LABEL_FREE_MARGIN = 3.0


def choose(
    of: Plan,
    study: Study,
    *,
    finalists: int,
    margin: float | None,
    n_threads: int | None,
) -> tuple[FrozenTrial, list[dict[str, Any]], str]:
    """The trial to take of a study, and how the best ones were judged.

    The best of many scores on the same rows is partly luck. So the best trials and the default are
    fitted again with another seed, judged by rows that the search was fitted on and fitted on all
    others, and the choice among them is made by that score alone. The default is taken where none
    is better, and where that cannot be known.

    Parameters
    ----------
    of : Plan
    study : optuna.study.Study
        Is told of the judgement.
    finalists : int
        Trials to judge, the best by the search's own scores, of which the default may be one; else
        it is judged besides. 0 for the best by these scores.
    margin : float, optional
        Standard deviations of all trials' scores by which a trial must be above the default to be
        judged; by default 0 with labels and ``LABEL_FREE_MARGIN`` without.
    n_threads : int, optional
        Threads of a fit.

    Returns
    -------
    trial : optuna.trial.FrozenTrial
    scores : list of dict
        See :class:`vicreg.TuningResult`.
    note : str
        Why none could be judged, if that is so.

    Raises
    ------
    RuntimeError
        If no trial succeeded; the message has the causes.
    """
    # Of a trial that someone else has put into the study it is not known what was fitted.
    complete = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if "settings" in trial.user_attrs
    ]
    if not complete:
        raise RuntimeError(
            f"no trial of study {study.study_name!r} succeeded. Causes: {_causes(study)}"
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
    if len(judged) < 2:
        return ranked[0], [], ""
    scores, note = _judged_anew(of, judged, default, n_threads)
    if note:
        return default or ranked[0], scores, f"the best trials could not be judged anew: {note}"
    until_it_answers(lambda: study.set_user_attr("finalists", scores))
    places = _mean_ranks([one["fresh"] for one in scores])
    # Of equals it is the default, which has not been picked among many.
    best = min(range(len(judged)), key=lambda one: (places[one], judged[one] is not default, one))
    return judged[best], scores, ""


def _causes(study: Study) -> str:
    """Why trials failed: of each kind of cause the last one, and how many there were."""
    told: dict[str, list[str]] = {}
    for trial in study.get_trials(deepcopy=False):
        if "cause" in trial.user_attrs:
            cause = str(trial.user_attrs["cause"])
            told.setdefault(cause.partition(":")[0], []).append(cause)
    return (
        "; ".join(
            causes[-1] + (f" (the last of {len(causes)})" if len(causes) > 1 else "")
            for _, causes in sorted(told.items())
        )
        or "none finished"
    )


def _judged_anew(
    of: Plan,
    judged: Sequence[FrozenTrial],
    default: FrozenTrial | None,
    n_threads: int | None,
) -> tuple[list[dict[str, Any]], str]:
    """Trials' scores on other rows, or why there are none."""
    objectives = [OBJECTIVES[name] for name in of.objectives]
    bench = Bench(of.source, of.labels, seed=of.seed, told=of.told)
    try:
        bench = bench.elsewhere(labelled=any(one.needs_labels for one in objectives))
    except ValueError as error:
        return [], str(error)
    scores: list[dict[str, Any]] = []
    cause = "no score is a number"
    for trial in judged:
        fits = Fits(
            bench,
            Config(**from_json(trial.user_attrs["settings"])),
            seed=of.seed + 1,
            n_threads=n_threads,
            device=of.device,
        )
        try:
            fresh = [objective.score(fits) for objective in objectives]
        except Exception as error:  # as in a trial, it may diverge, say
            fresh, cause = [math.nan] * len(objectives), f"{type(error).__name__}: {error}"
        scores.append(
            {
                "trial": trial.number,
                "default": trial is default,
                "value": list(trial.values),
                "fresh": [value if math.isfinite(value) else None for value in fresh],
            }
        )
    is_known = any(value is not None for one in scores for value in one["fresh"])
    return scores, "" if is_known else cause


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
