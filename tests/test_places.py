"""Files that are written whole or not at all, and the places that are not written to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vicreg.persistence import check_free
from vicreg.places import check_file, fresh_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_earlier_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")

    def stop_half_way() -> None:
        with fresh_file(path) as fresh:
            fresh.write_text("half", encoding="utf-8")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stop_half_way()
    assert path.read_text(encoding="utf-8") == "old"
    with fresh_file(path) as fresh:
        assert fresh.suffix == ".html"
        fresh.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["page.html"]


@pytest.mark.parametrize("is_there", [True, False])
def test_of_a_link_what_it_points_to_is_written(tmp_path: Path, is_there: bool) -> None:
    (tmp_path / "of").mkdir()
    target = tmp_path / "of" / "page.html"
    if is_there:
        target.write_text("old", encoding="utf-8")
    link = tmp_path / "current.html"
    link.symlink_to(target)
    check_file(link)
    with fresh_file(link) as fresh:
        fresh.write_text("new", encoding="utf-8")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"
    assert names(tmp_path) == ["current.html", "of"]
    assert names(tmp_path / "of") == ["page.html"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe, circle = tmp_path / "pipe", tmp_path / "circle"
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    for path, why in (
        (tmp_path, "is a folder; choose a file's name"),
        (pipe, "is a device or a pipe; choose a file's name"),
        (circle, "its links go round in a circle"),
    ):
        with pytest.raises(OSError, match=why):
            check_file(path)
        with pytest.raises(OSError, match=why), fresh_file(path):
            pass
    assert pipe.is_fifo()
    assert names(tmp_path) == ["circle", "pipe"]


def test_above_the_root_there_is_nothing() -> None:
    with pytest.raises(OSError, match="/ cannot be (replaced: it is .* a mount|written: no perm)"):
        check_free(Path("/"))
