"""Where commands write: nothing takes the place of what a command reads or makes besides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vicreg.persistence import DOCUMENT, OWN
from vicreg.places import check_file, place_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STUDY", "check_no_input", "check_page"]

#: Where in a model's folder the study is told of that it was found by.
STUDY = "tuning"


def check_no_input(
    option: str, out: Path | None, *inputs: Path | None, called: str = "the table"
) -> None:
    """Refuse to write over a file that is read.

    Raises
    ------
    ValueError
    """
    if out is None:
        return
    for path in inputs:
        # By another name it may be the same file; one that is yet to be made has a place alone.
        is_same = path is not None and (
            place_of(out) == place_of(path)
            or (out.exists() and path.exists() and out.samefile(path))
        )
        if not is_same:
            continue
        raise ValueError(
            f"{option} must be another file than {called}, which it would replace, however: {out}"
        )


def check_page(
    option: str, page: Path | None, *tables: Path | None, model: Path, at_once: bool = False
) -> None:
    """Refuse, before the work, a page where no file can be, or another file of the command is.

    Parameters
    ----------
    option : str
        What messages call it.
    page : Path or None
    tables : Path or None
        The tables that are read.
    model : Path
        The model's folder, which may have a page in it, but not in the place of what it is made of.
    at_once : bool
        The page is there before the model is, which needs a folder of its own then.

    Raises
    ------
    ValueError, OSError
    """
    if page is None:
        return
    check_file(page)
    check_no_input(option, page, *tables)
    place, folder = place_of(page), place_of(model)
    own = {folder, folder / STUDY, *(folder / name for name in OWN)}
    if place in own or folder / STUDY in place.parents:
        raise ValueError(
            f"{option} must be another file than those of the model in {model}, however: {page}"
        )
    if at_once and folder in place.parents and not (folder / DOCUMENT).exists():
        raise ValueError(
            f"{option} must not be in {model}, which is made when all else is done, "
            f"however: {page}; choose a place beside it"
        )
