"""A training step on a GPU: its time, its share of the matmul rate, its gaps, against the CPU.

    python benchmarks/gpu.py [--rounds 20]

For the shapes of ``step.py`` and for 2,000 columns, width 1024, batch 4096. The share is the step's
floating point operations in matrix products, a second, over the rate of one large bfloat16 product
on the same GPU; the gaps are the share of the step's time in which no kernel runs. Every shape is
measured as fits take their steps, and recorded as a CUDA graph. Where there is no GPU the program
says so and ends well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import torch

from step import SHAPES, plain, products, training_step
from timing import machine

if TYPE_CHECKING:
    from collections.abc import Callable

WIDE = (2000, (1024, 128), (1024,) * 3, 4096)
SIDE = 8192


def seconds_of(run: Callable[[], object], rounds: int) -> float:
    """Median of a call, the GPU's work included."""
    times = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def gaps(run: Callable[[], object], calls: int) -> float:
    """Share of the time in which no kernel runs, over some calls in a row."""
    run()
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        torch.cuda.synchronize()
        elapsed = time.perf_counter() - start
    busy = sum(event.self_device_time_total for event in profiler.key_averages()) / 1e6
    return max(0.0, 1 - float(busy) / elapsed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    print(machine())
    if not torch.cuda.is_available():
        print("there is no GPU here: nothing was measured")
        return
    cuda = torch.device("cuda")
    print(torch.cuda.get_device_name())
    left, right = torch.randn(2, SIDE, SIDE, device=cuda, dtype=torch.bfloat16)
    rate = 2 * SIDE**3 / seconds_of(lambda: left @ right, options.rounds)
    print(f"bfloat16 product of {SIDE} x {SIDE}: {rate / 1e12:.0f} TF/s\n")
    print(
        "| columns; encoder; projector; batch | | GPU ms | share of rate | gaps | CPU ms | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    for columns, (*hidden, width), projector, batch in [*SHAPES, WIDE]:
        config = plain(hidden, width, projector, batch)
        flops = sum(2 * len(a) * a.shape[1] * b.shape[1] for a, b in products(columns, config))
        on_cpu = training_step(columns, config, bfloat16=True)
        on_cpu()
        start = time.perf_counter()
        on_cpu()
        slow = time.perf_counter() - start
        for capture in (False, True):
            step = training_step(columns, config, bfloat16=True, device=cuda, capture=capture)
            seconds = seconds_of(step, options.rounds)
            print(
                f"| {columns}; {'-'.join(map(str, (*hidden, width)))}; {projector[0]}^3; {batch} "
                f"| {'a graph' if capture else 'as it is'} "
                f"| {seconds * 1e3:.2f} | {flops / seconds / rate:.2f} | {gaps(step, 10):.2f} "
                f"| {slow * 1e3:.1f} | {slow / seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
