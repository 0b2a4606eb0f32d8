"""Scorecards as one self-contained HTML page. All text from the table is escaped."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING, Any

from vicreg import __version__
from vicreg.plots import plot_history, plot_maps, plot_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

__all__ = ["render_report"]


def render_report(cards: Sequence[dict[str, Any]], *, title: str = "VICReg report") -> str:
    """An HTML page of scorecards, given as :meth:`vicreg.Scorecard.as_dict` plus their maps."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vicreg"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    template = environment.get_template("report.html.jinja")
    return template.render(
        title=title,
        made_with=f"vicreg {__version__}",
        cards=[_prepared(card) for card in cards],
    )


def _prepared(card: dict[str, Any]) -> dict[str, Any]:
    scores, measures = card["scores"], card["measures"]
    rows = [
        {"method": method, "cells": [_told(of_method.get(name)) for name in measures]}
        for method, of_method in scores.items()
    ]
    pictures = []
    if card["maps"]:
        kinds = ", ".join(next(iter(card["maps"].values())))
        pictures.append(
            _picture(
                "The rows, before and after",
                f"{kinds} of {' and '.join(card['maps'])}, coloured by {card['coloured_by']}",
                plot_maps(card["maps"], card["map_labels"]),
            )
        )
    pictures.append(
        _picture("Scores side by side", "The score table as bars", plot_scores(scores, measures))
    )
    if card["history"]["step"]:
        pictures.append(
            _picture("The fit", "Loss and effective rank by step", plot_history(card["history"]))
        )
    return {**card, "rows": rows, "pictures": pictures}


def _told(value: float | None) -> str:
    return "" if value is None or value != value else f"{value:.3f}"


def _picture(title: str, alt: str, figure: Figure) -> dict[str, str]:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A label in a script that the font lacks shows as boxes; one warning a letter is noise.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=130)
    return {"title": title, "alt": alt, "data": base64.b64encode(buffer.getvalue()).decode()}
