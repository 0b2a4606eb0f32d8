"""Trials per minute of a study by one and by two processes, in turn.

    python benchmarks/workers.py [--trials 12] [--rounds 3] [--steps 300]

The same trials (random configurations of one seed, nothing pruned) of digits, label-free. The time
is that of the whole call, the start of the processes included; the refit is left out of neither.
"""

from __future__ import annotations

import argparse
import statistics
import time

from sklearn.datasets import load_digits

from timing import machine
from vicreg import tune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    X = load_digits().data
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for workers, of in rates.items():
            start = time.perf_counter()
            tune(
                X,
                n_trials=options.trials,
                space={"steps": options.steps},
                sampler="random",
                prune=False,
                finalists=0,
                n_workers=workers,
                n_threads=1,
                random_state=0,
            )
            of.append(60 * options.trials / (time.perf_counter() - start))
    print(machine())
    for workers, of in rates.items():
        print(
            f"{workers} process(es): {statistics.median(of):.1f} trials a minute "
            f"({min(of):.1f} to {max(of):.1f})"
        )
    print(f"ratio: {statistics.median(rates[2]) / statistics.median(rates[1]):.2f}")


if __name__ == "__main__":
    main()
