"""Peak memory of a fit and of an embedding, predicted and measured.

    python benchmarks/memory.py

Every shape in a process of its own: the peak of resident memory during ``fit`` and ``transform``
beyond what the process, its libraries (warmed up) and the input took before. The input is an array,
and, as on the command line, an Arrow table, which is encoded in larger blocks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from timing import machine
from vicreg import VICReg
from vicreg.memory import estimate_memory

#: Rows, columns, encoder widths, projector widths, batch.
SHAPES = [
    (2_000, 30, (128, 32), (128,) * 3, 256),
    (20_000, 60, (256, 128), (256,) * 3, 256),
    (100_000, 60, (256, 128), (256,) * 3, 256),
    (400_000, 60, (256, 128), (256,) * 3, 256),
    (5_000, 1000, (512, 64), (512,) * 3, 512),
    (20_000, 1000, (512, 64), (512,) * 3, 512),
    (5_000, 2000, (1024, 128), (2048,) * 3, 256),
]


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


def measure(place: int, what: str, kind: str) -> tuple[int, int]:
    """Measured and predicted bytes of a fit, or of an embedding in a process without a fit."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    # Small: what a larger fit would leave free, the one that is measured would find.
    small = VICReg(20, hidden=(8,), projector=(8,), detail_share=0.2, steps=3, n_threads=1)
    small.fit_transform(random.normal(size=(600, 5)).astype(np.float32))
    rows, columns, (*hidden, width), projector, batch = SHAPES[place]
    X: Any
    if kind == "frame":  # column by column: no array beside it
        X = pa.table({f"x{i}": random.normal(size=rows).astype("f4") for i in range(columns)})
    else:
        X = random.normal(size=(rows, columns)).astype(np.float32)
    model = VICReg(
        n_components=width,
        hidden=hidden,
        projector=projector,
        batch_size=batch,
        steps=30,
        n_threads=1,
        random_state=0,
    )
    if what == "fit":
        before = forget_peak()
        model.fit(X)
        peak = status("VmHWM") - before
    else:
        model.set_params(projector=(), steps=1, batch_size=64).fit(X[:200])
        before = forget_peak()
        assert len(model.transform(X)) == rows
        peak = status("VmHWM") - before
    estimate = estimate_memory(
        rows, model.embedder_.table, model.embedder_.config, frame=kind == "frame"
    )
    return peak, estimate.fit if what == "fit" else estimate.transform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--one", nargs=3, help="shape, fit or transform, array or frame: measure it, as JSON"
    )
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(int(options.one[0]), *options.one[1:])))
        return
    print(f"{machine()}\n")
    print(
        "| rows x columns; encoder; projector; batch | input | fit MiB | predicted | ratio ", end=""
    )
    print("| transform MiB | predicted | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for place, (rows, columns, encoder, projector, batch) in enumerate(SHAPES):
        for kind in ("array", "frame"):
            cells = []
            for what in ("fit", "transform"):
                run = [sys.executable, __file__, "--one", str(place), what, kind]
                done = subprocess.run(run, check=True, capture_output=True, text=True)
                peak, predicted = (value / 2**20 for value in json.loads(done.stdout))
                cells += [f"{peak:.0f}", f"{predicted:.0f}", f"{predicted / max(peak, 1):.2f}"]
            print(
                f"| {rows}x{columns}; {'-'.join(map(str, encoder))}; {projector[0]}^3; {batch} "
                f"| {kind} | {' | '.join(cells)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
