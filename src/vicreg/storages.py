"""Where Optuna's studies are kept, and what is said when that is out of reach.

A path is a journal file, appended line by line; a URL is a database. In a database every trial has
a heartbeat, so that a machine that went away is noticed.
"""

from __future__ import annotations

import re
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import JournalStorage, RDBStorage

from vicreg.journal import Journal, JournalError, JournalLostError
from vicreg.owners import DIED, GRACE, queue_again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

    T = TypeVar("T")

__all__ = [
    "PASSING",
    "TROUBLE",
    "beating",
    "check_storage",
    "in_words",
    "is_url",
    "open_storage",
    "until_it_answers",
    "without_password",
]

#: Seconds between heartbeats.
HEARTBEAT = 10
#: Seconds for which a storage out of reach is waited for, and between two tries.
PATIENCE, PAUSE = 30.0, 0.2
#: How often a database is opened in which another process makes the same tables.
MOST_RACES = 10
JOURNAL_START = b'{"op_code":'
#: What an address of a database begins with, whatever is wrong with the rest.
ALMOST_URL = re.compile(r"(postgres(ql)?|mysql|mariadb|sqlite|oracle|mssql)(\+\w+)?(:|//)", re.I)


#: What may be over in a moment, and all that a storage raises that is out of reach.
PASSING = (StorageInternalError, JournalError)
TROUBLE = (*PASSING, JournalLostError)


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
        almost = ALMOST_URL.match(storage) if isinstance(storage, str) else None
        if almost is not None:  # the rest may hold a password
            raise ValueError(
                "storage must be a path or a database URL such as postgresql://user@host/name, "
                f"however: {almost[0]}..., without ://"
            )
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


def without_password(url: object) -> str:
    """An address without its password."""
    named = r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*"
    shown = re.sub(named, r"\1***", str(url), flags=re.IGNORECASE)
    # To the last @: one within a password should be written %40, and often is not.
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", shown)


def until_it_answers(action: Callable[[], T]) -> T:
    """What an action on a storage gives, tried again for some time while that is out of reach.

    A database that is started anew, or a disk that is full for a moment, must not cost a trial.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except PASSING as error:
            if time.monotonic() >= until or _is_refusal(error):
                raise
        time.sleep(PAUSE)


@contextmanager
def in_words(storage: str | Path | None) -> Iterator[None]:
    """Tell of a database that refuses, or does not answer any more; a journal tells of itself.

    Raises
    ------
    ConnectionError
    """
    try:
        yield
    except StorageInternalError as error:
        if _is_refusal(error):
            raise ConnectionError(
                f"storage {without_password(storage)} refuses what a study asks of it: "
                f"{_reason(error)}; its user must be allowed to make, read and write tables"
            ) from None
        raise ConnectionError(
            f"storage {without_password(storage)} does not answer: {_reason(error)}; "
            f"{_kept(storage)}"
        ) from None


@contextmanager
def beating(study: Study, trial: Trial) -> Iterator[None]:
    """A heartbeat for a trial in a database as long as the block lasts.

    Optuna's own ends, with a traceback, when the database is away for a moment.
    """
    storage = study._storage
    record = getattr(storage, "record_heartbeat", None)
    if record is None:
        yield
        return
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.is_set():
            with suppress(*PASSING):
                record(trial._trial_id)
            is_over.wait(HEARTBEAT)
        storage.remove_session()  # this thread's

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        is_over.set()
        heart.join()


def _is_refusal(error: Exception) -> bool:
    """Whether a database has answered, and will not do what it was asked, now or later."""
    import sqlalchemy.exc

    refusals = sqlalchemy.exc.ProgrammingError | sqlalchemy.exc.DataError
    return isinstance(error.__cause__, refusals)


def _kept(storage: object) -> str:
    return (
        f"finished trials are kept in {without_password(storage)}, and the same search again adds "
        "to them"
    )


def _reason(error: Exception) -> str:
    """What the driver said, without an address's password."""
    cause = error.__cause__ or error
    told = str(getattr(cause, "orig", None) or cause).strip().splitlines() or ["no reason given"]
    return without_password(told[0])


def _journal(path: Path) -> BaseStorage:
    if not path.parent.is_dir():
        raise ValueError(f"storage: there is no folder {path.parent}; make it first")
    try:
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                if not file.read(len(JOURNAL_START)).startswith(JOURNAL_START):
                    raise ValueError(f"storage is a file, but no journal of studies: {path}")
        return JournalStorage(Journal(path))
    except PermissionError as error:
        raise PermissionError(
            f"storage {path} must be a file that can be read and written, however: "
            f"{error.strerror}; allow it, or choose another storage"
        ) from None
    except JournalLostError as error:
        raise ValueError(f"storage: {error}") from None
    except (ValueError, KeyError, AssertionError) as error:
        raise ValueError(
            f"storage {path} is damaged: a line of it is JSON, but no entry of a journal "
            f"({error!r}); keep a copy of it and delete that line, or choose another storage"
        ) from None


def _database(url: str) -> BaseStorage:
    import sqlalchemy.exc

    _check_url(url)
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
        hint = 'pip install "psycopg[binary]"' if "psycopg" in str(error) else "install it"
        raise ValueError(f"storage: the database's driver is missing ({error}); {hint}") from None
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise ValueError(f"{_no_address(url)} ({_reason(error)})") from None
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, OSError) as error:
        raise ConnectionError(
            f"storage {without_password(url)} cannot be reached: {_reason(error)}"
        ) from None


def _check_url(url: str) -> None:
    """Refuse an address that cannot be taken apart: a driver would tell parts of its password."""
    import sqlalchemy

    try:
        address = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise ValueError(_no_address(url)) from None
    if "@" in (address.host or ""):
        raise ValueError(
            "storage must have one @ before its host, and %40 for one in a password, however: "
            f"{without_password(url)}"
        )


def _no_address(url: str) -> str:
    return (
        "storage must be a path or a database URL such as postgresql://user@host/name, "
        f"however: {without_password(url)}"
    )


def _tables(url: str) -> BaseStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            url,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=_tried_again,
            engine_kwargs={} if url.startswith("sqlite") else {"pool_pre_ping": True},
        )


def _tried_again(study: Study, trial: FrozenTrial) -> None:
    """What a database does with a trial whose heart has stopped."""
    queue_again(study, trial.number, DIED)
