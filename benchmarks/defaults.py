"""Configurations beside the default on two tables: what the defaults rest on so far.

    python benchmarks/defaults.py [--only NAME ...]

The seed example is scored on the rows it was fitted on (it has 100), digits on 30 % held-out rows,
a new split and seed each time. Prints medians over three seeds, and the range of the silhouette.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits, make_blobs
from sklearn.model_selection import train_test_split

from timing import machine
from vicreg import VICReg
from vicreg.metrics import LabelledSplit, knn_accuracy, linear_accuracy, silhouette

#: What all defaults before had in common.
BEFORE: dict[str, Any] = {"steps": 1500}

CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    "first default": {
        "n_components": 128,
        "spectrum": "learnt",
        "swap": 0.3,
        "sides": "both",
        "nu": 0.2,
        **BEFORE,
    },
    "second default": {
        "n_components": 256,
        "detail_share": 0.5,
        "detail_waves": 0,
        "spectrum": "learnt",
        **BEFORE,
    },
    "third default": BEFORE,
    "spectrum as learnt": {"spectrum": "learnt"},
    "no waves": {"detail_waves": 0},
    "nu=1 (paper)": {"nu": 1.0},
    "nu=0.2": {"nu": 0.2},
    "no skip": {"skip": False},
    "blocks": {"block_share": 0.5},
    "one side": {"sides": "one"},
    "no details": {"n_components": 128},
    "no early stop": {"validation_fraction": 0.0},
    "paper preset": {"preset": "paper"},
}
SEEDS = (0, 1, 2)


def scores_of(settings: dict[str, Any], table: str, seed: int) -> tuple[float, float, float, float]:
    """Silhouette, 10-NN and linear accuracy, and the seconds of the fit."""
    from vicreg import preset

    settings = dict(settings)
    settings = {**preset(settings.pop("preset", "default")), **settings}
    model = VICReg(**settings, random_state=seed, n_threads=1)
    if table == "blobs":
        X, y = make_blobs(n_samples=100, n_features=100, centers=10, cluster_std=5, random_state=0)
        train = test = np.arange(len(X))
        split = LabelledSplit.crossed(y, seed)
        assert split is not None
    else:
        X, y = load_digits(return_X_y=True)
        train, test = train_test_split(
            np.arange(len(X)), test_size=0.3, stratify=y, random_state=seed
        )
        split = LabelledSplit.held_out(y, train, test)
    start = time.perf_counter()
    model.fit(X[train])
    seconds = time.perf_counter() - start
    Z = model.transform(X)
    return silhouette(Z[test], y[test]), knn_accuracy(Z, split), linear_accuracy(Z, split), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=CANDIDATES, default=list(CANDIDATES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    print("| configuration | table | silhouette (range) | 10-NN | linear | seconds |")
    print("|---|---|---|---|---|---|")
    for name in options.only:
        for table in ("blobs", "digits"):
            measured = [scores_of(CANDIDATES[name], table, seed) for seed in SEEDS]
            columns = list(zip(*measured, strict=True))
            middle = [statistics.median(column) for column in columns]
            print(
                f"| {name} | {table} | {middle[0]:.3f} ({min(columns[0]):.3f} to "
                f"{max(columns[0]):.3f}) | {middle[1]:.3f} | {middle[2]:.3f} | {middle[3]:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
