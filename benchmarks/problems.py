"""Tables and trials on them, for benchmarks that take single steps: the seed's, the default's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import make_blobs

from seed import STEPS, drawn_parameters
from vicreg.config import Config, preset
from vicreg.preparation import build_network
from vicreg.step import TrainingStep
from vicreg.table import TableEncoder
from vicreg.views import corruption

if TYPE_CHECKING:
    from vicreg.networks import JointEmbedding, Rows

__all__ = ["Problem", "default_problem", "narrow_problem", "seed_problem", "small_problem"]


@dataclass(frozen=True)
class Problem:
    """A table and the trials on it; they differ in numbers and widths, not in layers."""

    name: str
    table: TableEncoder
    rows: Rows
    configs: list[Config]

    def network(self, trial: int) -> JointEmbedding:
        """A trial's, freshly initialised, as exact as the rows."""
        network = build_network(self.table, self.configs[trial], trial).train()
        return network.to(self.rows.numbers.dtype)

    def first(self, count: int) -> Problem:
        """With so many trials."""
        return replace(self, configs=self.configs[:count])

    def alone(self, trial: int) -> TrainingStep:
        """The package's own step of one trial."""
        config = self.configs[trial]
        return TrainingStep(
            self.network(trial),
            self.rows,
            self.table.layout,
            corruption(swap=config.swap, mask=0.0, noise=0.0),
            config,
            generator=torch.Generator().manual_seed(trial),
        )

    @cached_property
    def work(self) -> int:
        """Multiplications of the largest product of a trial's step."""
        return max(
            2 * config.batch_size * self.network(trial).largest_layer
            for trial, config in enumerate(self.configs)
        )


def seed_problem(count: int, *, padded: bool) -> Problem:
    """The seed's table and architecture; of its search space all, or all but the sizes."""
    X, _ = make_blobs(n_samples=100, n_features=100, centers=10, cluster_std=5, random_state=0)
    random = np.random.default_rng(0)
    configs = []
    for _ in range(count):
        drawn = drawn_parameters(random)
        if not padded:
            drawn |= {"projector": (100,), "batch_size": 20}
        configs.append(Config(**{**preset("seed"), **drawn, "steps": STEPS}))
    return _problem("seed, padded" if padded else "seed", X.astype(np.float32), configs)


def default_problem(count: int, *, padded: bool) -> Problem:
    """The default on 64 columns; loss weights, learning rate and betas from tuning's space."""
    X = np.random.default_rng(0).normal(size=(4096, 64)).astype(np.float32)
    random = np.random.default_rng(0)

    def even(low: float, high: float) -> float:
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    configs = []
    for _ in range(count):
        config = Config(
            sides="one",
            lam=even(5, 100),
            mu=even(5, 100),
            nu=even(0.03, 2),
            lr=even(2e-4, 5e-3),
            betas=(random.uniform(0.8, 0.95), random.uniform(0.95, 0.9995)),
            weight_decay=even(1e-6, 1e-2),
        )
        width = round(even(64, 512))
        configs.append(replace(config, projector=(width,) * 3) if padded else config)
    return _problem("default, padded" if padded else "default", X, configs)


def narrow_problem(count: int, width: int, batch_size: int) -> Problem:
    """Networks of 30 columns, all of whose layers have one width; the loss weights differ."""
    X = np.random.default_rng(0).normal(size=(1000, 30)).astype(np.float32)
    config = Config(
        hidden=(width,),
        n_components=width,
        projector=(width,) * 2,
        detail_share=0,
        swap=0.3,
        sides="both",
        batch_size=batch_size,
    )
    configs = [replace(config, lam=5.0 + trial) for trial in range(count)]
    return _problem(f"30 columns, width {width}, batch {batch_size}", X, configs)


def _problem(name: str, X: np.ndarray, configs: list[Config]) -> Problem:
    table = TableEncoder.fit(X)
    return Problem(name, table, table.transform(X), configs)


def small_problem() -> Problem:
    """The smallest net of ``step.py``: 30 columns; 128-32; 128^3; 256."""
    X = np.random.default_rng(0).normal(size=(4096, 30)).astype(np.float32)
    config = Config(
        hidden=(128,), n_components=32, projector=(128,) * 3, detail_share=0, swap=0.3, sides="both"
    )
    return _problem("30 columns", X, [config])
