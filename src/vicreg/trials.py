"""What is asked of a study, checked, and the study begun: its trials are in ``trial_loop``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from optuna.trial import TrialState

from vicreg import __version__
from vicreg.config import Config
from vicreg.fingerprint import fingerprint
from vicreg.holdout import check_groups
from vicreg.objectives import OBJECTIVES, Bench, objectives_named
from vicreg.owners import failed_itself, owner, release_dead
from vicreg.per_row import NOTHING_TOLD, PerRow, checked_weights
from vicreg.preparation import device_named
from vicreg.search_space import (
    AFTER_TRAINING,
    as_document,
    largest,
    search_space,
    settings_of,
    values_of,
)
from vicreg.stack import SAME, WORK_FOR_STACKS
from vicreg.storages import is_url, open_storage
from vicreg.studies import MAKING, halving, open_study, quiet_optuna, sampler_for
from vicreg.table import TableEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from vicreg.search_space import Space
    from vicreg.sources import Source

__all__ = ["Plan", "at_once", "begin", "plan"]

FEWEST_ROWS = 10
#: Trials whose networks are trained at once, at the most: samplers draw as many at random before
#: they learn from any.
MOST_TOGETHER = 10
DEFAULT_WITH_LABELS, DEFAULT_WITHOUT = "silhouette", "seed_agreement"


class Plan(NamedTuple):
    """A study's arguments, checked; the same in every process that works on it."""

    source: Source
    labels: NDArray[np.intp] | None
    #: Groups and weights of all rows.
    told: PerRow
    space: Space
    fixed: dict[str, Any]
    objectives: tuple[str, ...]
    seed: int
    device: str
    prune: bool
    #: Of the table, see :func:`vicreg.fingerprint.fingerprint`.
    data: dict[str, Any]
    #: How many trials may be begun at once.
    together: int = 1
    #: What the first trial has, as far as the space holds it.
    start: Config = Config()

    @property
    def document(self) -> dict[str, Any]:
        """What makes trials comparable, kept with the study."""
        return {
            "space": as_document(self.space, self.fixed),
            "objectives": list(self.objectives),
            "seed": self.seed,
            "data": self.data,
            "version": __version__,
        }


def plan(
    source: Source,
    labels: NDArray[np.intp] | None,
    told: PerRow = NOTHING_TOLD,
    *,
    objective: str | Sequence[str] | None,
    space: Mapping[str, object] | None,
    fixed: Mapping[str, object] | None,
    seed: int,
    device: str,
    prune: bool,
    only: bool = False,
    base: Mapping[str, Any] | None = None,
    data: dict[str, Any] | None = None,
) -> Plan:
    """Check everything that can be checked before the first trial; ``data`` is known already."""
    n_rows = source.shape[0]
    if n_rows < FEWEST_ROWS:
        raise ValueError(
            f"tuning needs at least {FEWEST_ROWS} rows, to fit some and judge by others, "
            f"however: {n_rows}"
        )
    if objective is None:
        objective = DEFAULT_WITHOUT if labels is None else DEFAULT_WITH_LABELS
    names = _names(objective)
    chosen = objectives_named(names, labelled=labels is not None)
    searched, kept = search_space(space, fixed, base=base, only=only)
    start = Config(**(base or {}))
    # Half-trained, trials that differ in what follows are all alike: there is nothing to prune by.
    prune = prune and not AFTER_TRAINING.issuperset(searched)
    if told.groups is not None:
        check_groups(told.groups)
    bench = Bench(source, labels, seed=seed, told=told)
    if bench.told.weights is not None:
        try:
            checked_weights(bench.told.weights, len(bench.train))
        except ValueError as error:
            raise ValueError(
                f"of the {len(bench.train)} rows that are fitted, the others being held out to "
                f"judge by: {error}"
            ) from None
    if any("blind" in one.fits for one in chosen):
        _ = bench.hidden  # refuses a table of too few columns
    if any(one.needs_labels for one in chosen):
        bench.check_labels()
    data = _fingerprint(source, labels, told) if data is None else data
    together = _together(bench, searched, kept, device)
    return Plan(
        *(source, labels, told, searched, kept, names, seed, device, prune, data, together, start)
    )


