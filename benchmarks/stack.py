"""A prototype: trials that take their steps together, with stacked parameters.

The parameters of K networks stand in one tensor and are multiplied by batched products. Networks of
other widths and batches of other sizes are padded with zeros, which training leaves zeros.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vicreg.batches import permuted_batches
from vicreg.networks import Encoder, Rows, TableLinear
from vicreg.precision import fastest_float32
from vicreg.views import LIVES, TwoViews, corruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from problems import Problem
    from vicreg.config import Config

__all__ = ["Stack", "StackedViews", "own_views"]

EPS, MOMENTUM, ADAM_EPS = 1e-5, 0.1, 1e-8  # of batch normalisation and of Adam, torch's defaults


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
