"""Would it pay to train several small trials at once, with stacked parameters?

    python benchmarks/stacked.py [--stacks 1 2 4 8 16] [--threads 1 2] [--rounds 5]
        [--only check steps ways job]

The prototype is ``stack.py``, here alone: every trial has its own rows, loss weights, learning rate
and betas. Two shapes: the seed's notebook job (``seed.py``), and the default on 64 columns.
Everything is float32.

- check: every trial of a stack of four follows the course of the same trial alone, by the package's
  own step: the losses of 20 steps agree to 1e-6 of their size in float64, and in float32, at a
  tenth of the learning rates, to 1e-4. Done before anything is timed.
- steps: milliseconds a step and trial, one after another by the package's step and as a stack, in
  turn; with equal widths, and padded: widths drawn from the space that is searched (the seed's
  batches too). One thread in seconds of the processor, more in seconds of the clock.
- ways: the same of a stack of eight, with ``torch.func.vmap`` in place of written-out products, and
  with one fused AdamW group a trial in place of an update in tensors.
- job: the seed's 30 trials of 300 steps as the package does them, and stacked.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import make_blobs

from problems import Problem, default_problem, seed_problem
from seed import STEPS, drawn_parameters, our_fit
from stack import Stack, StackedViews, own_views
from timing import in_turn, machine, seconds_of
from vicreg.networks import Rows
from vicreg.precision import fastest_float32

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PARTS = ("check", "steps", "ways", "job")
#: Steps in which a stack must follow the trials alone, and the largest relative difference.
FOLLOWED, TOLERANCE, DOUBLE = 20, 1e-4, 1e-6


def check(problem: Problem, *, dtype: torch.dtype, most: float, **how: str) -> float:
    """Largest relative difference between a stack's losses and those of the trials alone."""
    numbers = problem.rows.numbers.to(dtype)
    problem = replace(problem, rows=Rows(numbers, problem.rows.codes))
    stack = Stack(problem, own_views(problem), dtype=dtype, **how)
    alone = [problem.alone(trial) for trial in range(len(problem.configs))]
    largest = 0.0
    for _ in range(FOLLOWED):
        together = stack(1.0).tolist()
        for step, loss in zip(alone, together, strict=True):
            with fastest_float32(problem.work):
                step(1.0)
            expected = step.mean_terms()[0]
            step.forget_terms()
            largest = max(largest, abs(loss - expected) / abs(expected))
    if largest > most:
        raise AssertionError(
            f"{problem.name}: a stack's losses must follow the trials' alone to {most:g}, "
            f"however: {largest:.2g}"
        )
    return largest


def checks(problem: Problem) -> None:
    """All ways to build a stack of four, against the trials alone."""
    problem = problem.first(4)
    # Adam enlarges differences of rounding, the more the larger its steps.
    slow = replace(problem, configs=[replace(one, lr=one.lr / 10) for one in problem.configs])
    built = [("bmm", "tensors"), ("bmm", "groups")]
    if len({one.projector for one in problem.configs}) == 1:  # vmap takes the layers' own widths
        built.append(("vmap", "tensors"))
    for way, update in built:
        double = check(problem, dtype=torch.float64, most=DOUBLE, way=way, update=update)
        single = check(slow, dtype=torch.float32, most=TOLERANCE, way=way, update=update)
        drawn = check(problem, dtype=torch.float32, most=math.inf, way=way, update=update)
        print(
            f"| {problem.name} | {way}, {update} | {double:.1e} | {single:.1e} | {drawn:.1e} |",
            flush=True,
        )


