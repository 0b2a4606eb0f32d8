"""A study's journal: a file, appended line by line, that several processes write.

Its lines are Optuna's, for any of its tools. Here it is noticed when the file is gone, is another
one, is damaged, or cannot be written.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO

__all__ = ["Journal", "JournalError", "JournalLostError"]

#: Seconds after which a lock counts as that of a dead process.
LOCK_GRACE = 30
#: Seconds between two looks at a lock that leads nowhere.
PAUSE = 0.2


class JournalError(OSError):
    """A journal cannot be read or written at the moment."""


class JournalLostError(OSError):
    """A journal was removed, replaced or damaged: to try again is of no use."""


class _Lock(JournalFileSymlinkLock):
    """A link beside the journal, which no other process can make as long as it is there."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal), grace_period=LOCK_GRACE)
        self._place = Path(f"{journal}.lock")
        _drop_lost(self._place)

    def release(self) -> None:
        """Remove the link, if none took it from a process that stood still for too long.

        In one step: in Optuna's two a signal that makes an exception is lost.
        """
        self._place.unlink(missing_ok=True)


class Journal(BaseJournalBackend):
    """A journal file, as Optuna writes it, that tells when it is gone, replaced, damaged or full.

    Parameters
    ----------
    path : Path
        Messages have it as it is given.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        # The lock is a link to the journal, whose age must be known from any folder.
        self._path = Path(os.path.realpath(path))
        with self._path.open("ab") as file:
            self._identity = _identity(os.fstat(file.fileno()))
        self._lock = _Lock(self._path)
        #: Where the lines begin that are known to be whole, and the next one.
        self._starts = [0]

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """What was written, from the entry of a number on."""
        with self._told("read"), self._path.open("rb") as file:
            self._check(os.fstat(file.fileno()))
            first = min(log_number_from, len(self._starts) - 1)
            file.seek(self._starts[first])
            damaged: int | None = None
            for number, line in enumerate(file, first):
                if not line.endswith(b"\n"):  # it is being written, or was cut short by a crash
                    return
                if damaged is not None:  # the last line may be one that has not quite arrived
                    raise self._damaged(damaged)
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = None
                if not isinstance(entry, dict) or "op_code" not in entry:
                    damaged = number
                    continue
                if number + 1 == len(self._starts):
                    self._starts.append(self._starts[number] + len(line))
                if number >= log_number_from:
                    yield entry

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write entries, all of them or none."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._told("written"), self._locked(), self._path.open("r+b", buffering=0) as file:
            self._check(os.fstat(file.fileno()))
            _append(file, lines.encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _told(self, done: str) -> Iterator[None]:
        """What is wrong with the file, in words."""
        try:
            yield
        except JournalLostError:
            raise
        except FileNotFoundError:
            raise self._gone() from None
        except OSError as error:
            raise JournalError(
                f"journal {self._name} cannot be {done}: {error.strerror}; finished trials are "
                "kept in it, and the same search again adds to them"
            ) from None

    def _check(self, now: os.stat_result) -> None:
        """It must be the file that was opened, and hold what was read of it."""
        if _identity(now) != self._identity or now.st_size < self._starts[-1]:
            raise self._gone()

    def _gone(self) -> JournalLostError:
        return JournalLostError(
            f"the journal {self._name} was removed or replaced while the study ran; what was "
            "finished is in the file that was there. Put it back, or begin anew with another one"
        )

    def _damaged(self, number: int) -> JournalLostError:
        line = number + 1
        return JournalLostError(
            f"the journal {self._name} is damaged in line {line}; keep a copy of it and delete "
            f"line {line} and all that follow, and the same search again goes on from there"
        )


def _identity(file: os.stat_result) -> tuple[int, int]:
    return file.st_dev, file.st_ino


def _append(file: FileIO, lines: bytes) -> None:
    """Write at the end of a file, all or nothing."""
    end = _whole(file)
    file.seek(end)
    try:
        while lines:
            lines = lines[file.write(lines) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)  # what follows half a line is not read
        raise


def _whole(file: FileIO) -> int:
    """The size of a file without a last line that a crash left unfinished, which is cut off."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        return 0
    file.seek(size - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        size = file.readall().rfind(b"\n") + 1
        file.truncate(size)
    return size


def _drop_lost(lock: Path) -> None:
    """Remove a lock that leads nowhere: Optuna cannot tell its age, and waits for ever."""
    with suppress(FileNotFoundError):  # it was released
        while lock.is_symlink() and not lock.exists():
            if time.time() - lock.lstat().st_mtime > LOCK_GRACE:
                lock.unlink()
            time.sleep(PAUSE)
