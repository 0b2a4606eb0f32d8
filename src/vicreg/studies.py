"""Optuna's studies: where they are kept, who works on them, and what becomes of a dead one's trial.

A path is a journal file, appended line by line; a URL is a database. In a database every trial has
a heartbeat, so that a machine that went away is noticed. On one machine a trial's owner is known by
its process, and nothing has to be waited for.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
import warnings
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

__all__ = [
    "SAMPLERS",
    "check_sampler",
    "check_storage",
    "give_back",
    "halving",
    "in_memory",
    "is_url",
    "open_storage",
    "open_study",
    "owner",
    "queue_again",
    "quiet_optuna",
    "release_dead",
    "sampler_for",
    "seed_of_study",
    "without_password",
]

SAMPLERS = ("auto", "tpe", "gp", "random")
#: Trials up to which a Gaussian process is the better model; TPE needs more to learn from.
SMALL_BUDGET = 25
#: Seconds between heartbeats, and after which a silent trial counts as dead.
HEARTBEAT, GRACE = 10, 40
#: Seconds that a study which another process has begun to make may take to have its document.
MAKING = 5.0
#: How often a trial whose worker died is tried again.
MOST_RETRIES = 3
#: How often a database is opened in which another process makes the same tables.
MOST_RACES = 10
DOCUMENT = "vicreg"
JOURNAL_START = b'{"op_code":'
OWNER, RETRY_OF = "owner", "retry_of"
#: Where Optuna keeps the parameters that a trial was put in the queue with.
QUEUED = "fixed_params"


def is_url(storage: str | Path) -> bool:
    """Whether a storage is a database's address and not a path."""
    return isinstance(storage, str) and "://" in storage


def check_storage(storage: str | Path | None, n_workers: int) -> None:
    """Refuse what cannot hold a study of so many workers.

    Raises
    ------
    ValueError
        For SQLite with several workers, or an address that is not one.
    TypeError
        If it is neither path nor address.
    """
    if storage is not None and not isinstance(storage, str | Path):
        raise TypeError(
            "storage must be a path (a journal file) or a database URL, "
            f"however: {type(storage).__name__}"
        )
    if storage is None or not is_url(storage):
        if storage is not None and Path(storage).is_dir():
            raise ValueError(
                f"storage must be a file or a database URL, however: {storage} (folder)"
            )
        return
    scheme = str(storage).partition("://")[0]
    if not re.fullmatch(r"[a-z0-9]+(\+[a-z0-9]+)?", scheme):
        raise ValueError(
            f"storage must be a path or a database URL, however: {without_password(storage)}"
        )
    if scheme.startswith("sqlite") and n_workers > 1:
        raise ValueError(
            "SQLite loses trials when several processes write; for n_workers > 1 storage must be "
            f"a path (a journal file) or PostgreSQL, however: {without_password(storage)}"
        )


def open_storage(storage: str | Path | None) -> BaseStorage:
    """A journal file (made if missing), a database, or memory for None.

    Raises
    ------
    ValueError
        If the file is no journal, or the database's address or driver is wrong.
    ConnectionError
        If the database does not answer.
    """
    if storage is None:
        return optuna.storages.InMemoryStorage()
    return _database(str(storage)) if is_url(storage) else _journal(Path(storage))


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
        if study.trials:
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
        with quiet_optuna():
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


def owner() -> str:
    """This process: host, boot, process number and start, so that no other is taken for it."""
    return ":".join([socket.gethostname(), _boot(), str(os.getpid()), _started(os.getpid()) or ""])


def release_dead(study: Study) -> list[int]:
    """Fail trials whose process on this host is gone, and put them in the queue again.

    The first thing that a process does with a trial is to put its name to it. One that has been
    running without a name for longer than that can take belongs to a process that died before.

    Returns
    -------
    list of int
        The numbers of the trials.
    """
    released = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        of = trial.user_attrs.get(OWNER)
        gone = _age(trial) > GRACE if of is None else not _alive(str(of))
        if gone and give_back(study, trial.number, "worker died"):
            released.append(trial.number)
    return released


