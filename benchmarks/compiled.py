"""Would ``torch.compile`` pay inside a fit?

    python benchmarks/compiled.py

A training step whose network, or network and loss, are compiled, against the package's own step, of
the seed's net and of the smallest one of ``step.py``: seconds to compile, milliseconds a step, and
the steps after which it pays. Every time in a process of its own, with an empty cache and then with
the one that this has filled. Seconds of the processor, one thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loss import plain_autograd
from problems import seed_problem, small_problem
from timing import in_turn, machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from vicreg.networks import Rows
    from vicreg.step import TrainingStep


def compiled(name: str, what: str) -> dict[str, float]:
    """Of one net: seconds to compile, and milliseconds a step with and without."""
    problem = small_problem() if name == "30 columns" else seed_problem(1, padded=False)
    plain, fast = problem.alone(0), problem.alone(0)
    if what == "network":
        fast.network = torch.compile(fast.network)  # type: ignore[assignment]
        run: Callable[[], object] = lambda: fast(1.0)  # noqa: E731
    else:
        run = step_in_one_graph(fast)
    start = time.perf_counter()
    for _ in range(3):
        run()
    seconds = time.perf_counter() - start
    found = in_turn(
        {"plain": lambda: plain(1.0), "compiled": run}, rounds=9, calls=40, clock=time.process_time
    )
    return {"seconds": seconds} | {
        name: statistics.median(values) * 1e3 for name, values in found.items()
    }


def step_in_one_graph(step: TrainingStep) -> Callable[[], object]:
    """A step whose network and loss, by the official formula, are one compiled graph."""

    def loss(views: Rows) -> Tensor:
        z1, z2 = step.network(views)
        return plain_autograd(z1, z2, step.weights)

    graph = torch.compile(loss, fullgraph=True)

    def run() -> None:
        total = graph(step._views(next(step._batches)))
        step._optimizer.step(total)

    return run


def compilation() -> None:
    """Each net in a process of its own, with an empty cache and then with a full one."""
    print("\nViews and update as they are\n")
    print("| net | compiled | cache | compiling s | step ms | compiled ms | steps until it pays |")
    print("|---|---|---|---|---|---|---|")
    for name, what in itertools.product(("seed", "30 columns"), ("network", "network and loss")):
        with tempfile.TemporaryDirectory() as folder:
            environment = {
                **os.environ,
                "TORCHINDUCTOR_CACHE_DIR": folder,
                "TORCHINDUCTOR_COMPILE_THREADS": "1",
            }
            for cache in ("empty", "full"):
                done = subprocess.run(
                    [sys.executable, __file__, "--one", name, what],
                    capture_output=True,
                    text=True,
                    env=environment,
                )
                if done.returncode:
                    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                    print(f"| {name} | {what} | {cache} | cannot run: {reason} | | | |", flush=True)
                    continue
                of = json.loads(done.stdout)
                saved = of["plain"] - of["compiled"]
                pays = f"{1e3 * of['seconds'] / saved:.0f}" if saved > 0 else "never"
                print(
                    f"| {name} | {what} | {cache} | {of['seconds']:.1f} | {of['plain']:.2f} "
                    f"| {of['compiled']:.2f} | {pays} |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, help="net, and what of it is compiled here, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one is not None:
        print(json.dumps(compiled(*options.one)))
        return
    print(machine())
    compilation()


if __name__ == "__main__":
    main()
