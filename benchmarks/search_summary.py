"""Rank correlations and regrets of objectives, from the records of ``tuning.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import spearmanr

from vicreg.finalists import LABEL_FREE_MARGIN

__all__ = ["TRUTHS", "markdown", "on_other_rows", "summarise"]

HEAD = (
    "| objective | ρ linear | ρ knn | ρ silhouette | ρ overall | its pick: overall | at or above "
    "| with a margin: left the default | linear | knn | silhouette | overall | at or above |"
)
TRUTHS = ("linear", "knn", "silhouette")
#: What the labels of the rows say that objectives are scored on, as an objective for other rows.
LABELS = "the labels themselves"


def summarise(records: dict[str, Any], margin: float = LABEL_FREE_MARGIN) -> dict[str, Any]:
    """By table and objective: correlations with each truth, and what its pick is worth.

    With a margin, a pick must be above the default by so many standard deviations of all trials'
    scores, or the default stays. A pick's gain is its truth minus the default's; ``best`` is the
    gain of the best trial by the mean of the three truths, each in units of its spread over the
    table's trials.
    """
    by_table = _by_table(records)
    names = sorted({name for of in by_table.values() for name in of[0]["objectives"]})
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    best: list[dict[str, float]] = []
    for trials in by_table.values():
        truth = {name: np.array([t["truth"][name] for t in trials]) for name in TRUTHS}
        overall = _overall(trials)
        default = next(place for place, t in enumerate(trials) if t["trial"] == 0)
        best.append(_gains(truth, overall, int(overall.argmax()), default))
        for name in names:
            scores = np.array([t["objectives"][name] for t in trials])
            scores = np.where(np.isfinite(scores), scores, -np.inf)
            row = _gains(truth, overall, int(scores.argmax()), default)
            kept = _with_margin(scores, default, margin)
            row |= {
                f"kept {name}": gain for name, gain in _gains(truth, overall, kept, default).items()
            }
            row["left"] = float(kept != default)
            for target in TRUTHS:
                row[f"rho {target}"] = float(spearmanr(scores, truth[target]).statistic)
            row["rho overall"] = float(spearmanr(scores, overall).statistic)
            rows[name].append(row)
    return {
        "machine": records["machine"],
        "version": records["version"],
        "tables": list(by_table),
        "trials": min((len(trials) for trials in by_table.values()), default=0),
        "objectives": rows,
        "best": best,
    }


def on_other_rows(records: dict[str, Any]) -> dict[str, Any]:
    """The records with the truth of another split, drawn apart: a quarter of its rows are the same.

    The best of many trials is partly the luckiest. :data:`LABELS` is one more objective: what the
    truth of the first rows, which it is, says of the others is what any objective could.
    """
    trials = []
    for of in _by_table(records).values():
        for trial, overall in zip(of, _overall(of), strict=True):
            objectives = {**trial["objectives"], LABELS: float(overall)}
            trials.append({**trial, "truth": trial["again"], "objectives": objectives})
    return {**records, "trials": trials}


def markdown(summary: dict[str, Any]) -> str:
    """A table for the documentation."""
    lines = [
        f"{summary['machine']}; {summary['version']}",
        "",
        f"{len(summary['tables'])} tables, {summary['trials']} configurations, the default one.",
        "",
        HEAD,
        "|---" * 13 + "|",
    ]
    ranked = sorted(summary["objectives"].items(), key=lambda item: -_mean(item[1], "kept overall"))
    for name, rows in ranked:
        lines.append(
            f"| {name} | "
            + " | ".join(f"{_mean(rows, f'rho {target}'):.2f}" for target in (*TRUTHS, "overall"))
            + f" | {_mean(rows, 'overall'):+.2f} | {_share(rows, 'overall'):.0%} | "
            + f"{_mean(rows, 'left'):.0%} | "
            + " | ".join(f"{_mean(rows, f'kept {target}'):+.3f}" for target in TRUTHS)
            + f" | {_mean(rows, 'kept overall'):+.2f} | {_share(rows, 'kept overall'):.0%} |"
        )
    best = summary["best"]
    lines.append(
        f"| the best trial | | | | | {_mean(best, 'overall'):+.2f} | | | "
        + " | ".join(f"{_mean(best, target):+.3f}" for target in TRUTHS)
        + " | | |"
    )
    return "\n".join(lines)


def _by_table(records: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    by_table: dict[str, list[dict[str, Any]]] = {}
    for record in records["trials"]:
        if "error" not in record:
            by_table.setdefault(record["table"], []).append(record)
    return by_table


def _overall(trials: list[dict[str, Any]]) -> Any:
    """The mean of the truths of a table's trials, each in units of its spread."""
    truths = [np.array([trial["truth"][name] for trial in trials]) for name in TRUTHS]
    return np.mean([_standardised(values) for values in truths], axis=0)


def _gains(truth: dict[str, Any], overall: Any, picked: int, default: int) -> dict[str, float]:
    gains = {name: float(values[picked] - values[default]) for name, values in truth.items()}
    return {**gains, "overall": float(overall[picked] - overall[default])}


def _standardised(values: Any) -> Any:
    spread = values.std()
    return (values - values.mean()) / (spread if spread > 0 else 1.0)


def _mean(rows: list[dict[str, float]], name: str) -> float:
    return float(np.nanmean([row[name] for row in rows]))


def _share(rows: list[dict[str, float]], name: str) -> float:
    return float(np.mean([row[name] >= 0 for row in rows]))


def _with_margin(scores: Any, default: int, margin: float) -> int:
    """The best trial by its score, or the default if it is not clearly behind."""
    finite = scores[np.isfinite(scores)]
    best = int(scores.argmax())
    return best if scores[best] > scores[default] + margin * finite.std() else default
