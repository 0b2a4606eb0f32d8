"""When does it pay to train several networks in one stack of steps?

    python benchmarks/stacked.py [--stacks 1 2 5 10 20] [--threads 1 2] [--rounds 5]

Milliseconds a step and network, one network after another (``vicreg.step``) and in a stack
(``vicreg.stack``), in turn: of the seed's notebook job (``seed.py``), of networks of 30 columns
from narrow to wide, and of the default on 64 columns. Padded: widths drawn from the space that is
searched, of the seed's job batches too. Multiplications are those of a step's largest product, by
which tuning decides (``vicreg.stack.WORK_FOR_STACKS``). One thread in seconds of the processor,
more in seconds of the clock. That a stack's networks follow the course of the same networks alone
is held by ``tests/test_stack.py``.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING

import torch

from problems import Problem, default_problem, narrow_problem, seed_problem
from timing import in_turn, machine
from vicreg.precision import fastest_float32
from vicreg.stack import StackedStep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Width of every layer, and batch.
NARROW = ((16, 32), (32, 64), (64, 64), (64, 128), (64, 256), (128, 128), (128, 256))


def clock() -> float:
    """Seconds of the processor; of the clock where threads wait for each other."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def compare(problem: Problem, sizes: Sequence[int], rounds: int, calls: int) -> None:
    """Rows of the table: networks one after another, and in stacks of every size."""
    alone = [problem.alone(trial) for trial in range(max(sizes))]
    stacks = {size: StackedStep([problem.alone(trial) for trial in range(size)]) for size in sizes}

    def run(step: Callable[[], None]) -> None:
        with fastest_float32(problem.work):
            step()

    contestants: dict[tuple[str, int], Callable[[], object]] = {
        **{("alone", k): partial(run, partial(step, 1.0)) for k, step in enumerate(alone)},
        **{
            ("stack", size): partial(run, partial(stack, [1.0] * size))
            for size, stack in stacks.items()
        },
    }
    found = in_turn(contestants, rounds=rounds, calls=calls, clock=clock)
    for size in sizes:
        # Rounds stay together: what slows the machine slows both.
        singly = [statistics.mean(row) for row in zip(*(found["alone", t] for t in range(size)))]  # noqa: B905
        stacked = [one / size for one in found["stack", size]]
        ratios = [a / b for a, b in zip(singly, stacked, strict=True)]
        print(
            f"| {problem.name} | {problem.work / 1e6:.2g} | {size} "
            f"| {statistics.median(singly) * 1e3:.2f} | {spread([one * 1e3 for one in stacked])} "
            f"| {spread(ratios)} |",
            flush=True,
        )


def spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stacks", type=int, nargs="*", default=[1, 2, 5, 10, 20])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # fits this short collapse
    most = max(options.stacks)
    problems = [
        (seed_problem(most, padded=False), 10),
        (seed_problem(most, padded=True), 10),
        *((narrow_problem(most, width, batch), 5) for width, batch in NARROW),
        (default_problem(most, padded=False), 1),
        (default_problem(most, padded=True), 1),
    ]
    for threads in options.threads:
        torch.set_num_threads(threads)
        print(f"\n{machine()}\n")
        print(
            "| network | million multiplications | stack | alone ms | stack ms a network "
            "(quartiles) | alone / stack |"
        )
        print("|---|---|---|---|---|---|")
        for problem, calls in problems:
            compare(problem, options.stacks, options.rounds, calls)


if __name__ == "__main__":
    main()
