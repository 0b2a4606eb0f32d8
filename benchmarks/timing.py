"""Ratios measured in one run: interleaved rounds, medians with spread, and the machine's name."""

from __future__ import annotations

import platform
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Spread",
    "in_turn",
    "interleaved",
    "machine",
    "peak_extra_memory",
    "seconds_of",
]

Name = TypeVar("Name")


class Spread(NamedTuple):
    """Median and quartiles of one quantity, in seconds."""

    low: float
    median: float
    high: float


def seconds_of(
    run: Callable[[], object], calls: int = 1, *, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of a call, the mean of so many.

    ``time.process_time`` gives those of the processor, which other processes disturb less.
    """
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def in_turn(
    contestants: Mapping[Name, Callable[[], object]],
    *,
    rounds: int,
    calls: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Seconds of a call in every round: every contestant in turn, so many calls each."""
    for run in contestants.values():
        for _ in range(3):
            run()
    found: dict[Name, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            run()  # the caches hold what another left there
            found[name].append(seconds_of(run, calls, clock=clock))
    return found


def interleaved(
    contestants: Mapping[Name, Callable[[], object]], *, rounds: int, calls: int
) -> dict[Name, Spread]:
    """Median and quartiles of every contestant's seconds, timed in turn.

    A machine that slows down half-way slows all of them alike, so ratios of the medians hold.
    """
    return {
        name: Spread(*statistics.quantiles(values, n=4, method="inclusive"))
        for name, values in in_turn(contestants, rounds=rounds, calls=calls).items()
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
