"""Peak memory of a fit and of an embedding, predicted and measured.

    python benchmarks/memory.py

Every shape in processes of its own: the peak of resident memory during ``fit`` and ``transform``
beyond what the process, its libraries (warmed up) and the input took before. The input is an array,
and, as on the command line, an Arrow table, which is encoded in larger blocks. It is noise, whose
columns tell nothing of each other, or coherent: there the rules look further.

What is told is the median of some processes, and where they lie. The same fit does not take the
same twice: blocks of up to 32 MiB come from the C library's heap, and which of them fit into gaps
that are there already depends on where, at random, the system puts a process's memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from timing import machine
from vicreg import VICReg, load
from vicreg.config import Config
from vicreg.memory import estimate_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class Shape(NamedTuple):
    """A table's rows and columns, what its columns hold, and what is not the default."""

    rows: int
    columns: int
    holds: Literal["noise", "coherent"]
    settings: dict[str, Any]

    def __str__(self) -> str:
        told = "; ".join(f"{name} {value}" for name, value in self.settings.items())
        return f"{self.rows}x{self.columns} {self.holds}; {told or 'default'}"


def _of(*hidden: int, width: int, projector: int, batch: int = 256) -> dict[str, Any]:
    return {
        "n_components": width,
        "hidden": hidden,
        "projector": (projector,) * 3,
        "batch_size": batch,
    }


SHAPES = [
    Shape(2_000, 30, "noise", _of(128, width=32, projector=128)),
    Shape(20_000, 60, "noise", _of(256, width=128, projector=256)),
    Shape(100_000, 60, "noise", _of(256, width=128, projector=256)),
    Shape(400_000, 60, "noise", _of(256, width=128, projector=256)),
    Shape(5_000, 1000, "noise", _of(512, width=64, projector=512, batch=512)),
    Shape(20_000, 1000, "noise", _of(512, width=64, projector=512, batch=512)),
    Shape(5_000, 2000, "noise", _of(1024, width=128, projector=2048)),
    Shape(3_000, 300, "noise", {}),
    Shape(3_000, 300, "coherent", {}),
    Shape(10_000, 100, "noise", {}),
    Shape(10_000, 100, "coherent", {}),
    Shape(1_500, 6000, "noise", {}),
    Shape(1_500, 6000, "coherent", {}),
    Shape(1_500, 6000, "coherent", {"n_components": 64, "hidden": (32,), "projector": (64,)}),
]
#: What a coherent table's columns are mixed from, beside noise of a deviation of 1.
DIRECTIONS = 10


def status(name: str) -> int:
    """A figure of this process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {name} in /proc/self/status")


def forget_peak() -> int:
    """Start a new peak; returns what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return status("VmRSS")


def columns_of(shape: Shape, random: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """The columns one by one: no second table beside the one that they make."""
    directions = random.normal(size=(shape.rows, DIRECTIONS)).astype(np.float32)
    for _ in range(shape.columns):
        column = random.normal(size=shape.rows).astype(np.float32)
        if shape.holds == "coherent":
            column += directions @ random.normal(size=DIRECTIONS).astype(np.float32)
        yield column


def fitted_elsewhere(model: VICReg, X: Any) -> VICReg:
    """A model fitted in another process: what a fit leaves free, an embedding would find."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        child = multiprocessing.get_context("fork").Process(target=lambda: model.fit(X).save(place))
        child.start()
        child.join()
        return load(place)


def measure(place: int, what: str, kind: str) -> tuple[int, int]:
    """Measured and predicted bytes of a fit, or of an embedding in a process without a fit."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    # Small: what a larger fit would leave free, the one that is measured would find. Coherent, so
    # that every rule has been asked.
    small = VICReg(20, hidden=(8,), projector=(8,), detail_share=0.2, steps=3, n_threads=1)
    small.fit_transform(np.column_stack(list(columns_of(Shape(150, 5, "coherent", {}), random))))
    shape = SHAPES[place]
    X: Any
    if kind == "frame":  # column by column: no array beside it
        X = pa.table({f"x{i}": column for i, column in enumerate(columns_of(shape, random))})
    else:
        X = np.empty((shape.rows, shape.columns), np.float32)
        for i, column in enumerate(columns_of(shape, random)):
            X[:, i] = column
    model = VICReg(**shape.settings, steps=30, n_threads=1, random_state=0)
    if what == "fit":
        before = forget_peak()
        model.fit(X)
        peak = status("VmHWM") - before
    else:
        model.set_params(projector=(), steps=1, batch_size=64)
        model = fitted_elsewhere(model, X[:200])
        before = forget_peak()
        assert len(model.transform(X)) == shape.rows
        peak = status("VmHWM") - before
    # As it is asked for: what the rules have found is not known before a fit.
    config = Config(**shape.settings)
    estimate = estimate_memory(shape.rows, model.embedder_.table, config, frame=kind == "frame")
    return peak, estimate.fit if what == "fit" else estimate.transform


def peaks(place: int, what: str, kind: str, *, processes: int) -> tuple[list[int], int]:
    """Measured bytes in each of some processes, from the least to the most, and those predicted."""
    run = [sys.executable, __file__, "--one", str(place), what, kind]
    measured = []
    for _ in range(processes):
        done = subprocess.run(run, check=True, capture_output=True, text=True)
        peak, predicted = json.loads(done.stdout)
        measured.append(peak)
    return sorted(measured), predicted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--one", nargs=3, help="shape, fit or transform, array or frame: measure it, as JSON"
    )
    parser.add_argument("--processes", type=int, default=3, help="of which the median is told")
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(int(options.one[0]), *options.one[1:])))
        return
    print(f"{machine()}, the median of {options.processes} processes (least to most)\n")
    print("| table; settings | input | fit MiB | predicted | ratio ", end="")
    print("| transform MiB | predicted | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for place, shape in enumerate(SHAPES):
        for kind in ("array", "frame"):
            cells = []
            for what in ("fit", "transform"):
                found, predicted = peaks(place, what, kind, processes=options.processes)
                least, middle, most = (
                    peak / 2**20 for peak in (found[0], statistics.median(found), found[-1])
                )
                cells += [
                    f"{middle:.0f} ({least:.0f} to {most:.0f})",
                    f"{predicted / 2**20:.0f}",
                    f"{predicted / 2**20 / max(middle, 1):.2f}",
                ]
            print(f"| {shape} | {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
