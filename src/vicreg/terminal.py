"""What commands print for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vicreg.scorecard import Scorecard

__all__ = ["print_card", "print_facts", "say", "show_warning"]


def say(line: str) -> None:
    """A line of text."""
    print(line)


def print_facts(facts: Mapping[str, object], minor: Mapping[str, object] | None = None) -> None:
    """Two columns: what, and how much; ``minor`` ones come behind, and are dimmed."""
    told = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        told.add_row(name, escape(_plain(value)))
    for name, value in (minor or {}).items():
        told.add_row(f"[dim]{name}[/dim]", escape(_plain(value)))
    Console().print(told)


def print_card(card: Scorecard) -> None:
    """Scores by method, notes, verdict and advice."""
    table = Table(box=None, pad_edge=False)
    table.add_column("method")
    for measure in card.measures:
        table.add_column(measure, justify="right")
    for method, of_method in card.scores.items():
        values = [of_method.get(measure, float("nan")) for measure in card.measures]
        cells = ["" if value != value else f"{value:.3f}" for value in values]
        table.add_row(method, *cells, style="bold" if method == "vicreg" else None)
    console = Console()
    console.print(f"{card.title}: {card.described}", markup=False, style="bold", soft_wrap=True)
    console.print(table)
    for note in card.notes:
        console.print(f"note: {note}", markup=False, style="dim", soft_wrap=True)
    console.print(card.verdict, markup=False, soft_wrap=True)
    for one in card.advice:
        console.print(f"advice: {one.title}. {one.reason}", markup=False, soft_wrap=True)
    console.print()


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line on stderr, in place of ``warnings.showwarning``."""
    print(f"vicreg: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
