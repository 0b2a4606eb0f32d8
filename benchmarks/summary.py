"""Records of the quality benchmark as one summary, for JSON and for reading."""

from __future__ import annotations

import math
import platform
import statistics
from collections import Counter
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata, t

from methods import COMPARED
from scores import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from records import Record

__all__ = ["markdown", "summarise"]

#: What rounding makes of equal scores.
TIE = 1e-6
#: Methods that are neither ranked nor a configuration of VICReg.
BESIDE = ("boosting", "shuffled", "umap")
NOTE = (
    "In brackets the difference to raw, with the 95 % t interval of the paired differences: in a "
    "table's line over its splits, in an average over tables. The splits of a table share rows, so "
    "the former is narrower than that of new rows would be. Ranks are among {ranked}."
)
NAMES = {
    "linear": "logistic regression on standardised embeddings, balanced accuracy",
    "knn": "10 nearest neighbours, balanced accuracy",
    "silhouette": "silhouette by label",
    "ari": "k-means against the labels, adjusted Rand index",
}


def summarise(
    records: Sequence[Record],
    tables: Sequence[str],
    splits: int,
    *,
    by_precision: Sequence[str],
    lists: Sequence[str] = ("main",),
) -> dict[str, Any]:
    """Means, paired differences, ranks and shares, ready for JSON.

    Parameters
    ----------
    records : sequence of Record
        At most one of each table, split and method.
    tables : sequence of str
    splits : int
        Splits that every table should have.
    by_precision : sequence of str
        Tables whose probes are scored by average precision.
    lists : sequence of str
        The lists that the tables are from.
    """
    records = [one for one in records if one.table in tables and one.split < splits]
    present = {one.method for one in records}
    names = [name for name in COMPARED if name in present]
    variants = sorted(present - {*COMPARED, *BESIDE})
    methods = [*names, *variants, *(name for name in BESIDE if name in present)]
    runs: dict[tuple[str, str], list[Record]] = {}
    for one in sorted(records, key=lambda one: one.split):
        runs.setdefault((one.table, one.method), []).append(one)
    of_tables = {
        table: {
            method: _of_table(runs[table, method], runs.get((table, "raw"), []))
            for method in methods
            if (table, method) in runs
        }
        for table in tables
    }
    incomplete = [
        table
        for table in tables
        if any(len(runs.get((table, name), [])) < splits for name in [*names, *variants])
    ]
    complete = [table for table in tables if table not in incomplete]
    averages = {
        method: _average(
            {table: of_tables[table] for table in complete if method in of_tables[table]},
            method,
            # A configuration takes the default's place among the others.
            [*(name for name in names if name != "vicreg"), method]
            if method in variants
            else names,
        )
        for method in methods
    }
    against_default = {
        variant: {
            measure: _differences(
                [of_tables[table][variant]["scores"].get(measure) for table in complete],
                [of_tables[table]["vicreg"]["scores"].get(measure) for table in complete],
            )
            for measure in MEASURES
        }
        for variant in variants
        if "vicreg" in names
    }
    return {
        "head": {
            "machines": sorted({one.machine for one in records}),
            "python": platform.python_version(),
            "packages": {
                name: installed(name) for name in ("vicreg", "torch", "scikit-learn", "numpy")
            },
            "versions": {
                method: sorted(
                    {f"{one.version} {one.settings}" for one in records if one.method == method}
                )
                for method in methods
            },
            "overrides": {one.method: one.overrides for one in records if one.method in variants},
            "dates": sorted({one.date[:10] for one in records if one.date}),
            "seeds": list(range(splits)),
            "lists": list(lists),
            "tables": list(tables),
            "incomplete": incomplete,
            "ranked": names,
            "average_precision": [table for table in tables if table in by_precision],
        },
        "averages": averages,
        "against_default": against_default,
        "tables": of_tables,
        "failures": [
            {"table": one.table, "split": one.split, "method": one.method, "error": one.error}
            for one in records
            if one.error
        ],
        "warnings": Counter(
            f"{one.method}: {told}" for one in records for told in one.warnings
        ).most_common(),
    }


