"""What a fit and an embedding cost against rows, columns and width: exponents, and the medians.

    python benchmarks/slopes.py [--rounds 3] [--steps 100] [--only rows columns ...]

The default configuration with ``patience=0`` on random numbers, one thread. Of every size: a step
alone, a whole fit of ``--steps`` steps, and a fit of a single step, which is all the rest (reading,
encoding, looking at the columns, one evaluation, the details). Then the encoding of a table alone
against columns, and ``transform`` against rows. Sizes are measured in turn, round by round, in
seconds of the processor, which other processes disturb less than those of the clock. A slope is
that of log seconds over log size, by least squares over all rounds of the three largest sizes,
where fixed costs matter least; 1 is linear.

Memory is the peak beyond what process and libraries took before, from a Parquet file to a Parquet
file, each in a process of its own: by ``vicreg embed``, and by a loop over ``iter_batches`` that
embeds 16,384 rows at a time with ``transform``. The file's row groups have 65,536 rows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from memory import forget_peak, status
from timing import machine, seconds_of
from vicreg import VICReg, load
from vicreg.cli import main as vicreg
from vicreg.precision import fastest_float32
from vicreg.step import TrainingStep
from vicreg.table import TableEncoder
from vicreg.views import corruption

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AXES = ("rows", "columns", "width", "encoding", "transform", "memory")
ROWS = (1_000, 4_000, 16_000, 64_000, 256_000)
COLUMNS = (30, 100, 300, 1_000, 3_000)
WIDTHS = (64, 128, 256, 512, 1_024, 2_048)
ENCODED = (300, 1_000, 3_000, 10_000, 30_000)
EMBEDDED = (10_000, 30_000, 100_000, 300_000, 1_000_000)
#: Sizes of the upper range.
UPPER = 3
GROUP, BATCH = 65_536, 16_384

processor_seconds = partial(seconds_of, clock=time.process_time)


class Slope(NamedTuple):
    """An exponent and its standard error."""

    exponent: float
    error: float

    @classmethod
    def of(cls, sizes: Sequence[float], seconds: Sequence[Sequence[float]]) -> Slope:
        """By least squares over the logarithms; ``seconds`` are all those of each size."""
        pairs = [
            (math.log(size), math.log(one))
            for size, of_size in zip(sizes, seconds, strict=True)
            for one in of_size
        ]
        x, y = np.array(pairs).T
        x = x - x.mean()
        exponent = (x @ y) / (x @ x)
        residual = y - y.mean() - exponent * x
        return cls(exponent, math.sqrt((residual @ residual) / (len(x) - 2) / (x @ x)))

    def __str__(self) -> str:
        return f"{self.exponent:.2f} ± {self.error:.2f}"


def table(rows: int, columns: int) -> np.ndarray:
    """Random numbers with five directions in common."""
    random = np.random.default_rng(0)
    X = random.normal(size=(rows, columns)).astype(np.float32)
    X += random.normal(size=(rows, 5)).astype(np.float32) @ random.normal(size=(5, columns)).astype(
        np.float32
    )
    return X


def fit(X: np.ndarray, steps: int, width: int) -> VICReg:
    """A fit of the default configuration that never stops early."""
    model = VICReg(hidden=(width,), steps=steps, patience=0, n_threads=1, random_state=0)
    return model.fit(X)


def step_of(model: VICReg, X: np.ndarray) -> Callable[[], None]:
    """A step like those that the model was fitted by, on all rows."""
    embedder = model.embedder_
    config = embedder.config
    step = TrainingStep(
        embedder.network.train(),
        embedder.table.transform(X),
        embedder.table.layout,
        corruption(swap=config.swap, mask=config.mask, noise=config.noise),
        config,
        generator=torch.Generator().manual_seed(0),
        bfloat16=embedder.precision == "bfloat16",
    )

    def run() -> None:
        with fastest_float32(2 * config.batch_size * embedder.network.largest_layer):
            step(1.0)

    return run


def against(
    axis: str, sizes: Sequence[int], shape: Callable[[int], tuple[int, int, int]], options: Any
) -> None:
    """A step, a fit and a fit of one step at every size; ``shape`` gives rows, columns, width."""
    found: dict[str, list[list[float]]] = {
        name: [[] for _ in sizes] for name in ("a step", "the fit", "a fit of one step")
    }
    for _ in range(options.rounds):
        for place, size in enumerate(sizes):
            rows, columns, width = shape(size)
            X = table(rows, columns)
            short: list[VICReg] = []
            found["a fit of one step"][place].append(
                processor_seconds(lambda X=X, w=width, to=short: to.append(fit(X, 1, w)))  # type: ignore[misc]
            )
            found["the fit"][place].append(
                processor_seconds(lambda X=X, w=width: fit(X, options.steps, w))  # type: ignore[misc]
            )
            step = step_of(short[0], X)
            processor_seconds(step, 3)
            found["a step"][place].append(processor_seconds(step, 15))
    rows, columns, width = shape(0)
    fixed = [f"{rows} rows"] * bool(rows) + [f"{columns} columns"] * bool(columns)
    fixed += [f"hidden width {width}"] * bool(width)
    print(f"\n{axis}, at {', '.join(fixed)}\n")
    print(f"| {axis} | step ms | fit of {options.steps} steps s | fit of one step s |")
    print("|---|---|---|---|")
    for place, size in enumerate(sizes):
        step_ms = [1e3 * one for one in found["a step"][place]]
        print(
            f"| {size} | {spread(step_ms, 2)} | {spread(found['the fit'][place], 2)} "
            f"| {spread(found['a fit of one step'][place], 3)} |"
        )
    slopes = [Slope.of(sizes[-UPPER:], times[-UPPER:]) for times in found.values()]
    print(f"| slope, from {sizes[-UPPER]} | {' | '.join(map(str, slopes))} |", flush=True)


def encoding(options: Any) -> None:
    """Seconds of fitting a table's encoding and of encoding it, against columns."""
    tables = [table(1_000, columns) for columns in ENCODED]

    def encode(X: np.ndarray) -> None:
        TableEncoder.fit(X).transform(X)

    encode(tables[0])
    found: list[list[float]] = [[] for _ in ENCODED]
    for _ in range(options.rounds):
        for of_size, X in zip(found, tables, strict=True):
            of_size.append(processor_seconds(lambda X=X: encode(X)))  # type: ignore[misc]
    print_per("columns", "encoding, at 1000 rows", ENCODED, found)


def transform(options: Any) -> None:
    """Seconds of ``transform`` against rows."""
    X = table(max(ROWS), 60)
    model = fit(X[:2_000], 2, 256)
    model.transform(X[:4_000])
    found: list[list[float]] = [[] for _ in ROWS]
    for _ in range(options.rounds):
        for of_size, rows in zip(found, ROWS, strict=True):
            calls = max(1, 16_000 // rows)
            of_size.append(processor_seconds(lambda n=rows: model.transform(X[:n]), calls))  # type: ignore[misc]
    print_per("rows", "transform, at 60 columns", ROWS, found)


def print_per(noun: str, title: str, sizes: Sequence[int], found: list[list[float]]) -> None:
    """A table of seconds, and of microseconds for each of the rows or columns."""
    print(f"\n{title}\n\n| {noun} | seconds | microseconds each |\n|---|---|---|")
    for size, times in zip(sizes, found, strict=True):
        each = [1e6 * one / size for one in times]
        print(f"| {size} | {spread(times, 3)} | {spread(each, 1)} |")
    slope = Slope.of(sizes[-UPPER:], found[-UPPER:])
    print(f"| slope, from {sizes[-UPPER]} | {slope} | |", flush=True)


def write_table(path: Path, rows: int) -> None:
    """A Parquet file of random numbers, written group by group."""
    random = np.random.default_rng(0)
    schema = pa.schema([(f"x{place}", pa.float32()) for place in range(60)])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, GROUP):
            part = random.normal(size=(60, min(GROUP, rows - start))).astype(np.float32)
            writer.write_table(pa.table(dict(zip(schema.names, part, strict=True))))


def streamed(model: VICReg, data: Path, out: Path) -> None:
    """Parquet to Parquet by the public interface, a batch of rows at a time."""
    names = [f"vicreg{place}" for place in range(model.embedder_.config.n_components)]
    schema = pa.schema([(name, pa.float32()) for name in names])
    # With its own read-ahead pyarrow keeps every row group that it has read.
    file = pyarrow.parquet.ParquetFile(data, pre_buffer=False)
    with pyarrow.parquet.ParquetWriter(out, schema) as writer:
        for batch in file.iter_batches(BATCH):
            embedding = model.transform(pa.Table.from_batches([batch]))
            writer.write_table(pa.table(dict(zip(names, embedding.T.copy(), strict=True))))


def measure(way: str, folder: Path, rows: int) -> tuple[int, float]:
    """Peak bytes and seconds, in this process, from one file of ``folder`` to another."""
    torch.set_num_threads(1)
    model, data, out = folder / "model", folder / f"{rows}.parquet", folder / "out.parquet"
    warm = folder / "warm.parquet"

    def run(data: Path, out: Path) -> None:
        if way == "embed":
            with contextlib.redirect_stdout(io.StringIO()):
                vicreg(["embed", str(model), str(data), "--out", str(out)])
        else:
            streamed(load(model), data, out)

    run(warm, out)  # what libraries load late
    before = forget_peak()
    seconds = processor_seconds(lambda: run(data, out))
    return status("VmHWM") - before, seconds


def memory(options: Any) -> None:
    """Peak memory of an embedding from Parquet to Parquet against rows."""
    print("\nmemory from Parquet to Parquet, at 60 columns\n")
    print("| rows | vicreg embed MiB | seconds | by iter_batches MiB | seconds |")
    print("|---|---|---|---|---|")
    found: dict[str, list[list[float]]] = {"embed": [], "streamed": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder / "warm.parquet", 2_000)
        fit_on = VICReg(steps=2, patience=0, n_threads=1, random_state=0)
        fit_on.fit(folder / "warm.parquet").save(folder / "model")
        sizes = [rows for rows in EMBEDDED if rows <= options.most_rows]
        for rows in sizes:
            write_table(folder / f"{rows}.parquet", rows)
            cells = []
            for way, of_way in found.items():
                run = [sys.executable, __file__, "--one", way, name, str(rows)]
                done = subprocess.run(run, check=True, capture_output=True, text=True)
                peak, seconds = json.loads(done.stdout)
                of_way.append([peak / 2**20])
                cells += [f"{peak / 2**20:.0f}", f"{seconds:.1f}"]
            (folder / f"{rows}.parquet").unlink()
            print(f"| {rows} | {' | '.join(cells)} |", flush=True)
    slopes = [Slope.of(sizes[-UPPER:], of_way[-UPPER:]) for of_way in found.values()]
    print(f"| slope, from {sizes[-UPPER]} | {slopes[0]} | | {slopes[1]} | |", flush=True)


def spread(values: Sequence[float], digits: int) -> str:
    """Median, smallest and largest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--most-rows", type=int, default=EMBEDDED[-1], help="of the memory's table")
    parser.add_argument("--only", nargs="*", choices=AXES, default=AXES)
    parser.add_argument("--one", nargs=3, help="way, folder, rows: measure memory, as JSON")
    options = parser.parse_args()
    if options.one is not None:
        way, folder, rows = options.one
        print(json.dumps(measure(way, Path(folder), int(rows))))
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # fits this short have not learnt anything
    print(machine())
    start = time.perf_counter()
    fit(table(600, 5), 3, 64)  # loads what torch loads late
    if "rows" in options.only:
        against("rows", ROWS, lambda rows: (rows, 60, 256), options)
    if "columns" in options.only:
        against("columns", COLUMNS, lambda columns: (2_000, columns, 256), options)
    if "width" in options.only:
        against("width", WIDTHS, lambda width: (2_000, 60, width), options)
    if "encoding" in options.only:
        encoding(options)
    if "transform" in options.only:
        transform(options)
    if "memory" in options.only:
        memory(options)
    spent = sum(os.times()[:4])  # with the processes that memory was measured in
    print(
        f"\nin all {spent:.0f} s of the processor, {time.perf_counter() - start:.0f} s by the clock"
    )


if __name__ == "__main__":
    main()
