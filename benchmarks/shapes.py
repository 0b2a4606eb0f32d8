"""What labels of a few rows are worth for the shape of an embedding alone.

    python benchmarks/shapes.py [--split 0] [--tables NAME ...] [--labels 100 300 1000]
        [--folder .tables]

One fit of the default for each table, on the training rows of a split. What follows training is
then done again with every level of noise in the spectrum and every scale of the neighbourhoods of
a small grid; nothing is trained anew but the neighbourhoods. Of these shapes the one is taken that
predicts the labels of some training rows best, by their nearest neighbours among these rows (five
folds), and judged on the test rows, beside the default, and beside the best of all shapes there.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

import tables
from quality import split_rows
from timing import machine
from vicreg import VICReg
from vicreg.metrics import LabelledSplit, knn_accuracy
from vicreg.sources import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

NOISE = (0.0, 0.2, 1.0, 6.0)
SCALES = (0.0, 0.5, 1.0)
#: A scale of 0 would be another network.
NEXT_TO_NONE = 1e-3


class Judged(NamedTuple):
    """What picking a shape by labels of so many rows gives on a table, over the default."""

    table: str
    labels: int
    picked: float
    best: float


def shapes(model: VICReg, train: object, test: object, seed: int) -> Iterator[tuple[Matrix, ...]]:
    """Training and test rows in the default's shape, then in every shape of the grid."""
    yield model.transform(train), model.transform(test)
    default = model.embedder_
    rows = default.table.transform(read(train))
    for noise, scale in itertools.product(NOISE, SCALES):
        embedder = copy.deepcopy(default)
        embedder.config = replace(
            default.config, spectrum=noise, neighbourhood_scale=max(scale, NEXT_TO_NONE)
        )
        embedder.finish(rows, torch.Generator().manual_seed(seed))
        yield embedder.embed(read(train)), embedder.embed(read(test))


def labelled(labels: NDArray[np.str_], chosen: NDArray[np.intp]) -> NDArray[np.intp]:
    """The chosen rows, without those of a class that only one of them has."""
    classes, counts = np.unique(labels[chosen], return_counts=True)
    return chosen[np.isin(labels[chosen], classes[counts > 1])]


def judge(name: str, split: int, counts: list[int], folder: Path) -> list[Judged]:
    """A table's rows of the report."""
    table = tables.load(name, folder)
    train, test = (table.take(index) for index in split_rows(table, split))
    model = VICReg(random_state=split, n_threads=1, device="cpu").fit(train.X)
    order = np.random.default_rng(split).permutation(len(train.y))
    by_labels: dict[int, list[float]] = {count: [] for count in counts}
    judged = []
    everything = np.concatenate((train.y, test.y))
    places = np.arange(len(everything))
    held_out = LabelledSplit.held_out(everything, places[: len(train.y)], places[len(train.y) :])
    for of_train, of_test in shapes(model, train.X, test.X, split):
        judged.append(knn_accuracy(np.concatenate((of_train, of_test)), held_out))
        for count, scores in by_labels.items():
            known = labelled(train.y, order[:count])
            folds = LabelledSplit.crossed(train.y[known], split)
            assert folds is not None
            scores.append(knn_accuracy(of_train[known], folds))
    return [
        Judged(name, count, judged[int(np.argmax(scores))] - judged[0], max(judged) - judged[0])
        for count, scores in by_labels.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", type=int, default=0)
    parser.add_argument("--tables", nargs="*", default=None)
    parser.add_argument("--labels", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--folder", type=Path, default=tables.FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.tables or tables.of_list("main")
    tables.install(list(names), options.folder)
    print(f"{machine()}\n\n| table | labels | knn: picked, over the default | the best shape |")
    print("|---|---|---|---|")
    found = []
    for name in names:
        for one in judge(name, options.split, options.labels, options.folder):
            found.append(one)
            print(
                f"| {one.table} | {one.labels} | {one.picked:+.3f} | {one.best:+.3f} |", flush=True
            )
    for count in options.labels:
        picked = np.array([one.picked for one in found if one.labels == count])
        best = np.mean([one.best for one in found if one.labels == count])
        error = picked.std(ddof=1) / len(picked) ** 0.5 if len(picked) > 1 else 0.0
        print(
            f"| **all** | {count} | {picked.mean():+.4f} ± {error:.4f}, "
            f"at or above on {(picked >= 0).mean():.0%} | {best:+.4f} |"
        )


if __name__ == "__main__":
    main()
