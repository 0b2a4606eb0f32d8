"""Would it pay to train several small trials at once, with stacked parameters?

    python benchmarks/stacked.py [--stacks 1 2 4 8 16] [--threads 1 2] [--rounds 5]
        [--only check steps ways job compile]

A prototype, here alone: K networks whose parameters stand in one tensor, multiplied by batched
products, each with its own rows, loss weights, learning rate and betas. Networks of other widths
and batches of other sizes are padded with zeros, which training leaves zeros. Two shapes: the
seed's notebook job (``seed.py``), and the default on 64 columns. Everything is float32.

- check: every trial of a stack of four follows the course of the same trial alone, by the package's
  own step: the losses of 20 steps agree to 1e-6 of their size in float64, and in float32, at a
  tenth of the learning rates, to 1e-4. Done before anything is timed.
- steps: milliseconds a step and trial, one after another by the package's step and as a stack, in
  turn; with equal widths, and padded: widths drawn from the space that is searched (the seed's
  batches too). One thread in seconds of the processor, more in seconds of the clock.
- ways: the same of a stack of eight, with ``torch.func.vmap`` in place of written-out products, and
  with one fused AdamW group a trial in place of an update in tensors.
- job: the seed's 30 trials of 300 steps as the package does them, and stacked.
- compile: a step whose network, or network and loss, are under ``torch.compile``; every time in a
  process of its own, with an empty cache and then with the one that this has filled.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import make_blobs
from torch import Tensor, nn

from seed import STEPS, drawn_parameters, our_fit
from timing import machine
from vicreg.batches import permuted_batches
from vicreg.config import Config, preset
from vicreg.embedder import build_network
from vicreg.networks import Encoder, JointEmbedding, Rows, TableLinear
from vicreg.precision import fastest_float32
from vicreg.step import TrainingStep
from vicreg.table import TableEncoder
from vicreg.views import LIVES, TwoViews, corruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PARTS = ("check", "steps", "ways", "job", "compile")
#: Steps in which a stack must follow the trials alone, and the largest relative difference.
FOLLOWED, TOLERANCE, DOUBLE = 20, 1e-4, 1e-6
EPS, MOMENTUM, ADAM_EPS = 1e-5, 0.1, 1e-8  # of batch normalisation and of Adam, torch's defaults


@dataclass(frozen=True)
class Problem:
    """A table and the trials on it; they differ in numbers and widths, not in layers."""

    name: str
    table: TableEncoder
    rows: Rows
    configs: list[Config]

    def network(self, trial: int) -> JointEmbedding:
        """A trial's, freshly initialised."""
        return build_network(self.table, self.configs[trial], trial).train()

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


def _problem(name: str, X: np.ndarray, configs: list[Config]) -> Problem:
    table = TableEncoder.fit(X)
    return Problem(name, table, table.transform(X), configs)


class Slot(NamedTuple):
    """One parameter of all networks: its tensor (units, ...), a view of the flat one."""

    value: Tensor
    gradient: Tensor


