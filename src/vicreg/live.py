"""A page about work that is under way, written anew again and again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vicreg.places import fresh_file
from vicreg.report import pictures_of, render_page

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from vicreg.history import Moment, Pulse

__all__ = ["LivePage", "LiveState", "WatchedPage", "write_live_page"]

#: Seconds between two writings, and after which a browser loads the page again.
EVERY = 2.0
REFRESH = 3


@dataclass
class LiveState:
    """What is known of work under way.

    Attributes
    ----------
    title : str
    status : str
        A word or two: running, finished, stopped.
    told : str
        One sentence on where it stands.
    history : dict
        Columns by name as in :attr:`vicreg.VICReg.history_`; empty where there is none.
    pictures : list of (title, alternative text, SVG document)
    running : bool
        Whether a browser should load the page again.
    """

    title: str
    status: str = "running"
    told: str = ""
    history: dict[str, list[float]] = field(default_factory=dict)
    pictures: list[tuple[str, str, str]] = field(default_factory=list)
    running: bool = True


def write_live_page(path: Path, state: LiveState) -> None:
    """Write a page about work under way, whole or not at all.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vicreg.live import LiveState, write_live_page
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_live_page(Path(folder) / "live.html", LiveState("fit", told="step 3 of 10"))
    ...     "step 3 of 10" in (Path(folder) / "live.html").read_text(encoding="utf-8")
    True
    """
    shown: dict[str, Any] = {
        "title": state.title,
        "status": state.status,
        "told": state.told,
        "pictures": pictures_of(state.pictures),
    }
    page = render_page(
        f"{state.title}: {state.status}",
        live=shown,
        data={"cards": [], "live": {"history": state.history if state.history else None}},
        refresh=REFRESH if state.running else 0,
    )
    with fresh_file(path) as fresh:
        fresh.write_text(page, encoding="utf-8")


class WatchedPage:
    """A page about work under way, written now and again; leaving the context ends it.

    Parameters
    ----------
    path : Path
        The page, written whole or not at all.
    title : str
    every : float
        Seconds between two writings, at the least.
    """

    def __init__(self, path: Path, title: str, *, every: float) -> None:
        self._path, self._every = path, every
        self._state = LiveState(title, told="The work has begun.")
        self._written = -float("inf")

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._state.running = False
        self._tell()
        self._state.status = "finished" if kind is None else "stopped"
        if error is not None:
            self._state.told += f" {type(error).__name__}: {error}".rstrip(": ")
        self._write()

    def _tell(self) -> None:
        """Bring the state up to date; for pages to which that is too dear to do at every call."""

    def _refresh(self) -> None:
        """Write the page, if the last writing is long enough ago."""
        if time.perf_counter() - self._written >= self._every:
            self._tell()
            self._write()

    def _write(self) -> None:
        write_live_page(self._path, self._state)
        self._written = time.perf_counter()


class LivePage(WatchedPage):
    """Tells of a fit on a page: an observer of its moments and of the signs of life between them.

    Parameters
    ----------
    path, title, every
        See :class:`WatchedPage`.
    steps : int
        Steps of the fit, at the most.
    """

    def __init__(self, path: Path, title: str, steps: int, *, every: float = EVERY) -> None:
        super().__init__(path, title, every=every)
        self._steps = steps
        self._of_moment = ""
        self._stood: tuple[int, float, float] | None = None
        self._ended_by = ""

    def __call__(self, moment: Moment) -> None:
        for name, value in moment._asdict().items():
            self._state.history.setdefault(name, []).append(value)
        self._of_moment = f"; effective rank {moment.effective_rank:.1f} at step {moment.step}"
        self._stand(moment.step, moment.total, moment.seconds)

    def pulse(self, sign: Pulse) -> None:
        """Between two moments only the sentence changes, not the curves."""
        self._stand(sign.step, sign.total, sign.seconds)

    def ended(self, step: int, stopped: str) -> None:
        """The fit has ended at a step, in a way that its history names."""
        if self._stood is not None:
            self._stood = (step, *self._stood[1:])
        self._ended_by = {"early": ", stopped early", "interrupted": ", interrupted"}.get(
            stopped, ""
        )

    def _stand(self, step: int, total: float, seconds: float) -> None:
        self._stood = step, total, seconds
        self._refresh()

    def _tell(self) -> None:
        if self._stood is None:
            return
        step, total, seconds = self._stood
        left = seconds / step * (self._steps - step)
        ending = f", about {left:.0f} s to go" if self._state.running else self._ended_by
        self._state.told = (
            f"Step {step} of {self._steps} after {seconds:.0f} s{ending}; "
            f"loss {total:.4g}{self._of_moment}."
        )