def _of_table(runs: Sequence[Record], of_raw: Sequence[Record]) -> dict[str, Any]:
    done = [one for one in runs if not one.error]
    raw = {one.split: one.scores for one in of_raw if not one.error}
    measures = [measure for measure in MEASURES if any(measure in one.scores for one in done)]
    return {
        "scores": {measure: _mean(one.scores.get(measure) for one in done) for measure in measures},
        "to_raw": {
            measure: _differences(
                [one.scores.get(measure) for one in done if one.split in raw],
                [raw[one.split].get(measure) for one in done if one.split in raw],
            )
            for measure in measures
        },
        "fit_seconds": _mean(one.fit_seconds for one in done),
        "splits": len(done),
        "failed": len(runs) - len(done),
    }


def _average(
    of_tables: dict[str, dict[str, Any]], method: str, ranked: Sequence[str]
) -> dict[str, Any]:
    """Over tables; every table counts once."""
    found: dict[str, Any] = {
        "fit_seconds": _mean(of_table[method]["fit_seconds"] for of_table in of_tables.values())
    }
    for measure in MEASURES:
        own = [of_table[method]["scores"].get(measure) for of_table in of_tables.values()]
        raw = [
            of_table.get("raw", {"scores": {}})["scores"].get(measure)
            for of_table in of_tables.values()
        ]
        if all(score is None for score in own):
            continue
        found[measure] = {"mean": _mean(own), **_differences(own, raw)}
        if method in ranked:
            found[measure]["rank"] = _mean(
                _rank(of_table, measure, method, ranked) for of_table in of_tables.values()
            )
    return found


def _rank(of_table: dict[str, Any], measure: str, method: str, ranked: Sequence[str]) -> float:
    """From 1, the best; equals share their ranks' mean, and who failed is last."""
    scores = [of_table[name]["scores"].get(measure, math.nan) for name in ranked]
    ranks = rankdata([-round(score / TIE) if score == score else math.inf for score in scores])
    return float(ranks[list(ranked).index(method)])


def _differences(
    own: Sequence[float | None], other: Sequence[float | None]
) -> dict[str, float | int | None]:
    """Mean paired difference with its 95 % t interval, and the share of pairs at or above 0.

    A pair lacking its own score counts as below; one lacking the other's score does not count.
    """
    pairs = [
        (math.nan if one is None else one, another)
        for one, another in zip(own, other, strict=True)
        if another is not None and another == another
    ]
    known = [one - another for one, another in pairs if one == one]
    half = None
    if len(known) > 1:
        spread = statistics.stdev(known) / math.sqrt(len(known))
        half = float(t.ppf(0.975, len(known) - 1)) * spread
    return {
        "difference": _mean(known),
        "interval": half,
        "share": sum(one >= another - TIE for one, another in pairs) / len(pairs)
        if pairs
        else None,
        "pairs": len(known),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None and value == value]
    return float(np.mean(known)) if known else None


def markdown(summary: dict[str, Any]) -> str:
    """The summary as tables; differences to raw in brackets, with their interval."""
    head = summary["head"]
    packages = ", ".join(f"{name} {number}" for name, number in head["packages"].items())
    complete = len(head["tables"]) - len(head["incomplete"])
    protocol = (
        f"{len(head['tables'])} tables (list: {_listed(head['lists'])}), "
        "splits (70 % fitted without labels, 30 % scored) and seeds "
        f"{_listed(head['seeds'])}. Fitted {_listed(head['dates'])} on:"
    )
    lines = [
        "# Quality of embeddings",
        "",
        protocol,
        "",
        *(f"- {machine}" for machine in head["machines"]),
        f"- {packages}",
        "",
    ]
    for method, versions in head["versions"].items():
        if len(versions) > 1:
            lines.append(f"**{method} mixes versions of code or settings: {_listed(versions)}.**")
    for method, overrides in head["overrides"].items():
        told = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
        lines.append(f"- {method}: {told or 'as the default'}")
    if head["incomplete"]:
        lines.append(f"**Not finished, and in no average: {_listed(head['incomplete'])}.**")
    for failure in summary["failures"]:
        lines.append(
            f"- **failed**: {failure['method']} on {failure['table']}, split {failure['split']}: "
            f"{failure['error']}"
        )
    lines += ["", f"## Averages over {complete} tables", ""]
    lines += _averages(summary["averages"], complete)
    if summary["against_default"]:
        lines += ["", "## Configurations against the default", ""]
        lines += _against_default(summary["against_default"])
    for measure in MEASURES:
        lines += ["", f"## {measure}: {NAMES[measure]}", ""]
        if measure in ("linear", "knn") and head["average_precision"]:
            lines += [f"Average precision on {_listed(head['average_precision'])}.", ""]
        lines += _of_measure(summary, measure)
    lines += ["", "## Seconds of a fit, one thread", "", *_seconds(summary)]
    lines += ["", NOTE.format(ranked=_listed(head["ranked"]))]
    if summary["warnings"]:
        lines += ["", "## Warnings", ""]
        lines += [f"- {count} times {told}" for told, count in summary["warnings"]]
    return "\n".join(lines) + "\n"


