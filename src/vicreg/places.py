"""Where results are written: places that are checked before the work, and replaced whole."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    T = TypeVar("T")

__all__ = ["check_file", "check_parent", "fresh_file", "patiently", "place_of", "put_in_place"]

#: How often, and after how many seconds, is tried again what a save elsewhere may have disturbed.
TRIES, PAUSE = 10, 0.02


def check_file(path: Path) -> None:
    """Refuse a place where no file can be written: a folder, a device, or one below a file.

    Raises
    ------
    OSError
        If there is something else than a file, or its parent cannot be written to.
    """
    check_parent(_place_of_file(path))


@contextmanager
def fresh_file(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` only if the block ends well.

    Of a link it takes the place of what that points to.

    Raises
    ------
    OSError
        If there is something else than a file.
    """
    place = _place_of_file(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=place.parent)
    os.close(handle)
    fresh = Path(name)
    try:
        yield fresh
        fresh.chmod(0o644)
        fresh.replace(place)
    finally:
        fresh.unlink(missing_ok=True)


def _place_of_file(path: Path) -> Path:
    place = place_of(path)
    if place.is_dir():
        raise IsADirectoryError(f"{path} is a folder; choose a file's name")
    if place.exists() and not place.is_file():  # to replace /dev/null would harm all other programs
        raise FileExistsError(f"{path} is a device or a pipe; choose a file's name")
    return place


def place_of(path: Path) -> Path:
    """What a path stands for, links followed; a dangling link stands for what it points to."""
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OSError(f"{path} must lead somewhere, however: its links go round in a circle")
    return place


def check_parent(path: Path) -> None:
    """Refuse a place that cannot be made: the nearest thing above it must be a writable folder.

    Raises
    ------
    OSError
    """
    # Above the root there is nothing.
    there = next((parent for parent in path.absolute().parents if parent.exists()), path)
    if not there.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{path} cannot be written: no permission in {there}")


def patiently(action: Callable[[], T]) -> T:
    """What an action on a model folder gives, tried again while it fails as it does during a save.

    A folder cannot be replaced in one step everywhere: for a moment there is none, and what is read
    of one model may be followed by a file of the next. A save that has stopped at that moment for
    longer than all the tries together is taken for a folder that is missing or altered.
    """
    for _ in range(TRIES - 1):
        try:
            return action()
        except (FileNotFoundError, FileExistsError, ValueError):
            time.sleep(PAUSE)
    return action()


def put_in_place(fresh: Path, folder: Path, own: Callable[[Path], Collection[str]]) -> None:
    """Move a written folder to its place, and what else was in an earlier one along with it.

    ``own`` tells which files of an earlier folder the new one replaces. Several may do this at the
    same time: each folder is whole, and the last one stays.

    A process that is killed between the two moves leaves no folder there: the earlier model is then
    whole in ``.NAME-old-*`` beside it.
    """
    earlier: list[Path] = []
    placed = False
    try:
        # Others may save there too, and take the place after it was freed: then theirs is set
        # aside as well. In every turn but the last another save gets done, so there is an end.
        while not (placed := _moved(fresh, folder)):
            aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            earlier.append(aside / folder.name)
            try:
                folder.rename(earlier[-1])
            except FileNotFoundError:  # another save has just set it aside
                earlier.pop()
                aside.rmdir()
    finally:
        for one in reversed(earlier):
            # After a failure the newest goes back, if the place is free.
            if one.exists() and (placed or not _moved(one, folder)):
                _take_along(one, folder, own(one))
            one.parent.rmdir()


def _moved(folder: Path, place: Path) -> bool:
    """Move a folder; False if there is something in its place."""
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def _take_along(earlier: Path, folder: Path, own: Collection[str]) -> None:
    """Remove an earlier folder; what is not among its own files moves into the new one.

    Nothing else is removed: should a move fail, the rest is still there and the error names it.
    """
    for entry in list(earlier.iterdir()):
        if entry.name in own and not entry.is_dir():
            entry.unlink()
        else:
            patiently(partial(_move_new, entry, folder / entry.name))
    earlier.rmdir()


def _move_new(path: Path, to: Path) -> None:
    if os.path.lexists(to):
        raise FileExistsError(
            f"{path} cannot move to {to}, which another program has just made; all else is "
            "in place, move it yourself"
        )
    path.rename(to)