def clock() -> float:
    """Seconds of the processor; of the clock where threads wait for each other."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def steps(problem: Problem, sizes: Sequence[int], rounds: int, calls: int) -> None:
    """Rows of the table: trials one after another, and in stacks of every size."""
    alone = [problem.alone(trial) for trial in range(max(sizes))]
    stacks = {size: stack_of(problem.first(size)) for size in sizes}

    def one(trial: int) -> None:
        with fastest_float32(problem.work):
            alone[trial](1.0)

    contestants: dict[tuple[str, int], Callable[[], object]] = {
        **{("alone", trial): lambda t=trial: one(t) for trial in range(len(alone))},  # type: ignore[misc]
        **{("stack", size): lambda s=stacks[size]: s(1.0) for size in sizes},  # type: ignore[misc]
    }
    found = in_turn(contestants, rounds=rounds, calls=calls, clock=clock)
    for size in sizes:
        # Rounds stay together: what slows the machine slows both.
        singly = [statistics.mean(row) for row in zip(*(found["alone", t] for t in range(size)))]  # noqa: B905
        stacked = [one / size for one in found["stack", size]]
        ratios = [a / b for a, b in zip(singly, stacked, strict=True)]
        print(
            f"| {problem.name} | {size} | {statistics.median(singly) * 1e3:.2f} "
            f"| {spread([one * 1e3 for one in stacked])} | {spread(ratios)} |",
            flush=True,
        )


def ways(problem: Problem, rounds: int, calls: int) -> None:
    """Rows of the table: a stack of eight, built in other ways."""
    problem = problem.first(8)
    built = [("bmm", "tensors"), ("vmap", "tensors"), ("bmm", "groups")]
    contestants: dict[tuple[str, str], Callable[[], object]] = {}
    for how in built:
        stack = stack_of(problem, way=how[0], update=how[1])
        contestants[how] = lambda s=stack: s(1.0)  # type: ignore[misc]
    found = in_turn(contestants, rounds=rounds, calls=calls, clock=clock)
    cells = [spread([one / 8 * 1e3 for one in found[how]]) for how in built]
    print(f"| {problem.name} | {' | '.join(cells)} |", flush=True)


def stack_of(problem: Problem, **how: str) -> Stack:
    """A stack with views of its own."""
    views = StackedViews(problem, torch.Generator().manual_seed(0))
    return Stack(problem, views, **how)  # type: ignore[arg-type]


def job(rounds: int) -> None:
    """The seed's 30 trials: whole fits, their steps alone, and these steps stacked."""
    count = 30
    X, _ = make_blobs(n_samples=100, n_features=100, centers=10, cluster_std=5, random_state=0)
    X = X.astype(np.float32)
    random = np.random.default_rng(0)
    drawn = [drawn_parameters(random) for _ in range(count)]
    problem = seed_problem(count, padded=True)
    our_fit(X, drawn[0], 0)

    def fits() -> None:
        for trial, parameters in enumerate(drawn):
            our_fit(X, parameters, trial)

    def alone() -> None:
        for trial in range(count):
            step = problem.alone(trial)
            for _ in range(STEPS):
                step(1.0)

    def stacked(size: int) -> None:
        for start in range(0, count, size):
            part = replace(problem, configs=problem.configs[start : start + size])
            stack = stack_of(part)
            for _ in range(STEPS):
                stack(1.0)

    contestants: dict[str, Callable[[], None]] = {
        "fits": fits,
        "steps alone": alone,
        "stacks of 5": lambda: stacked(5),
        "stacks of 10": lambda: stacked(10),
        "a stack of 30": lambda: stacked(30),
    }
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            found[name].append(seconds_of(run, clock=clock))
    middle = {name: statistics.median(values) for name, values in found.items()}
    print(f"\nThe seed's job, {count} trials x {STEPS} steps, seconds of the processor\n")
    print("| what | seconds | the whole job would take | times faster | were all else free |")
    print("|---|---|---|---|---|")
    whole, own = middle["fits"], middle["steps alone"]
    for name, values in found.items():
        print(f"| {name} | {spread(values)} |", end="")
        if name == "fits":
            print(f" {whole:.2f} | 1 | |")
        elif name == "steps alone":
            print(f" of it {own / whole:.0%} | | |")
        else:
            left = whole - own + middle[name]
            print(f" {left:.2f} | {whole / left:.2f} | {whole / middle[name]:.2f} |")


def spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stacks", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job-rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # fits this short collapse
    print(machine())
    most = max(options.stacks)
    problems = [
        (make(most, padded=padded), calls)
        for make, calls in ((seed_problem, 40), (default_problem, 3))
        for padded in (False, True)
    ]
    print(f"\nA stack of 4 against its trials alone: relative difference of {FOLLOWED} losses\n")
    print("| net | stack | float64 | float32, a tenth of lr | float32 |")
    print("|---|---|---|---|---|")
    for problem, _ in problems:
        checks(problem)
    if "steps" in options.only:
        for threads in options.threads:
            torch.set_num_threads(threads)
            print(f"\n{machine()}\n")
            print("| net | stack | alone ms | stack ms a trial (quartiles) | alone / stack |")
            print("|---|---|---|---|---|")
            for problem, calls in problems:
                steps(problem, options.stacks, options.rounds, calls)
        torch.set_num_threads(1)
    if "ways" in options.only:
        print("\n| net, a stack of 8 | ms a trial | by vmap | AdamW in groups |")
        print("|---|---|---|---|")
        for problem, calls in problems:
            if "padded" not in problem.name:
                ways(problem, options.rounds, calls)
    if "job" in options.only:
        job(options.job_rounds)


if __name__ == "__main__":
    main()
