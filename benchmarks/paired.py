"""Two families of features of the same handwritten digits, embedded into one space.

    python benchmarks/paired.py [--first fou --second kar] [--splits 5] [--set NAME=VALUE ...]
        [--folder .tables]

mfeat has six tables of the same 2,000 rows; two of them are fitted together, on 70 % of the rows
without labels, and the other 600 rows are scored: a logistic regression, 10 nearest neighbours and
the silhouette by digit, on either raw table (standardised), both side by side, the embedding of
either side, both embeddings side by side, and their mean. Retrieval: how often a test row's partner
in the other table is the nearest by cosine among the 600, or one of the ten nearest, in both
directions; beside it linear canonical correlation, which knows the same training pairs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from sklearn.cross_decomposition import CCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import tables
from quality import TEST_SHARE, _value
from scores import MEASURES, score
from timing import machine
from vicreg import VICReg

if TYPE_CHECKING:
    from numpy.typing import NDArray

Matrix: TypeAlias = "NDArray[np.floating]"
#: Components of the canonical correlation, as many as the smaller of its usual settings.
CANONICAL = 32


def read_views(first: str, second: str, folder: Path) -> tuple[Matrix, Matrix, NDArray[np.str_]]:
    """Two of mfeat's tables, and the digits."""
    listed = tables.LISTED["mfeat"]
    home = folder / listed.home / listed.file
    views = [pd.read_csv(home / f"mfeat-{name}.csv").to_numpy() for name in (first, second)]
    X, X2 = (view[:, :-1].astype(np.float64) for view in views)
    return X, X2, views[0][:, -1].astype(int).astype(str)


def retrieval(first: Matrix, second: Matrix) -> dict[str, float]:
    """How often the partner is the nearest, or among the ten nearest; both directions' mean."""
    one, other = (
        (space - space.mean(axis=0)) / np.linalg.norm(space - space.mean(axis=0), axis=1)[:, None]
        for space in (first, second)
    )
    cosines = one @ other.T
    own = cosines.diagonal()
    ranks = np.concatenate(
        [(cosines > own[:, None]).sum(axis=1), (cosines > own[None, :]).sum(axis=0)]
    )
    return {"top-1": float((ranks < 1).mean()), "top-10": float((ranks < 10).mean())}


def measure(
    X: Matrix, X2: Matrix, y: NDArray[np.str_], split: int, settings: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Scores of every space on one split."""
    train, test = train_test_split(
        np.arange(len(y)), test_size=TEST_SHARE, stratify=y, random_state=split
    )
    scaled = [StandardScaler().fit(one[train]).transform(one) for one in (X, X2)]
    model = VICReg(random_state=split, n_threads=1, **settings)
    start = time.perf_counter()
    model.fit(X[train], X_paired=X2[train])
    seconds = time.perf_counter() - start
    sides = model.transform(X), model.transform(X_paired=X2)
    spaces = {
        "first raw": scaled[0],
        "second raw": scaled[1],
        "both raw": np.column_stack(scaled),
        "first embedded": sides[0],
        "second embedded": sides[1],
        "both embedded, mean": model.transform(X, X_paired=X2),
        "both embedded, side by side": np.column_stack(sides),
    }
    scores = {
        name: score(space[train], space[test], y[train], y[test]) for name, space in spaces.items()
    }
    canonical = CCA(CANONICAL, max_iter=2000).fit(scaled[0][train], scaled[1][train])
    scores["canonical correlation"] = retrieval(
        *canonical.transform(scaled[0][test], scaled[1][test])
    )
    scores["partners embedded"] = {**retrieval(sides[0][test], sides[1][test]), "seconds": seconds}
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", default="fou")
    parser.add_argument("--second", default="kar")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--folder", type=Path, default=tables.FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables.install(["mfeat"], options.folder)
    X, X2, y = read_views(options.first, options.second, options.folder)
    settings = {
        name: _value(value) for name, _, value in (one.partition("=") for one in options.set)
    }
    found = []
    for split in range(options.splits):
        found.append(measure(X, X2, y, split, settings))
        print(f"split {split} done", file=sys.stderr, flush=True)
    print(f"{machine()}; {options.first} (first) and {options.second} (second); {settings}\n")
    print("| space | " + " | ".join(MEASURES) + " |")
    print("|---" * (len(MEASURES) + 1) + "|")
    for name in found[0]:
        if "linear" not in found[0][name]:
            continue
        cells = [_told([one[name][measure] for one in found]) for measure in MEASURES]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| partner found among the test rows | top-1 | top-10 |\n|---|---|---|")
    for name in ("canonical correlation", "partners embedded"):
        cells = [_told([one[name][measure] for one in found]) for measure in ("top-1", "top-10")]
        print(f"| {name} | " + " | ".join(cells) + " |")
    seconds = statistics.median(one["partners embedded"]["seconds"] for one in found)
    print(f"\nmedian fit: {seconds:.0f} s")


def _told(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
