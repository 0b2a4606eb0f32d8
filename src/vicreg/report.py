"""Scorecards as one self-contained HTML page. All text from the table is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from importlib.resources import files
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vicreg import __version__
from vicreg.packing import pack_view, safe_json
from vicreg.scores import MEASURES
from vicreg.verdict import compare, figures
from vicreg.view import CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from vicreg.importance import Importance
    from vicreg.scores import Scores
    from vicreg.verdict import Verdict
    from vicreg.view import View

__all__ = ["MOST_BYTES", "render_page", "render_report"]

#: A page is no larger than this; columns to hover over are left out where they would make it so.
MOST_BYTES = 7_800_000
SCRIPTS = ("data.js", "scatter.js", "explorer.js", "charts.js", "page.js")
MARKS = {
    1: ("up", "▲", "the embedding is better than this"),
    -1: ("down", "▼", "the embedding is worse than this"),
    0: ("level", "=", "no difference to the embedding beyond chance"),
}
WHISKER = 96
#: Columns whose move is drawn.
MOST_BARS = 20
#: What the scores' rows are; a page tells of those that it has.
METHODS = {
    "raw": "the table, standardised, categories as 0 and 1",
    "raw unscaled": "its numbers as they came",
    "pca": "principal components, as many as the embedding has dimensions",
    "untrained": "the same encoder as it was initialised",
    "shuffled": (
        "the same encoder trained on the table with every column shuffled on its own, which "
        "leaves nothing to learn between columns"
    ),
}
#: An option of the command line, which no line break may cut.
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


class Card(Protocol):
    """What a page needs of a scorecard."""

    label_name: str | None
    estimates: Scores
    view: View | None
    pictures: list[tuple[str, str, str]]

    @property
    def judgement(self) -> Verdict: ...

    def as_dict(self) -> dict[str, Any]: ...


def render_report(cards: Sequence[Card], *, title: str = "VICReg report") -> str:
    """An HTML page of scorecards that needs no other file."""
    room = MOST_BYTES // max(len(cards), 1) - 300_000
    contexts, data = [], []
    for card in cards:
        context, packed = _prepared(card, room)
        contexts.append(context)
        data.append(packed)
    return render_page(title, cards=contexts, data={"cards": data})


def render_page(
    title: str,
    *,
    cards: Sequence[dict[str, Any]] = (),
    live: dict[str, Any] | None = None,
    data: dict[str, Any],
    refresh: int = 0,
) -> str:
    """The page around prepared cards, or around a fit that is under way.

    Parameters
    ----------
    title : str
    cards : sequence of dict
        What ``card.html.jinja`` shows.
    live : dict, optional
        What ``live.html.jinja`` shows.
    data : dict
        What the scripts read.
    refresh : int
        Seconds after which a browser should load the page again; 0 for never.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vicreg"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["note"] = _note
    folder = files("vicreg") / "templates"
    style = (folder / "page.css").read_text(encoding="utf-8")
    parts = [(folder / name).read_text(encoding="utf-8") for name in SCRIPTS]
    script = '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"
    # The page may run these two texts and load nothing, whatever a table's text would like.
    policy = (
        f"default-src 'none'; script-src '{_sha256(script)}'; style-src '{_sha256(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    from markupsafe import Markup

    page = environment.get_template("report.html.jinja").render(
        title=title,
        made_with=f"vicreg {__version__}",
        cards=cards,
        live=live,
        refresh=refresh,
        policy=policy,
        style=Markup(style),  # noqa: S704 (the package's own file)
        script=Markup(script),  # noqa: S704
        data=Markup(safe_json(data)),  # noqa: S704 (escaped for its place)
        methods=[
            (name, meaning)
            for name, meaning in METHODS.items()
            if any(row["method"] == name for card in cards for row in card["score_rows"])
        ],
        meanings=[
            (name, measure.meaning)
            for name, measure in MEASURES.items()
            if any(name in (*card["measures"], *card["diagnostics"]) for card in cards)
        ],
    )
    # Half of a pair of UTF-16, which a name may be, has no UTF-8: it must not cost the work.
    return page.encode("utf-8", "replace").decode("utf-8")


def pictures_of(pictures: Sequence[tuple[str, str, str]]) -> list[dict[str, str]]:
    """Titles, alternative texts and SVG documents as images, in which no script runs."""
    return [
        {"title": title, "alt": alt, "data": base64.b64encode(svg.encode()).decode()}
        for title, alt, svg in pictures
    ]


def _sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _note(text: str) -> Markup:
    """A note as the page has it: escaped, and its options in one piece."""
    from markupsafe import Markup, escape

    marked = OPTION.sub(r'<span class="option">\g<0></span>', str(escape(text)))
    return Markup(marked)  # noqa: S704 (escaped before)


def _capital(note: str, names: Sequence[str | None]) -> str:
    """With a capital in front, if it does not begin with a name of the table's."""
    if any(name and note.startswith(name) for name in names):
        return note
    return note[:1].upper() + note[1:]


def _prepared(card: Card, room: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the template shows of a card, and what the scripts read of it."""
    told, view = card.as_dict(), card.view
    packed: dict[str, Any] = {"history": told["history"]}
    context = {
        **{name: told[name] for name in ("title", "described", "verdict_kind")},
        "notes": [_capital(note, (card.label_name, told["batch"])) for note in told["notes"]],
        "verdict_sentences": list(card.judgement.sentences),
        "verdict_word": card.judgement.headline
        + ", on rows that the fit has seen" * (told["seen"] and told["verdict_kind"] != "unknown"),
        "advice": told["advice"],
        "measures": told["measures"],
        "score_rows": _rows(card, told["measures"]),
        "diagnostics": told["diagnostics"],
        "diagnostic_rows": _rows(card, told["diagnostics"]),
        "label": card.label_name or "cluster",
        "has_maps": False,
        "confusion": [],
        "importance": [],
        "importance_notes": [],
        "pictures": pictures_of(card.pictures),
        "history_names": [
            name for name, values in told["history"].items() if isinstance(values, list)
        ],
        "tables": _tables(told),
    }
    columns = [told["history"][name] for name in context["history_names"]]
    context["history_rows"] = [
        [f"{value:.4g}" for value in line] for line in zip(*columns, strict=True)
    ]
    if view is None:
        return context, packed
    name = card.label_name
    labels = view.colours.get(name or CLUSTERS)
    classes = None if labels is None or labels.dtype.kind == "f" else labels
    packed |= pack_view(
        replace(view, columns=[one.with_unit() for one in view.columns]), classes, room
    )
    packed["widths"] = view.widths
    if packed["left_out"]:
        context["notes"] = [
            *context["notes"],
            f"{packed['left_out']} columns were left out of the page to keep it below 8 MB",
        ]
    context["has_maps"] = bool(view.maps)
    if view.confusion is not None:
        context["confusion"] = _confusion(view.confusion)
    if view.importance:
        context |= _importance(view.importance)
    return context, packed


def _importance(columns: Sequence[Importance]) -> dict[str, Any]:
    most = max(one.moved + 2 * one.error for one in columns) or 1.0
    bars = [
        {
            "name": one.name,
            "width": round(100 * one.moved / most, 1),
            "low": round(100 * max(one.moved - 2 * one.error, 0) / most, 1),
            "high": round(100 * (one.moved + 2 * one.error) / most, 1),
            "told": f"{100 * one.moved:.2f}",
        }
        for one in columns[:MOST_BARS]
    ]
    notes = []
    lowest = columns[0].moved - 2 * columns[0].error
    level = len(list(takewhile(lambda one: one.moved + 2 * one.error >= lowest, columns)))
    if level > 1:
        notes.append(
            f"The lines of the first {level} columns overlap with that of the first one: which of "
            "them moves a row the farthest cannot be told."
        )
    if len(columns) > len(bars):
        notes.append(f"Columns that do less and are not drawn: {len(columns) - len(bars)}.")
    return {"importance": bars, "importance_notes": notes}


def _rows(card: Card, measures: Sequence[str]) -> list[dict[str, Any]]:
    ranges = {}
    for measure in measures:
        ends = [
            end
            for of_method in card.estimates.values()
            if measure in of_method
            for end in (of_method[measure].value, *of_method[measure].interval)
            if np.isfinite(end)
        ]
        ranges[measure] = (min(ends), max(ends)) if ends else (0.0, 0.0)
    return [
        {
            "method": method,
            "cells": [_cell(card, method, measure, *ranges[measure]) for measure in measures],
        }
        for method in card.estimates
    ]


def _cell(card: Card, method: str, measure: str, low: float, high: float) -> dict[str, Any] | None:
    estimate = card.estimates[method].get(measure)
    if estimate is None or not np.isfinite(estimate.value):
        return None
    mark, sign, words = "", "", ""
    if method != "vicreg" and MEASURES[measure].better:
        found = compare(card.estimates, measure, method)
        if found is not None:
            mark, sign, words = MARKS[found]
    whole = measure == "dead dimensions"
    value, half = (f"{estimate.value:.0f}", "") if whole else figures(estimate)
    told: dict[str, Any] = {
        "value": value,
        "half": half and f"± {half}",
        "mark": mark,
        "sign": sign,
        "words": words,
        "whisker": None,
    }
    if half and high > low:
        ends = (estimate.interval[0], estimate.value, estimate.interval[1])
        told["whisker"] = [round(3 + (WHISKER - 6) * (end - low) / (high - low), 1) for end in ends]
    return told


def _confusion(confusion: Any) -> list[dict[str, Any]]:
    found = []
    for space, name in (("raw", "raw table"), ("vicreg", "embedding")):
        shares = confusion.shares[space]
        others = bool(shares[:, -1].any())
        shown = shares if others else shares[:, :-1]
        found.append(
            {
                "name": name,
                "columns": [*confusion.labels, *(["others"] if others else [])],
                "same": f"{100 * np.diag(shares).mean():.1f}",
                "rows": [
                    {
                        "label": label,
                        "cells": [
                            {
                                "told": f"{100 * share:.0f}" if share >= 0.005 else "",
                                "heat": int(np.ceil(5 * share)) if share >= 0.05 else 0,
                            }
                            for share in line
                        ],
                    }
                    for label, line in zip(confusion.labels, shown, strict=True)
                ],
            }
        )
    return found


def _tables(told: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    facts = told["facts"]
    history = told["history"]
    seconds = [(name, f"{value:.1f} s") for name, value in facts.get("seconds", {}).items()]
    if history["seconds"]:
        seconds.insert(0, ("training of the model", f"{history['seconds'][-1]:.1f} s"))
    return [
        ("Configuration", [(name, str(value)) for name, value in told["config"].items()]),
        ("Versions", [(name, str(value)) for name, value in facts.get("versions", {}).items()]),
        ("Data", [(name, str(value)) for name, value in facts.get("table", {}).items()]),
        ("Seconds", seconds),
    ]
