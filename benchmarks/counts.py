"""Counts of genes in cells: the embedding beside PCA of the log-normalised counts.

    python benchmarks/counts.py [--tables scmark pbmc68k] [--splits 5] [--set NAME=VALUE ...]
        [--folder .tables]

The protocol is that of ``quality.py``: rows split 70 to 30, everything fitted on the 70 % without
labels, four scores on the 30 %. Rivals: the counts at one depth, log(1 + x), as they are and as
their first 50 principal components, centred or standardised as well. ``log1p`` is VICReg on the
same logarithms as a plain table (``kind="table"``), which knows nothing of counts; ``counts`` is
VICReg on the counts, by default and with what ``--set`` changes.

pbmc68k ships log-normalised; its counts are what a row's values are multiples of: the smallest
value of a row is one count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np
import scipy.sparse
import torch
from sklearn.decomposition import PCA

import tables
from quality import _value, split_rows
from scores import MEASURES, score
from timing import machine
from vicreg import VICReg
from vicreg.counts import Depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

Matrix: TypeAlias = "NDArray[np.floating]"
COMPONENTS = 50
TABLES = ("scmark", "pbmc68k")


def load(name: str, folder: Path) -> tables.Table:
    """A table of raw counts with its labels, as :func:`tables.load` gives it otherwise."""
    table = tables.read(name, folder)
    if name == "scmark":
        counts = np.expm1(table.X)
    else:
        listed = tables.LISTED[name]
        with h5py.File(folder / listed.home / listed.file) as file:
            raw = file["raw/X"]
            parts = tuple(raw[part][:] for part in ("data", "indices", "indptr"))
        normalised = np.expm1(scipy.sparse.csr_array(parts, shape=table.X.shape).toarray())
        one = np.where(normalised > 0, normalised, np.inf).min(axis=1, keepdims=True)
        counts = normalised / one
    whole = np.round(counts)
    if np.abs(whole - counts).max() > 0.05 * max(1.0, float(np.sqrt(whole.max()))):
        raise ValueError(f"{name} does not hold multiples of one count")
    return tables.prepared(tables.Table(name, whole, table.y))


def measure(
    table: tables.Table, split: int, settings: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Scores of every method on one split."""
    train, test = split_rows(table, split)
    X, Q = table.X[train], table.X[test]
    depth = Depth.fit(X, None, None)
    (logs, _), (new, _) = depth(X), depth(Q)
    centred, new_centred = logs - logs.mean(axis=0), new - logs.mean(axis=0)
    scale = np.where(logs.std(axis=0) > 0, logs.std(axis=0), 1.0)
    scaled, new_scaled = (np.clip(one / scale, -10, 10) for one in (centred, new_centred))
    pca, pca_scaled = (PCA(COMPONENTS, random_state=split).fit(one) for one in (centred, scaled))
    spaces = {
        "log-normalised": (logs, new, 0.0),
        "PCA-50": (pca.transform(centred), pca.transform(new_centred), 0.0),
        "PCA-50, standardised": (
            pca_scaled.transform(scaled),
            pca_scaled.transform(new_scaled),
            0.0,
        ),
        "log1p": _embedded(logs, new, split, {"kind": "table"}),
        "counts": _embedded(X, Q, split, {"kind": "counts"}),
    }
    if settings:
        spaces["counts, as set"] = _embedded(X, Q, split, {"kind": "counts", **settings})
    return {
        name: {**score(one, other, table.y[train], table.y[test]), "seconds": seconds}
        for name, (one, other, seconds) in spaces.items()
    }


def _embedded(
    X: Matrix, Q: Matrix, split: int, settings: dict[str, Any]
) -> tuple[Matrix, Matrix, float]:
    model = VICReg(random_state=split, n_threads=1, **settings)
    start = time.perf_counter()
    model.fit(X)
    seconds = time.perf_counter() - start
    return model.transform(X), model.transform(Q), seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--folder", type=Path, default=tables.FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = {
        name: _value(value) for name, _, value in (one.partition("=") for one in options.set)
    }
    tables.install(options.tables, options.folder)
    print(f"{machine()}; {settings}")
    for name in options.tables:
        table = load(name, options.folder)
        found = []
        for split in range(options.splits):
            found.append(measure(table, split, settings))
            print(f"{name}: split {split} done", file=sys.stderr, flush=True)
        print(f"\n{name}: {table.X.shape[0]} rows x {table.X.shape[1]} columns\n")
        print("| method | " + " | ".join(MEASURES) + " | seconds |")
        print("|---" * (len(MEASURES) + 2) + "|")
        for method in found[0]:
            cells = [_told([one[method][measure] for one in found]) for measure in MEASURES]
            seconds = statistics.median(one[method]["seconds"] for one in found)
            print(f"| {method} | " + " | ".join(cells) + f" | {seconds:.0f} |", flush=True)


def _told(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
