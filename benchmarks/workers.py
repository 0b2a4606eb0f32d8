"""Trials per minute of a study by one and by two processes, in turn.

    python benchmarks/workers.py [--trials 40] [--rounds 3] [--steps 300]

The same trials (random configurations of one seed, nothing pruned) of digits, label-free. Two
rates: of the whole call, start of the processes and final fit included, and of the search alone,
from the first trial's start to the last one's end.
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
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    X = load_digits().data
    rates: dict[int, list[float]] = {1: [], 2: []}
    searching: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for workers, of in rates.items():
            start = time.perf_counter()
            result = tune(
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
            trials = result.study.trials
            ended = max(trial.datetime_complete for trial in trials if trial.datetime_complete)
            began = min(trial.datetime_start for trial in trials if trial.datetime_start)
            searching[workers].append(60 * options.trials / (ended - began).total_seconds())
    print(machine())
    for name, measured in (("whole call", rates), ("search alone", searching)):
        for workers, of in measured.items():
            print(
                f"{name}, {workers} process(es): {statistics.median(of):.1f} trials a minute "
                f"({min(of):.1f} to {max(of):.1f})"
            )
        ratio = statistics.median(measured[2]) / statistics.median(measured[1])
        print(f"{name}: ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