def _names(objective: object) -> tuple[str, ...]:
    """The objectives' names, of one or of several."""
    names = (objective,) if isinstance(objective, str) else objective
    if not isinstance(names, Iterable) or isinstance(names, Mapping):
        raise TypeError(
            "objective must be a name or a list of names, "
            f"however: objective={objective!r}; choose among {', '.join(OBJECTIVES)}"
        )
    return tuple(names)


def at_once(of: Plan, storage: str | Path | None, sampler: str) -> int:
    """How many of a plan's trials are begun at once.

    In a database one: it finds a dead worker's trial by its heartbeats, which a trial has alone.
    With a Gaussian process too: to draw beside trials whose scores are not known takes it longer
    than such trials do.
    """
    in_database = storage is not None and is_url(storage)
    return 1 if in_database or sampler == "gp" else of.together


def begin(
    of: Plan,
    storage: str | Path | None,
    study_name: str,
    *,
    sampler: str,
    n_trials: int,
    is_worker: bool = False,
) -> Study:
    """The plan's study, made with the plan's start first in its queue, or resumed.

    Where the space does not hold that, the point nearest to it is taken.
    """
    with quiet_optuna():
        opened, is_new = open_study(
            open_storage(storage), study_name, of.document, n_objectives=len(of.objectives)
        )
        if not is_new:
            _wait_for_first(opened)
        trials = opened.get_trials(deepcopy=False)
        # Who joins or resumes a study must not draw what has been drawn from the seed already.
        seed = of.seed if is_new else _mixed(of.seed, len(trials), owner())
        if sampler == "auto" and at_once(of, storage, sampler) > 1:
            sampler = "tpe"
        opened.sampler = sampler_for(sampler, n_trials, len(of.objectives), seed)
        opened.pruner = halving(enabled=of.prune)
        if not is_worker and not any(map(_is_default, trials)):
            inside = values_of(of.start, of.space)
            opened.enqueue_trial(inside, user_attrs={"default": True})
        if not is_worker:
            release_dead(opened)
    return opened


def _is_default(trial: FrozenTrial) -> bool:
    """Whether a trial is the default's, and was not cut short for good."""
    is_there = trial.state in (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)
    return "default" in trial.user_attrs and (is_there or failed_itself(trial))


def _wait_for_first(study: Study) -> None:
    """Whoever made a study puts the default into its queue; unless it died in between."""
    until = time.monotonic() + MAKING
    while not study.get_trials(deepcopy=False) and time.monotonic() < until:
        time.sleep(0.05)


def _together(bench: Bench, space: Space, fixed: dict[str, Any], device: str) -> int:
    """How many trials are begun at once: several where all are alike, and the largest is small."""
    try:
        config = Config(**settings_of({**largest(space), **fixed}))
    except (TypeError, ValueError):  # ends that are allowed one by one
        return 1
    same = SAME | {"batch_size"} if config.batch_norm else SAME
    on_gpu = device_named(device).type != "cpu"
    if same.intersection(space) or config.optimizer == "lars" or on_gpu:
        return 1
    table = TableEncoder.fit(
        bench.source,
        bench.train,
        normal_scores=config.normal_scores,
        holds=config.kind,
        n_top_columns=config.most_columns,
    )
    widths = [table.n_numbers, *config.hidden, config.n_components, *config.projector]
    layers = [before * after for before, after in pairwise(widths)]
    if config.skip:
        layers.append(table.n_numbers * config.n_components)
    work = 2 * min(config.batch_size, len(bench.train)) * max(layers)
    return 1 if table.cardinalities or work > WORK_FOR_STACKS else MOST_TOGETHER


def _mixed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


def _fingerprint(source: Source, labels: NDArray[np.intp] | None, told: PerRow) -> dict[str, Any]:
    """The table's fingerprint, with those of its labels, groups and weights."""
    of_labels = b"" if labels is None else labels.astype("<i8").tobytes()
    parts = {"labels": of_labels}
    if told.groups is not None:
        parts["groups"] = told.groups.astype("<i8").tobytes()
    if told.weights is not None:
        parts["weights"] = told.weights.astype("<f8").tobytes()
    digests = {name: hashlib.sha256(part).hexdigest()[:16] for name, part in parts.items()}
    return {**fingerprint(source), **digests}