def _averages(averages: dict[str, Any], n_tables: int) -> list[str]:
    rows = []
    for method, found in averages.items():
        cells = [method]
        for measure in MEASURES:
            of_measure = found.get(measure)
            if of_measure is None:
                cells += ["", "", ""]
                continue
            difference = None if method == "raw" else of_measure
            cell = _score(of_measure["mean"], difference)
            if of_measure["pairs"] < n_tables:
                cell += f" of {of_measure['pairs']}"
            cells.append(cell)
            cells.append(_number(of_measure.get("rank"), 2))
            cells.append("" if method == "raw" else _percent(of_measure["share"]))
        rows.append([*cells, _number(found["fit_seconds"], 1)])
    titles = [title for measure in MEASURES for title in (measure, "rank", "≥ raw")]
    return _table(["method", *titles, "fit s"], rows)


def _against_default(against: dict[str, Any]) -> list[str]:
    rows = []
    for method, found in against.items():
        cells = [method]
        for measure in MEASURES:
            cells += [_difference(found[measure]), _percent(found[measure]["share"])]
        rows.append(cells)
    titles = [title for measure in MEASURES for title in (measure, "≥ default")]
    return _table(["method", *titles], rows)


def _of_measure(summary: dict[str, Any], measure: str) -> list[str]:
    methods = [name for name, found in summary["averages"].items() if _has(summary, name, measure)]
    rows = []
    for table, of_table in summary["tables"].items():
        cells = [table]
        for method in methods:
            found = of_table.get(method)
            if found is None:
                cells.append("")
                continue
            difference = None if method == "raw" else found["to_raw"].get(measure)
            cell = _score(found["scores"].get(measure), difference)
            if found["failed"]:
                cell += f" {found['failed']} failed"
            cells.append(cell.strip())
        rows.append(cells)
    return _table(["table", *methods], rows)


def _has(summary: dict[str, Any], method: str, measure: str) -> bool:
    return any(
        measure in of_table[method]["scores"] or of_table[method]["failed"]
        for of_table in summary["tables"].values()
        if method in of_table
    )


def _seconds(summary: dict[str, Any]) -> list[str]:
    methods = list(summary["averages"])
    rows = [
        [table, *(_number(of_table.get(name, {}).get("fit_seconds"), 1) for name in methods)]
        for table, of_table in summary["tables"].items()
    ]
    return _table(["table", *methods], rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _score(mean: float | None, difference: dict[str, Any] | None) -> str:
    told = _number(mean, 3)
    if difference is not None and difference["difference"] is not None:
        told += f" ({_difference(difference)})"
    return told


def _difference(found: dict[str, Any]) -> str:
    if found["difference"] is None:
        return ""
    told = f"{round(found['difference'], 3) + 0.0:+.3f}"  # no -0.000
    return told if found["interval"] is None else f"{told} ± {found['interval']:.3f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _listed(items: Sequence[object]) -> str:
    return ", ".join(str(item) for item in items) or "none"