class Stack:
    """K trials that take their steps together.

    A unit is a network: a trial has one, or two that do not share weights. Activations are
    (units, features, rows), so that batch normalisation sees rows side by side.

    Parameters
    ----------
    problem : Problem
    views : callable
        Gives both views of every trial's batch (K, 2, n, p), short batches filled up with zeros.
    way : {"bmm", "vmap"}
    update : {"tensors", "groups"}
    dtype : torch.dtype
    """

    def __init__(
        self,
        problem: Problem,
        views: Callable[[], Tensor],
        *,
        way: str = "bmm",
        update: str = "tensors",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        configs = problem.configs
        networks = [problem.network(trial) for trial in range(len(configs))]
        self.views, self._way, self._update, self._work = views, way, update, problem.work
        self.n_trials, self.branches = len(configs), len(networks[0].encoders)
        self._units = [
            nn.ModuleDict({"encoder": encoder, "projector": projector})
            for network in networks
            for encoder, projector in zip(network.encoders, network.projectors, strict=True)
        ]
        self._network = networks[0]  # its layers, not its values
        self._lay_out(dtype)

        def each(values: Sequence[float], *shape: int) -> Tensor:
            return torch.tensor(values, dtype=dtype).view(-1, *shape)

        self._n = each([config.batch_size for config in configs])
        self._d = each([config.projector[-1] for config in configs])
        self._lam, self._mu, self._nu = (
            each([getattr(config, name) for config in configs]) for name in ("lam", "mu", "nu")
        )
        self._gamma, self._eps = configs[0].gamma, configs[0].eps
        rows, dims = int(self._n.max()), int(self._d.max())
        self._gram = dims > rows
        of_rows, of_dims = torch.arange(rows), torch.arange(dims)
        short, narrow = bool((self._n < rows).any()), bool((self._d < dims).any())
        # None where nothing is padded.
        self._real_rows = (of_rows < self._n[:, None]).to(dtype)[:, None, None] if short else None
        self._real_dims = (of_dims < self._d[:, None]).to(dtype)[:, None] if narrow else None

        self._lr = each([config.lr for config in configs], 1)
        self._beta1, self._beta2 = (
            each([config.betas[place] for config in configs], 1) for place in (0, 1)
        )
        self._decay = each([config.weight_decay for config in configs], 1)
        self._decays = any(config.weight_decay for config in configs)
        self._clip = configs[0].clip_norm
        self._moments = torch.zeros_like(self._flat), torch.zeros_like(self._flat)
        self._scratch = torch.zeros_like(self._flat), torch.zeros_like(self._flat)
        self._steps = 0
        self._groups = self._optimizer(configs) if update == "groups" else None

    def _lay_out(self, dtype: torch.dtype) -> None:
        """All parameters in one tensor (trials, parameters), matrices before vectors."""
        own = [dict(unit.named_parameters()) for unit in self._units]
        names = [n for n, p in own[0].items() if p.requires_grad and p.numel()]
        names.sort(key=lambda name: own[0][name].dim() == 1)
        shapes = [
            tuple(max(sizes) for sizes in zip(*(one[name].shape for one in own), strict=True))
            for name in names
        ]
        sizes = [math.prod(shape) for shape in shapes]
        self._flat = torch.zeros(len(own), sum(sizes), dtype=dtype)
        self._gradient = torch.zeros_like(self._flat)
        self._matrices = sum(s for s, shape in zip(sizes, shapes, strict=True) if len(shape) == 2)
        self.slots: dict[str, Slot] = {}
        start = 0
        for name, shape, size in zip(names, shapes, sizes, strict=True):
            value, gradient = (
                whole[:, start : start + size].view(-1, *shape)
                for whole in (self._flat, self._gradient)
            )
            for unit, one in enumerate(own):
                part = one[name].detach()
                value[unit][tuple(slice(0, length) for length in part.shape)] = part
            self.slots[name] = Slot(value.detach().requires_grad_(), gradient)
            start += size
        # Of batch normalisation: mean and variance, which embedding will use.
        self._running = {
            name: (
                torch.zeros(value.value.shape, dtype=dtype),
                torch.ones(value.value.shape, dtype=dtype),
            )
            for name, value in self.slots.items()
        }
        # A trial's units stand side by side: the tensors by trial.
        self._flat = self._flat.view(self.n_trials, -1)
        self._gradient = self._gradient.view(self.n_trials, -1)

    def __call__(self, factor: float) -> Tensor:
        """Take a step; returns every trial's loss (K,)."""
        with fastest_float32(self._work):
            z = self._project(self.views()) if self._way == "bmm" else self._vmapped(self.views())
            losses, of_z = self._loss(z.detach())
            gradients = torch.autograd.grad(z, [slot.value for slot in self.slots.values()], of_z)
            torch._foreach_copy_([slot.gradient for slot in self.slots.values()], gradients)
            self._take(factor)
        return losses

    def _project(self, views: Tensor) -> Tensor:
        """Projections (K, 2, d, n) of both views."""
        trials, _, n, p = views.shape
        x = views.view(trials * self.branches, -1, p).transpose(1, 2)  # (units, p, rows)
        encoder, projector = (self._units[0][name] for name in ("encoder", "projector"))
        assert isinstance(encoder, Encoder)
        assert isinstance(projector, nn.Sequential)
        learnt = self._linear("encoder.first", x)
        for place, layer in enumerate(encoder.rest):
            learnt = self._layer(f"encoder.rest.{place}", layer, learnt)
        if encoder.skip is not None:
            learnt = torch.baddbmm(learnt, self.slots["encoder.skip.weight"].value, x)
        for place, layer in enumerate(projector):
            learnt = self._layer(f"projector.{place}", layer, learnt)
        if self.branches == 2:
            return learnt.view(trials, 2, -1, n)
        return learnt.view(trials, -1, 2, n).transpose(1, 2)

    def _layer(self, name: str, layer: nn.Module, x: Tensor) -> Tensor:
        if isinstance(layer, nn.ReLU):
            return F.relu(x)
        if isinstance(layer, nn.Linear | TableLinear):
            return self._linear(name, x)
        assert isinstance(layer, nn.BatchNorm1d)
        mean, variance = self._running[f"{name}.weight"]
        normal = F.batch_norm(  # every unit's every dimension is a channel
            x.reshape(1, -1, x.shape[2]),
            mean.view(-1),
            variance.view(-1),
            self.slots[f"{name}.weight"].value.reshape(-1),
            self.slots[f"{name}.bias"].value.reshape(-1),
            training=True,
            momentum=MOMENTUM,
            eps=EPS,
        )
        return normal.view(x.shape)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.slots[f"{name}.weight"].value, self.slots.get(f"{name}.bias")
        if bias is None:
            return torch.bmm(weight, x)
        return torch.baddbmm(bias.value.unsqueeze(2), weight, x)

    def _vmapped(self, views: Tensor) -> Tensor:
        """:meth:`_project` by the real network's own forward pass, mapped over the trials."""
        values: dict[str, Tensor] = {}
        for branch in range(self.branches):
            for name, slot in self.slots.items():
                values[_full(name, branch)] = slot.value[branch :: self.branches]
                if name.endswith(".weight") and f"{name[:-6]}bias" in self.slots:
                    mean, variance = self._running[name]
                    values[_full(name[:-6] + "running_mean", branch)] = mean[
                        branch :: self.branches
                    ]
                    values[_full(name[:-6] + "running_var", branch)] = variance[
                        branch :: self.branches
                    ]
        known = {*dict(self._network.named_parameters()), *dict(self._network.named_buffers())}
        values = {name: value for name, value in values.items() if name in known}
        codes = torch.zeros(2 * views.shape[2], 0, dtype=torch.int32)

        def one(values: dict[str, Tensor], x: Tensor) -> Tensor:
            z1, z2 = torch.func.functional_call(
                self._network, values, (Rows(x.reshape(-1, x.shape[2]), codes),)
            )
            return torch.stack([z1.T, z2.T])

        z: Tensor = torch.func.vmap(one)(values, views)
        return z

    def _loss(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The package's closed form for all trials: losses (K,), and the gradient of ``z``."""
        n, d, lam, mu, nu = self._n, self._d, self._lam, self._mu, self._nu
        by_row = (n - 1)[:, None]
        if self._real_rows is not None:
            z = z * self._real_rows
        difference = z[:, 0] - z[:, 1]
        invariance = difference.square().sum(dim=(1, 2)) / (n * d)
        centred = torch.empty(z.shape, dtype=z.dtype)
        torch.sub(z, z.sum(dim=3, keepdim=True) / n.view(-1, 1, 1, 1), out=centred)
        if self._real_rows is not None:
            centred *= self._real_rows
        flat = centred.view(-1, *z.shape[2:])  # (2 K, d, n)
        scale = 4 * nu / (d * (n - 1) ** 2)
        of_branches = scale.repeat_interleave(2).view(-1, 1, 1)
        if self._gram:
            products = flat.transpose(1, 2) @ flat
            squares = flat.square().sum(dim=2)
            total = products.square().sum(dim=(1, 2)) - squares.square().sum(dim=1)
        else:
            products = flat @ flat.transpose(1, 2)
            diagonal = products.diagonal(dim1=1, dim2=2)
            squares = diagonal.clone()
            diagonal.zero_()
            total = products.square().sum(dim=(1, 2))
        covariance = total.view(-1, 2).sum(dim=1) / ((n - 1) ** 2 * d)
        squares = squares.view(len(n), 2, -1)
        deviations = (squares / by_row[:, None]).add_(self._eps).sqrt_()
        shortfall = (self._gamma - deviations).clamp_min_(0)
        if self._real_dims is not None:
            shortfall *= self._real_dims
        variance = shortfall.sum(dim=(1, 2)) / (2 * d)
        pull = torch.sign(shortfall).div_(deviations).mul_((-mu / (2 * d * (n - 1)))[:, None, None])
        products *= of_branches
        if self._gram:
            pull -= squares * scale[:, None, None]
            gradient = torch.bmm(flat, products).view(z.shape)
            gradient.addcmul_(centred, pull[..., None])
        else:
            diagonal.copy_(pull.view(diagonal.shape))
            gradient = torch.bmm(products, flat).view(z.shape)
        difference *= (2 * lam / (n * d))[:, None, None]
        gradient[:, 0] += difference
        gradient[:, 1] -= difference
        return lam * invariance + mu * variance + nu * covariance, gradient

    @torch.no_grad()
    def _take(self, factor: float) -> None:
        gradient, flat = self._gradient, self._flat
        if self._clip:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient *= (self._clip / (norm + 1e-6)).clamp_(max=1)
        if self._groups is not None:
            for group in self._groups.param_groups:
                group["lr"] = group["peak"] * factor
            self._groups.step()
            return
        self._steps += 1
        lr = self._lr * factor
        if self._decays:
            matrices = flat.view(self.n_trials, self.branches, -1)[..., : self._matrices]
            matrices *= (1 - lr * self._decay).unsqueeze(2)
        first, second = self._moments
        scratch, update = self._scratch  # fresh memory of this size costs page faults
        first.lerp_(gradient, 1 - self._beta1)
        torch.mul(gradient, 1 - self._beta2, out=scratch)
        second.mul_(self._beta2).addcmul_(gradient, scratch)
        of_first = lr / (1 - self._beta1**self._steps)
        of_second = 1 / (1 - self._beta2**self._steps).sqrt()
        torch.sqrt(second, out=scratch)
        scratch.mul_(of_second).add_(ADAM_EPS)
        torch.div(first, scratch, out=update)
        flat.addcmul_(update, of_first, value=-1)

    def _optimizer(self, configs: Sequence[Config]) -> torch.optim.Optimizer:
        """One fused AdamW with a group for every trial's matrices and one for its vectors."""
        groups: list[dict[str, Any]] = []
        for trial, config in enumerate(configs):
            values, gradients = (
                whole.view(self.n_trials, self.branches, -1)[trial]
                for whole in (self._flat, self._gradient)
            )
            for part, decay in (
                (slice(0, self._matrices), config.weight_decay),
                (slice(self._matrices, None), 0.0),
            ):
                parameters = []
                for value, gradient in zip(values[:, part], gradients[:, part], strict=True):
                    parameter = nn.Parameter(value)
                    parameter.grad = gradient
                    parameters.append(parameter)
                groups.append(
                    {
                        "params": parameters,
                        "lr": config.lr,
                        "peak": config.lr,
                        "betas": config.betas,
                        "weight_decay": decay,
                    }
                )
        return torch.optim.AdamW(groups, fused=True)


def _full(name: str, branch: int) -> str:
    """A parameter's name in the network of both branches."""
    part, _, rest = name.partition(".")
    return f"{part}s.{branch}.{rest}"


class StackedViews:
    """Views of all trials' batches, drawn together: as :class:`vicreg.views.TwoViews` draws one."""

    def __init__(self, problem: Problem, generator: torch.Generator) -> None:
        configs = problem.configs
        self._table, self._generator = problem.rows.numbers, generator
        self._n, n_rows = max(config.batch_size for config in configs), len(problem.rows)
        self._trials, self._p = len(configs), self._table.shape[1]
        self._views = torch.empty(self._trials, 2, self._n, self._p)
        both = configs[0].sides == "both"
        self._changed = self._views if both else self._views[:, 1:]
        rates = [config.swap * n_rows / (n_rows - 1) for config in configs]
        self._swaps = any(rates)
        highest = [max(round(min(rate, 1.0) * 2**16) - 1, 0) - 2**15 for rate in rates]
        self._highest = torch.tensor(highest, dtype=torch.int16).view(-1, 1, 1, 1)
        sizes = [config.batch_size for config in configs]
        self._real: Tensor | None = None
        if min(sizes) < self._n:
            self._real = torch.arange(self._n) < torch.tensor(sizes)[:, None]
            self._real = self._real[:, None, :, None].float()
        self._orders = self._epochs()
        self._donors = self._drawn(self._changed.shape[1] * self._n)
        self._next = 0

    def __call__(self) -> Tensor:
        """Both views (K, 2, n, p); overwritten by the next call."""
        positions = next(self._orders).reshape(-1)
        rows = self._table[positions].view(self._trials, 1, self._n, self._p)
        self._views.copy_(rows.expand_as(self._views))
        if self._swaps:
            size = self._donors.shape[1]
            stop = min(self._next + math.ceil(size / LIVES), size)
            self._donors[:, self._next : stop] = self._drawn(stop - self._next)
            self._next = stop % size
            count = self._changed.numel()
            draws = torch.empty(math.ceil(count / 4), dtype=torch.int64)
            draws.random_(-(2**63), None, generator=self._generator)
            bits = draws.view(torch.int16)[:count].view(self._changed.shape)
            others = self._donors.view(self._changed.shape)
            torch.where(bits <= self._highest, others, self._changed, out=self._changed)
        if self._real is not None:
            self._views *= self._real
        return self._views

    def _epochs(self) -> Iterator[Tensor]:
        shape = self._trials, len(self._table)
        while True:
            orders = torch.rand(shape, generator=self._generator).argsort(dim=1)
            for start in range(0, shape[1] - self._n + 1, self._n):
                yield orders[:, start : start + self._n]

    def _drawn(self, count: int) -> Tensor:
        shape = self._trials * count, self._p
        index = torch.randint(len(self._table), shape, generator=self._generator)
        return self._table.gather(0, index).view(self._trials, count, self._p)


def own_views(problem: Problem) -> Callable[[], Tensor]:
    """The very views that the package's step draws for every trial alone."""
    most = max(config.batch_size for config in problem.configs)
    makers, batches = [], []
    for trial, config in enumerate(problem.configs):
        generator = torch.Generator().manual_seed(trial)
        makers.append(
            TwoViews(
                problem.rows,
                problem.table.layout,
                corruption(swap=config.swap, mask=0.0, noise=0.0),
                config.batch_size,
                generator,
                sides=config.sides,
            )
        )
        batches.append(permuted_batches(len(problem.rows), config.batch_size, generator))

    def draw() -> Tensor:
        drawn = []
        for maker, own, config in zip(makers, batches, problem.configs, strict=True):
            views = maker(next(own)).numbers.view(2, config.batch_size, -1)
            drawn.append(F.pad(views, (0, 0, 0, most - config.batch_size)))
        return torch.stack(drawn)

    return draw


def check(problem: Problem, *, dtype: torch.dtype, most: float, **how: str) -> float:
    """Largest relative difference between a stack's losses and those of the trials alone."""
    numbers = problem.rows.numbers.to(dtype)
    problem = replace(problem, rows=Rows(numbers, problem.rows.codes))
    stack = Stack(problem, own_views(problem), dtype=dtype, **how)
    alone = [problem.alone(trial) for trial in range(len(problem.configs))]
    for step in alone:
        step.network.to(dtype)
    largest = 0.0
    for _ in range(FOLLOWED):
        together = stack(1.0).tolist()
        for step, loss in zip(alone, together, strict=True):
            with fastest_float32(problem.work):
                step(1.0)
            expected = step.mean_terms()[0]
            step.forget_terms()
            largest = max(largest, abs(loss - expected) / abs(expected))
    if largest > most:
        raise AssertionError(
            f"{problem.name}: a stack's losses must follow the trials' alone to {most:g}, "
            f"however: {largest:.2g}"
        )
    return largest


def checks(problem: Problem) -> None:
    """All ways to build a stack of four, against the trials alone."""
    problem = problem.first(4)
    # Adam enlarges differences of rounding, the more the larger its steps.
    slow = replace(problem, configs=[replace(one, lr=one.lr / 10) for one in problem.configs])
    built = [("bmm", "tensors"), ("bmm", "groups")]
    if len({one.projector for one in problem.configs}) == 1:  # vmap takes the layers' own widths
        built.append(("vmap", "tensors"))
    for way, update in built:
        double = check(problem, dtype=torch.float64, most=DOUBLE, way=way, update=update)
        single = check(slow, dtype=torch.float32, most=TOLERANCE, way=way, update=update)
        drawn = check(problem, dtype=torch.float32, most=math.inf, way=way, update=update)
        print(
            f"| {problem.name} | {way}, {update} | {double:.1e} | {single:.1e} | {drawn:.1e} |",
            flush=True,
        )


def clock() -> float:
    """Seconds of the processor; of the clock where threads wait for each other."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def steps(problem: Problem, sizes: Sequence[int], rounds: int, calls: int) -> None:
    """Rows of the table: trials one after another, and in stacks of every size."""
    alone = [problem.alone(trial) for trial in range(max(sizes))]
    stacks = {size: stack_of(problem.first(size)) for size in sizes}

    def one(trial: int) -> None:
        with fastest_float32(problem.work):
            alone[trial](1.0)

    contestants: dict[tuple[str, int], Callable[[], object]] = {
        **{("alone", trial): lambda t=trial: one(t) for trial in range(len(alone))},  # type: ignore[misc]
        **{("stack", size): lambda s=stacks[size]: s(1.0) for size in sizes},  # type: ignore[misc]
    }
    found = in_turn(contestants, rounds, calls)
    for size in sizes:
        # Rounds stay together: what slows the machine slows both.
        singly = [statistics.mean(row) for row in zip(*(found["alone", t] for t in range(size)))]  # noqa: B905
        stacked = [one / size for one in found["stack", size]]
        ratios = [a / b for a, b in zip(singly, stacked, strict=True)]
        print(
            f"| {problem.name} | {size} | {statistics.median(singly) * 1e3:.2f} "
            f"| {spread([one * 1e3 for one in stacked])} | {spread(ratios)} |",
            flush=True,
        )


def ways(problem: Problem, rounds: int, calls: int) -> None:
    """Rows of the table: a stack of eight, built in other ways."""
    problem = problem.first(8)
    built = [("bmm", "tensors"), ("vmap", "tensors"), ("bmm", "groups")]
    contestants: dict[tuple[str, str], Callable[[], object]] = {}
    for how in built:
        stack = stack_of(problem, way=how[0], update=how[1])
        contestants[how] = lambda s=stack: s(1.0)  # type: ignore[misc]
    found = in_turn(contestants, rounds, calls)
    cells = [spread([one / 8 * 1e3 for one in found[how]]) for how in built]
    print(f"| {problem.name} | {' | '.join(cells)} |", flush=True)


def stack_of(problem: Problem, **how: str) -> Stack:
    """A stack with views of its own."""
    views = StackedViews(problem, torch.Generator().manual_seed(0))
    return Stack(problem, views, **how)  # type: ignore[arg-type]


def in_turn(
    contestants: dict[Any, Callable[[], object]], rounds: int, calls: int
) -> dict[Any, list[float]]:
    """Seconds of a call in every round, all contestants in turn."""
    found: dict[Any, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        for _ in range(3):
            run()
    for _ in range(rounds):
        for name, run in contestants.items():
            run()  # the caches hold another's numbers
            start = clock()
            for _ in range(calls):
                run()
            found[name].append((clock() - start) / calls)
    return found


def job(rounds: int) -> None:
    """The seed's 30 trials: whole fits, their steps alone, and these steps stacked."""
    count = 30
    X, _ = make_blobs(n_samples=100, n_features=100, centers=10, cluster_std=5, random_state=0)
    X = X.astype(np.float32)
    random = np.random.default_rng(0)
    drawn = [drawn_parameters(random) for _ in range(count)]
    problem = seed_problem(count, padded=True)
    our_fit(X, drawn[0], 0)

    def fits() -> None:
        for trial, parameters in enumerate(drawn):
            our_fit(X, parameters, trial)

    def alone() -> None:
        for trial in range(count):
            step = problem.alone(trial)
            for _ in range(STEPS):
                step(1.0)

    def stacked(size: int) -> None:
        for start in range(0, count, size):
            part = replace(problem, configs=problem.configs[start : start + size])
            stack = stack_of(part)
            for _ in range(STEPS):
                stack(1.0)

    contestants: dict[str, Callable[[], None]] = {
        "fits": fits,
        "steps alone": alone,
        "stacks of 5": lambda: stacked(5),
        "stacks of 10": lambda: stacked(10),
        "a stack of 30": lambda: stacked(30),
    }
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = clock()
            run()
            found[name].append(clock() - start)
    middle = {name: statistics.median(values) for name, values in found.items()}
    print(f"\nThe seed's job, {count} trials x {STEPS} steps, seconds of the processor\n")
    print("| what | seconds | the whole job would take | times faster | were all else free |")
    print("|---|---|---|---|---|")
    whole, own = middle["fits"], middle["steps alone"]
    for name, values in found.items():
        print(f"| {name} | {spread(values)} |", end="")
        if name == "fits":
            print(f" {whole:.2f} | 1 | |")
        elif name == "steps alone":
            print(f" of it {own / whole:.0%} | | |")
        else:
            left = whole - own + middle[name]
            print(f" {left:.2f} | {whole / left:.2f} | {whole / middle[name]:.2f} |")


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
    found = in_turn({"plain": lambda: plain(1.0), "compiled": run}, 9, 40)
    return {"seconds": seconds} | {
        name: statistics.median(values) * 1e3 for name, values in found.items()
    }


def step_in_one_graph(step: TrainingStep) -> Callable[[], object]:
    """A step whose network and loss, by the official formula, are one compiled graph."""
    lam, mu, nu, gamma, eps = step.weights

    def loss(views: Rows) -> Tensor:
        z1, z2 = step.network(views)
        rows, dims = z1.shape
        total = lam * F.mse_loss(z1, z2)
        for z in (z1, z2):
            centred = z - z.mean(dim=0)
            products = centred.T @ centred / (rows - 1)
            diagonal = products.diagonal()
            total = total + mu * torch.relu(gamma - torch.sqrt(diagonal + eps)).mean() / 2
            off_diagonal = products.square().sum() - diagonal.square().sum()
            total = total + nu * off_diagonal / dims
        return total

    graph = torch.compile(loss, fullgraph=True)

    def run() -> None:
        total = graph(step._views(next(step._batches)))
        step._optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if step._clip_norm:
            nn.utils.clip_grad_norm_(step._parameters, step._clip_norm)
        step._optimizer.step()

    return run


def small_problem() -> Problem:
    """The smallest net of ``step.py``: 30 columns; 128-32; 128^3; 256."""
    X = np.random.default_rng(0).normal(size=(4096, 30)).astype(np.float32)
    config = Config(
        hidden=(128,), n_components=32, projector=(128,) * 3, detail_share=0, swap=0.3, sides="both"
    )
    return _problem("30 columns", X, [config])


def compilation() -> None:
    """Each net in a process of its own, with an empty cache and then with a full one."""
    print("\n`torch.compile`; views and update as they are\n")
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


def spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stacks", type=int, nargs="*", default=[1, 2, 4, 8, 16])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job-rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--one", nargs=2, help="net, and what of it is compiled here, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # fits this short collapse
    if options.one is not None:
        print(json.dumps(compiled(*options.one)))
        return
    print(machine())
    most = max(options.stacks)
    problems = [
        (make(most, padded=padded), calls)
        for make, calls in ((seed_problem, 40), (default_problem, 3))
        for padded in (False, True)
    ]
    if set(options.only) - {"compile"}:
        print(
            f"\nA stack of 4 against its trials alone: relative difference of {FOLLOWED} losses\n"
        )
        print("| net | stack | float64 | float32, a tenth of lr | float32 |")
        print("|---|---|---|---|---|")
        for problem, _ in problems:
            checks(problem)
    if "steps" in options.only:
        for threads in options.threads:
            torch.set_num_threads(threads)
            print(f"\n{machine()}\n")
            print("| net | stack | alone ms | stack ms a trial (quartiles) | alone / stack |")
            print("|---|---|---|---|---|")
            for problem, calls in problems:
                steps(problem, options.stacks, options.rounds, calls)
        torch.set_num_threads(1)
    if "ways" in options.only:
        print("\n| net, a stack of 8 | ms a trial | by vmap | AdamW in groups |")
        print("|---|---|---|---|")
        for problem, calls in problems:
            if "padded" not in problem.name:
                ways(problem, options.rounds, calls)
    if "job" in options.only:
        job(options.job_rounds)
    if "compile" in options.only:
        compilation()


if __name__ == "__main__":
    main()
