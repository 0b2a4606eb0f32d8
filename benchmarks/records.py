"""Finished measurements, one JSON line each, so that a run can be stopped and taken up again.

A measurement counts as long as the method's settings and the code it ran are the same.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import vicreg

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

__all__ = ["Key", "Record", "append", "chosen", "read_records", "same_settings", "version"]

#: Raise it when a table, a method or a score of the benchmark changes its result.
PROTOCOL = 1
#: Files of the package that no fit, table or score depends on.
SHELLS = {
    *(
        "__init__",
        "cli",
        "command_outputs",
        "command_table",
        "demo_command",
        "embed_command",
        "evaluate_command",
    ),
    *("fit_command", "info_command", "options", "terminal", "tune_command"),
    *("embedding_file", "memory", "modelcard", "persistence", "places", "progress"),
    *("evaluation", "events", "importance", "intervals", "live", "maps", "packing", "plots"),
    *("report", "scorecard", "scored_rows", "scores", "shown_columns", "spaces", "targets"),
    *("verdict", "view", "finalists", "journal", "objectives", "owners"),
    *("search_space", "storages", "studies", "study_page", "study_plots", "trial_loop", "trials"),
    *("tuning", "tuning_result", "workers"),
}
#: The files that methods without a network depend on.
TABLE_FILES = {
    *("columns", "counts", "frames", "metrics", "moments", "quantiles", "sources", "table"),
    *("table_file", "text_columns"),
}
WITHOUT_NETWORK = {"raw", "pca", "boosting", "umap"}


class Key(NamedTuple):
    """What a record measured."""

    table: str
    split: int
    method: str
    version: str
    settings: str


@dataclass(frozen=True)
class Record:
    """One method on one split of one table; without scores where it failed."""

    table: str
    split: int
    method: str
    version: str
    settings: str
    scores: dict[str, float] = field(default_factory=dict)
    fit_seconds: float = 0.0
    error: str = ""
    warnings: tuple[str, ...] = ()
    overrides: dict[str, Any] = field(default_factory=dict)
    machine: str = ""
    date: str = ""

    @property
    def key(self) -> Key:
        """What it measured."""
        return Key(self.table, self.split, self.method, self.version, self.settings)


def read_records(path: Path) -> list[Record]:
    """The records of a file, none if there is no file; a line cut short by a crash is passed over.

    Scores that are not numbers were written as null and are read as NaN.
    """
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        values["warnings"] = tuple(values["warnings"])
        values["scores"] = {
            name: float("nan") if score is None else score
            for name, score in values["scores"].items()
        }
        records.append(Record(**values))
    return records


def append(path: Path, record: Record) -> None:
    """Add a record in one write, so that lines of several processes do not mix."""
    values = asdict(record)
    values["scores"] = {
        name: score if score == score else None for name, score in record.scores.items()
    }
    line = json.dumps(values, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode("utf-8"))
    finally:
        os.close(descriptor)


def chosen(records: Sequence[Record], wanted: Container[Key]) -> list[Record]:
    """One record of every table, split and method: a wanted one if there is, or the last."""
    wanted_last = sorted(records, key=lambda one: one.key in wanted)
    return list({(one.table, one.split, one.method): one for one in wanted_last}.values())


def same_settings(values: dict[str, Any]) -> str:
    """A short text that is the same for the same settings."""
    return _digest(json.dumps(values, sort_keys=True))


@cache
def version(kind: str) -> str:
    """The package's version and a digest of the code that a method runs, without its comments."""
    folder = Path(vicreg.__file__).parent
    files = [path for path in sorted(folder.glob("*.py")) if path.stem not in SHELLS]
    if kind in WITHOUT_NETWORK:
        files = [path for path in files if path.stem in TABLE_FILES]
    code = "".join(_without_comments(path.read_text(encoding="utf-8")) for path in files)
    return f"{vicreg.__version__}+{_digest(code)}/{PROTOCOL}"


def _without_comments(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:8]
