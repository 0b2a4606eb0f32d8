"""Ratios measured in one run: interleaved rounds, medians with spread, and the machine's name."""

from __future__ import annotations

import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Spread", "interleaved", "machine", "peak_extra_memory"]


class Spread(NamedTuple):
    """Median and quartiles of one quantity, in seconds."""

    low: float
    median: float
    high: float


def interleaved(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int, calls: int
) -> dict[str, Spread]:
    """Time every contestant in turn, ``rounds`` times ``calls`` calls each.

    A machine that slows down half-way slows all of them alike, so ratios of the medians hold.
    """
    for run in contestants.values():
        for _ in range(3):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            for _ in range(calls):
                run()
            seconds[name].append((time.perf_counter() - start) / calls)
    return {
        name: Spread(*statistics.quantiles(values, n=4, method="inclusive"))
        for name, values in seconds.items()
    }


def peak_extra_memory(run: Callable[[], object]) -> int:
    """Largest number of bytes that the CPU allocator held during ``run`` beyond those before it."""
    run()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        run()
    assert profiler.profiler is not None
    results = profiler.profiler.kineto_results
    assert results is not None
    held = peak = 0
    for event in results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def machine() -> str:
    """Processor (its vector instructions too), threads and versions, for the head of a table."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return (
        f"{processor} ({torch.backends.cpu.get_cpu_capability()}), "
        f"{torch.get_num_threads()} thread(s), Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )
