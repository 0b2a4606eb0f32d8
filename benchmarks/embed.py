"""Embedding rows against the forward GEMM floor, in memory and from Parquet to Parquet.

    python benchmarks/embed.py [--rounds 5] [--threads 1]

The floor multiplies, in plain float32 ``torch.mm`` with PyTorch's default settings, what the
encoder multiplies for all rows, 4,096 at a time. In memory: ``transform`` of a float32 array,
encoding of the table included. Parquet to Parquet: ``vicreg embed`` in this process, model and all,
against the sum of reading the file, ``transform`` and writing the embedding, each on its own.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from timing import interleaved, machine
from vicreg import VICReg
from vicreg.cli import main as vicreg

if TYPE_CHECKING:
    from collections.abc import Callable

#: Rows, columns, encoder widths.
SHAPES = [(100_000, 60, (256, 128)), (20_000, 1000, (512, 64)), (10_000, 2000, (1024, 128))]
BLOCK = 4096


def floor(rows: int, columns: int, hidden: tuple[int, ...], width: int) -> Callable[[], None]:
    """The encoder's products for all rows, block by block, into memory that is there already."""
    layers = [*itertools.pairwise([columns, *hidden, width]), (columns, width)]
    factors = [(torch.randn(BLOCK, into), torch.randn(out, into).T) for into, out in layers]
    outs = [torch.empty(BLOCK, out) for _, out in layers]

    def run() -> None:
        for start in range(0, rows, BLOCK):
            size = min(BLOCK, rows - start)
            for (left, right), out in zip(factors, outs, strict=True):
                torch.mm(left[:size], right, out=out[:size])

    return run


def alone(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Medians of calls in turn, one call each a round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, run in steps.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def from_parquet_to_parquet(model: VICReg, X: np.ndarray, rounds: int) -> tuple[float, float]:
    """Seconds of ``vicreg embed``, and of its three parts alone."""
    names = [f"x{place}" for place in range(X.shape[1])]
    with tempfile.TemporaryDirectory() as folder:
        data, out, again = (Path(folder) / name for name in ("X.parquet", "Z.parquet", "W.parquet"))
        pyarrow.parquet.write_table(pa.table(dict(zip(names, X.T, strict=True))), data)
        model.fit(data)
        model.save(Path(folder) / "model")
        table = pyarrow.parquet.read_table(data)
        arguments = ["embed", f"{folder}/model", str(data), "--out", str(out)]

        def run() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                vicreg(arguments)

        run()
        embedded = pyarrow.parquet.read_table(out)
        times = alone(
            {
                "whole": run,
                "read": lambda: pyarrow.parquet.read_table(data),
                "compute": lambda: model.transform(table),
                "write": lambda: pyarrow.parquet.write_table(embedded, again),
            },
            rounds,
        )
    return times["whole"], times["read"] + times["compute"] + times["write"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine()}\n")
    print("| rows x columns; encoder | floor ms | transform ms (quartiles) | ratio ", end="")
    print("| Parquet to Parquet s | parts alone s | ratio |")
    print("|---|---|---|---|---|---|---|")
    for rows, columns, (*hidden, width) in SHAPES:
        X = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
        model = VICReg(
            n_components=width,
            detail_share=0,
            spectrum="learnt",
            hidden=hidden,
            projector=(64,),
            steps=2,
            n_threads=options.threads,
            random_state=0,
        )
        model.fit(X[:2000])

        def transform(model: VICReg = model, X: np.ndarray = X) -> None:
            model.transform(X)

        times = interleaved(
            {"floor": floor(rows, columns, tuple(hidden), width), "transform": transform},
            rounds=options.rounds,
            calls=1,
        )
        base, ours = times["floor"], times["transform"]
        whole, parts = from_parquet_to_parquet(model, X, options.rounds)
        print(
            f"| {rows}x{columns}; {'-'.join(map(str, (*hidden, width)))} | {base.median * 1e3:.0f} "
            f"| {ours.median * 1e3:.0f} ({ours.low * 1e3:.0f} to {ours.high * 1e3:.0f}) "
            f"| {ours.median / base.median:.2f} "
            f"| {whole:.2f} | {parts:.2f} | {whole / parts:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
