"""Optuna's studies: made, resumed, and never taken for another; their samplers and pruner."""

from __future__ import annotations

import json
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.study import StudyDirection

from vicreg.storages import in_words, is_url, open_storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.study import Study

__all__ = [
    "SAMPLERS",
    "check_sampler",
    "halving",
    "in_memory",
    "open_study",
    "quiet_optuna",
    "sampler_for",
    "seed_of_study",
]

SAMPLERS = ("auto", "tpe", "gp", "random")
#: Trials up to which a Gaussian process is the better model; TPE needs more to learn from.
SMALL_BUDGET = 25
#: Seconds that a study which another process has begun to make may take to have its document.
MAKING = 5.0
DOCUMENT = "vicreg"


def open_study(
    storage: BaseStorage,
    name: str,
    document: Mapping[str, Any],
    *,
    n_objectives: int,
) -> tuple[Study, bool]:
    """The study of a name, made or resumed, and whether it was made.

    Of several processes that come at once, one makes it.

    Parameters
    ----------
    storage : BaseStorage
    name : str
    document : mapping
        What must be the same for trials to be comparable: space, objectives, data. Kept with the
        study when it is made.
    n_objectives : int

    Raises
    ------
    ValueError
        If the study was made with another document; the message says what differs.
    """
    begun_by_another = False
    try:
        try:
            study = optuna.create_study(
                storage=storage, study_name=name, directions=["maximize"] * n_objectives
            )
        except DuplicatedStudyError:
            begun_by_another = True
            study = optuna.load_study(study_name=name, storage=storage)
    except (KeyError, TypeError, AttributeError) as error:  # lines that are JSON but no journal
        raise ValueError(f"storage does not hold studies: {error!r}") from None
    known = study.user_attrs.get(DOCUMENT)
    until = time.monotonic() + MAKING
    while known is None and begun_by_another and not study.trials and time.monotonic() < until:
        time.sleep(0.05)
        known = study.user_attrs.get(DOCUMENT)
    if known is None:
        # An empty one may be another process's that was killed before it had said more.
        if study.trials or study.directions != [StudyDirection.MAXIMIZE] * n_objectives:
            raise ValueError(
                f"study {name!r} in this storage was not made by this package; choose another "
                "study_name or storage"
            )
        study.set_user_attr(DOCUMENT, json.loads(json.dumps(document)))
        return study, True
    differing = _differences(known, json.loads(json.dumps(document)))
    if differing:
        raise ValueError(
            f"study {name!r} was made with another {'; '.join(differing)}. Resume it with the same "
            "arguments, or choose another study_name or storage"
        )
    return study, False


def in_memory(study: Study) -> Study:
    """A copy of a study whose storage is about to go."""
    storage = optuna.storages.InMemoryStorage()
    with quiet_optuna():
        optuna.copy_study(
            from_study_name=study.study_name,
            from_storage=study._storage,
            to_storage=storage,
        )
        return optuna.load_study(study_name=study.study_name, storage=storage)


def seed_of_study(storage: str | Path | None, name: str) -> int | None:
    """The seed that a study of this name was made with, if there is one in the storage."""
    if storage is None or (not is_url(storage) and not Path(storage).exists()):
        return None
    try:
        with quiet_optuna(), in_words(storage):
            study = optuna.load_study(study_name=name, storage=open_storage(storage))
    except (KeyError, TypeError, AttributeError):
        return None  # there is none yet; of what holds no studies open_study has more to say
    seed = study.user_attrs.get(DOCUMENT, {}).get("seed")
    return seed if isinstance(seed, int) else None


def check_sampler(name: object) -> None:
    """Refuse a sampler that there is none of."""
    if name not in SAMPLERS:
        raise ValueError(f"sampler must be one of {SAMPLERS}, however: sampler={name!r}")


def sampler_for(name: str, n_trials: int, n_objectives: int, seed: int) -> BaseSampler:
    """The sampler of a name; ``"auto"`` is a Gaussian process for small budgets, else TPE.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011 (TPE).
    """
    check_sampler(name)
    if name == "auto":
        name = "gp" if n_trials <= SMALL_BUDGET and n_objectives == 1 else "tpe"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if name == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        if name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed)


def halving(*, enabled: bool) -> BasePruner:
    """Successive halving: at each rung, reached after 3 times the steps, a third goes on.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020,
    arXiv 1810.05934, algorithm 2.
    """
    if not enabled:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's log lines and its warnings of experimental parts."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _differences(known: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What differs, down to single entries; the first five."""
    found = _entries(known, asked, "")
    return found if len(found) <= 5 else [*found[:5], f"and {len(found) - 5} entries more"]


def _entries(known: Mapping[str, Any], asked: Mapping[str, Any], within: str) -> list[str]:
    found = []
    for name in sorted({*known, *asked}):
        was, now = known.get(name), asked.get(name)
        if was == now:
            continue
        path = f"{within}{name}"
        if path == "seed":  # which is drawn from what was given
            found.append("random_state (leave it out to take that of the study)")
            continue
        if isinstance(was, dict) and isinstance(now, dict):
            found += _entries(was, now, f"{path}.")
        else:
            found.append(f"{path} (then {json.dumps(was)}, now {json.dumps(now)})")
    return found
