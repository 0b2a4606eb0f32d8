"""A scorecard: an embedding beside the raw table, PCA and controls, in every form it is read in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vicreg.places import fresh_file
from vicreg.report import render_report
from vicreg.scores import MEASURES
from vicreg.verdict import advise, figure, verdict_of

if TYPE_CHECKING:
    from vicreg.estimator import VICReg
    from vicreg.scores import Scores
    from vicreg.verdict import Advice, Verdict
    from vicreg.view import View

__all__ = ["Scorecard"]


@dataclass
class Scorecard:
    """Scores of an embedding beside the raw table, PCA and controls, with intervals.

    Attributes
    ----------
    estimates : dict
        Method to measure to :class:`vicreg.intervals.Estimate`. Methods: ``vicreg``, ``raw``,
        ``raw unscaled`` (where the table is all numbers), ``pca``, ``untrained``, ``shuffled``.
    held_out : bool
        Whether the scored rows were kept from the fit.
    seen : bool
        Whether they are known to be of the fit. Neither holds where a fitted model is scored on
        another table than its own.
    view : View or None
        Maps, neighbours and columns of the rows, for the page.
    model : VICReg
        The fitted model that was scored.
    facts : dict
        Versions, the table's fingerprint, seconds of every part of the work.
    """

    title: str
    n_rows: int
    n_scored: int
    held_out: bool
    label_name: str | None
    n_groups: int
    estimates: Scores
    model: VICReg
    notes: list[str] = field(default_factory=list)
    view: View | None = None
    batch_name: str | None = None
    n_batches: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    seen: bool = False
    #: More pictures for the page, such as those of a tuning study: (title, alternative text, SVG).
    pictures: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Method to measure to value, without intervals."""
        return {
            method: {name: estimate.value for name, estimate in of_method.items()}
            for method, of_method in self.estimates.items()
        }

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that are told first, in order; of clusters only where there is no target."""
        clusters = "silhouette of clusters"
        return tuple(
            name
            for name, measure in MEASURES.items()
            if measure.headline
            and any(name in of_method for of_method in self.estimates.values())
            and (name != clusters or self.label_name is None)
        )

    @property
    def diagnostics(self) -> tuple[str, ...]:
        """The other measures: those that need no labels."""
        measured = {name for of_method in self.estimates.values() for name in of_method}
        return tuple(name for name in MEASURES if name in measured - set(self.measures))

    @property
    def verdict(self) -> str:
        """Whether the embedding beats the raw table and PCA, in one or two sentences."""
        return self.judgement.text

    @property
    def judgement(self) -> Verdict:
        """The verdict and its kind: better, mixed, level, worse or unknown."""
        return verdict_of(self.estimates, target_known=self.label_name is not None)

    @property
    def advice(self) -> list[Advice]:
        """What to try next, with reasons."""
        return advise(
            self.estimates,
            self.model.history_,
            self.model.embedder_.config.as_dict(),
            target_known=self.label_name is not None,
            n_groups=self.n_batches,
        )

    @property
    def described(self) -> str:
        """What was scored on what, in one line."""
        rows = f"{self.n_rows} rows"
        if self.held_out:
            rows += f", scored on {self.n_scored} rows that the fit has not seen"
        else:
            rows += f", scored on {self.n_scored} of them" + ", seen in the fit" * self.seen
        if self.label_name is None:
            return f"{rows}; without labels: by {self.n_groups} k-means clusters of each space"
        if not self.n_groups:
            return f"{rows}; by {self.label_name}, a quantity"
        return f"{rows}; by {self.label_name}, {self.n_groups} class{'es' * (self.n_groups > 1)}"

    def as_dict(self) -> dict[str, Any]:
        """Everything but view and model, ready for JSON."""
        intervals = {
            method: {name: list(estimate.interval) for name, estimate in of_method.items()}
            for method, of_method in self.estimates.items()
        }
        return {
            "title": self.title,
            "described": self.described,
            "verdict": self.verdict,
            "verdict_kind": self.judgement.kind,
            "advice": [one._asdict() for one in self.advice],
            "measures": list(self.measures),
            "diagnostics": list(self.diagnostics),
            "scores": self.scores,
            "intervals": intervals,
            "n_rows": self.n_rows,
            "n_scored": self.n_scored,
            "held_out": self.held_out,
            "seen": self.seen,
            "label": self.label_name,
            "batch": self.batch_name,
            "notes": [*self.notes, *(self.view.notes if self.view else [])],
            "importance": {
                one.name: one.moved for one in (self.view.importance if self.view else [])
            },
            "facts": self.facts,
            "history": self.model.history_,
            "config": self.model.embedder_.config.as_dict(),
        }

    def to_json(self) -> str:
        """The card as one JSON line; NaN becomes null."""
        return json.dumps(_without_nan(self.as_dict()))

    def to_frame(self) -> Any:
        """Scores as a pandas frame, a row per method and measure.

        Columns: method, measure, value, low and high (95 % interval), and the same of the paired
        difference of the embedding to that method.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError(
                "to_frame needs pandas, however: it is not installed; pip install pandas, or take "
                "as_dict()"
            ) from None
        lines = []
        for method, of_method in self.estimates.items():
            for name, estimate in of_method.items():
                own = self.estimates["vicreg"].get(name)
                difference = None if own is None else own.minus(estimate)
                nothing = (float("nan"), float("nan"))
                lines.append(
                    {
                        "method": method,
                        "measure": name,
                        "value": estimate.value,
                        **dict(zip(("low", "high"), estimate.interval, strict=True)),
                        "vicreg_minus": float("nan") if difference is None else difference.value,
                        **dict(
                            zip(
                                ("vicreg_minus_low", "vicreg_minus_high"),
                                nothing if difference is None else difference.interval,
                                strict=True,
                            )
                        ),
                    }
                )
        return pd.DataFrame(lines)

    def to_markdown(self) -> str:
        """The table of the first measures in Markdown."""
        lines = ["| method | " + " | ".join(self.measures) + " |"]
        lines.append("|---" * (len(self.measures) + 1) + "|")
        for method, of_method in self.scores.items():
            cells = [told(of_method.get(measure)) for measure in self.measures]
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def to_html(self, path: str | Path | None = None) -> str:
        """The card as a self-contained page; written to ``path`` if given."""
        page = render_report([self], title=f"VICReg on {self.title}")
        if path is not None:
            with fresh_file(Path(path)) as fresh:
                fresh.write_text(page, encoding="utf-8")
        return page

    def _repr_html_(self) -> str:
        """A notebook's display: the page in a frame of its own, which keeps its style to itself."""
        import html

        page = html.escape(self.to_html(), quote=True)
        return (
            f'<iframe srcdoc="{page}" title="VICReg scorecard" width="100%" height="760" '
            'sandbox="allow-scripts" style="border: 1px solid #ccc"></iframe>'
        )

    def __str__(self) -> str:
        lines = [f"{self.title}: {self.described}", self.to_markdown(), self.verdict]
        lines += [f"{one.title}. {one.reason}" for one in self.advice]
        return "\n".join(lines)


def told(value: float | None) -> str:
    """A score for a table's cell, empty where there is none."""
    return "" if value is None or not np.isfinite(value) else figure(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