def give_back(study: Study, number: int, cause: str) -> bool:
    """Fail a trial that was cut short, and put it in the queue again; False if it had ended."""
    try:
        study.tell(number, state=TrialState.FAIL)
    except ValueError:  # another process was quicker
        return False
    queue_again(study, number, cause)
    return True


def queue_again(study: Study, number: int, cause: str) -> None:
    """Put the parameters of a failed trial in the queue, unless that was done too often."""
    trial = study.get_trials(deepcopy=False)[number]
    tried = int(trial.user_attrs.get("retries", 0))
    # A trial from the queue may have been cut short before it took what was meant for it.
    parameters = {**trial.system_attrs.get(QUEUED, {}), **trial.params}
    if not parameters or tried >= MOST_RETRIES:
        return
    attributes = {RETRY_OF: number, "retries": tried + 1, "retry_cause": cause}
    if "default" in trial.user_attrs:
        attributes["default"] = True
    study.enqueue_trial(parameters, user_attrs=attributes)


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


def _journal(path: Path) -> BaseStorage:
    if not path.parent.is_dir():
        raise ValueError(f"storage: there is no folder {path.parent}; make it first")
    lock = JournalFileSymlinkLock(str(path))
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if not file.read(len(JOURNAL_START)).startswith(JOURNAL_START):
                raise ValueError(f"storage is a file, but no journal of studies: {path}")
        _mend(path, lock)
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except (ValueError, KeyError) as error:
        raise ValueError(f"storage {path} is damaged: {error}") from None


def _mend(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Cut off a last line that a crash left unfinished; what is written after it is not read."""
    lock.acquire()  # or else it might be a line that another process is writing
    try:
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()


def _database(url: str) -> BaseStorage:
    import sqlalchemy.exc

    if url.startswith("postgresql://"):
        url = "postgresql+psycopg://" + url.removeprefix("postgresql://")
    try:
        for patience in reversed(range(MOST_RACES)):
            try:
                return _tables(url)
            except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
                # Another process makes the same tables at this moment; next time they are there.
                if not patience:
                    raise
                time.sleep(0.3)
        raise AssertionError
    except ImportError as error:
        hint = 'pip install "vicreg[postgresql]"' if "psycopg" in str(error) else "install it"
        raise ValueError(f"storage: the database's driver is missing ({error}); {hint}") from None
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise ValueError(
            f"storage must be a path or a database URL such as postgresql://user@host/name, "
            f"however: {without_password(url)} ({str(error).splitlines()[0]})"
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise ConnectionError(
            f"storage {without_password(url)} cannot be reached: {reason}"
        ) from None


def _tables(url: str) -> BaseStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            url,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MOST_RETRIES),
            engine_kwargs={} if url.startswith("sqlite") else {"pool_pre_ping": True},
        )


def without_password(url: object) -> str:
    """An address without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", str(url))


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
        if isinstance(was, dict) and isinstance(now, dict):
            found += _entries(was, now, f"{path}.")
        else:
            found.append(f"{path} (then {json.dumps(was)}, now {json.dumps(now)})")
    return found


def _age(trial: FrozenTrial) -> float:
    """Seconds since a trial was begun."""
    begun = trial.datetime_start
    return 0.0 if begun is None else (datetime.now() - begun).total_seconds()


def _boot() -> str:
    identity = Path("/proc/sys/kernel/random/boot_id")
    return identity.read_text(encoding="ascii").strip() if identity.exists() else ""


def _started(pid: int) -> str | None:
    """Clock ticks at which a process began, None if it is gone or only waits to be buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _alive(of: str) -> bool:
    host, boot, pid, started = of.rsplit(":", 3)
    if host != socket.gethostname():
        return True  # nothing is known of other machines; they have heartbeats
    if boot != _boot():
        return False
    if boot:
        return _started(int(pid)) == started
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
