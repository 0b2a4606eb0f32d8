"""Whether training in bfloat16 harms the embedding: scores beside float32's, split by split.

    python benchmarks/bfloat16.py [--splits 3] [--tables NAME ...]

The default configuration by the quality benchmark's protocol, with ``precision="float32"`` and
``"bfloat16"``, from the same seeds. Prints for every score the mean difference over tables and
splits with its t interval, and beside it the difference that another seed makes in float32.
"""

from __future__ import annotations

import argparse
from typing import Literal

import numpy as np
import scipy.stats
import torch

import tables
from quality import FAST_TABLES, split_rows
from scores import MEASURES, score
from timing import machine
from vicreg import VICReg

#: Precision and what is added to the seed.
RUNS: dict[str, tuple[Literal["float32", "bfloat16"], int]] = {
    "float32": ("float32", 0),
    "bfloat16": ("bfloat16", 0),
    "another seed": ("float32", 1000),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--tables", nargs="+", choices=tables.LISTED, default=list(FAST_TABLES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables.install(options.tables, tables.FOLDER)
    found: dict[str, list[list[float]]] = {name: [] for name in RUNS}
    for table_name in options.tables:
        table = tables.load(table_name, tables.FOLDER)
        for split in range(options.splits):
            train, test = (table.take(index) for index in split_rows(table, split))
            for name, (precision, added) in RUNS.items():
                model = VICReg(random_state=split + added, n_threads=1, precision=precision)
                spaces = model.fit_transform(train.X), model.transform(test.X)
                scores = score(*spaces, train.y, test.y, rare=table.rare)
                found[name].append([scores[measure] for measure in MEASURES])
            print(f"{table_name} {split} done", flush=True)
    base = np.array(found["float32"])
    print(f"\n{machine()}; {len(options.tables)} tables, {options.splits} splits\n")
    print("| score | float32 | bfloat16 less float32 | another seed less float32 |")
    print("|---|---|---|---|")
    for place, measure in enumerate(MEASURES):
        cells = []
        for name in ("bfloat16", "another seed"):
            difference = np.array(found[name])[:, place] - base[:, place]
            half = scipy.stats.t.ppf(0.975, len(difference) - 1) * scipy.stats.sem(difference)
            cells.append(f"{difference.mean():+.4f} ± {half:.4f}")
        print(f"| {measure} | {base[:, place].mean():.4f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
