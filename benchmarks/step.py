"""A training step against the GEMM floor: the same step's matrix products alone.

    python benchmarks/step.py [--rounds 15] [--threads 1 2]

The floor multiplies, in plain float32 ``torch.mm`` with PyTorch's default settings, what the
networks (forward, weight gradients, input gradients) and the loss (the cheaper of its two sides)
multiply in a step; no activation, no view, no update. Beside it the step of a fit, in float32 and
as ``precision="auto"`` takes it. All three in one process, in turn.
"""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from timing import interleaved, machine
from vicreg.config import Config
from vicreg.precision import bfloat16_pays, fastest_float32
from vicreg.preparation import build_network
from vicreg.step import TrainingStep
from vicreg.table import TableEncoder
from vicreg.views import corruption

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Columns, encoder widths, projector widths, batch.
SHAPES = [
    (30, (128, 32), (128,) * 3, 256),
    (64, (256, 128), (256,) * 3, 256),
    (100, (256, 64), (512,) * 3, 512),
    (1000, (512, 64), (512,) * 3, 512),
    (2000, (1024, 128), (2048,) * 3, 256),
]
ROWS = 4096


def plain(hidden: Sequence[int], width: int, projector: tuple[int, ...], batch: int) -> Config:
    """An encoder and projector of these widths, without details; both views corrupted."""
    return Config(
        hidden=tuple(hidden),
        n_components=width,
        projector=projector,
        batch_size=batch,
        detail_share=0,
        swap=0.3,
        sides="both",
    )


def products(columns: int, config: Config) -> list[tuple[Tensor, Tensor]]:
    """Factors of every matrix product of a step, with the right strides."""
    n, views = config.batch_size, 2 * config.batch_size
    widths = [columns, *config.hidden, config.n_components, *config.projector]
    layers = list(itertools.pairwise(widths))
    if config.skip:
        layers.append((columns, config.n_components))
    factors = []
    for into, out in layers:
        rows, weight, gradient = (
            torch.randn(views, into),
            torch.randn(out, into),
            torch.randn(views, out),
        )
        factors += [(rows, weight.T), (gradient.T, rows)]
        if into != columns:  # no gradient of the table is needed
            factors.append((gradient, weight))
    dims = widths[-1]
    z = torch.randn(n, dims)
    square = torch.randn(min(n, dims), min(n, dims))
    for _ in range(2):
        factors += [(z, z.T), (square, z)] if dims > n else [(z.T, z), (z, square)]
    return factors


def floor(factors: list[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """All products, into memory that is there already."""
    outs = [torch.empty(len(left), right.shape[1]) for left, right in factors]

    def run() -> None:
        for (left, right), out in zip(factors, outs, strict=True):
            torch.mm(left, right, out=out)

    return run


def training_step(
    columns: int,
    config: Config,
    *,
    bfloat16: bool,
    device: torch.device | None = None,
    capture: bool = False,
) -> Callable[[], None]:
    """A step of a fit on a random table."""
    device = device or torch.device("cpu")
    X = np.random.default_rng(0).normal(size=(ROWS, columns)).astype(np.float32)
    table = TableEncoder.fit(X)
    network = build_network(table, config, seed=0).to(device).train()
    step = TrainingStep(
        network,
        table.transform(X).to(device),
        table.layout.to(device),
        corruption(swap=config.swap, mask=config.mask, noise=config.noise),
        config,
        generator=torch.Generator(device).manual_seed(0),
        bfloat16=bfloat16,
        capture=capture,
    )

    def run() -> None:
        with fastest_float32(2 * config.batch_size * network.largest_layer):
            step(1.0)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    options = parser.parse_args()
    for threads in options.threads:
        torch.set_num_threads(threads)
        print(f"\n{machine()}\n")
        print(
            "| columns; encoder; projector; batch | floor ms | GF/s | float32 ms | auto ms ", end=""
        )
        print("(quartiles) | float32 / floor | auto / floor |")
        print("|---|---|---|---|---|---|---|")
        for columns, (*hidden, width), projector, batch in SHAPES:
            config = plain(hidden, width, projector, batch)
            factors = products(columns, config)
            flops = sum(2 * len(left) * left.shape[1] * right.shape[1] for left, right in factors)
            work = 2 * batch * largest_layer(columns, config)
            times = interleaved(
                {
                    "floor": floor(factors),
                    "float32": training_step(columns, config, bfloat16=False),
                    "auto": training_step(
                        columns, config, bfloat16=bfloat16_pays(torch.device("cpu"), work)
                    ),
                },
                rounds=options.rounds,
                calls=max(1, round(1e9 / flops)),
            )
            base, exact, auto = (times[name] for name in ("floor", "float32", "auto"))
            print(
                f"| {columns}; {'-'.join(map(str, (*hidden, width)))}; {projector[0]}^3; {batch} "
                f"| {base.median * 1e3:.2f} | {flops / base.median / 1e9:.0f} "
                f"| {exact.median * 1e3:.2f} "
                f"| {auto.median * 1e3:.2f} ({auto.low * 1e3:.2f} to {auto.high * 1e3:.2f}) "
                f"| {exact.median / base.median:.2f} | {auto.median / base.median:.2f} |",
                flush=True,
            )


def largest_layer(columns: int, config: Config) -> int:
    """Entries of the largest weight matrix, as the rule for bfloat16 takes them."""
    widths = [columns, *config.hidden, config.n_components, *config.projector]
    return max(into * out for into, out in itertools.pairwise(widths))


if __name__ == "__main__":
    main()
