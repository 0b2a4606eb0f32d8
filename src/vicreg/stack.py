"""Steps of several small networks, taken together: a batched product in the place of many calls.

Where a network is small, a step of training is the calls that make it up and hardly any
arithmetic. Networks of the same layers share the calls: their parameters stand in one tensor.
Narrower ones and smaller batches are filled up with zeros, which training leaves zeros.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vicreg.networks import Encoder, JointEmbedding, TableLinear

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from vicreg.step import TrainingStep

__all__ = ["SAME", "WORK_FOR_STACKS", "StackedStep", "likeness"]

#: Multiplications of a step's largest product up to which a stack pays (``benchmarks/stacked.py``):
#: ten networks then take a third of their time, which is less than pruning would leave of it, and
#: one on its own takes three quarters.
WORK_FOR_STACKS = 500_000
#: What must be the same for networks and tables to be alike, by the names of configurations and
#: spaces; with batch normalisation ``batch_size`` too.
SAME = frozenset(
    {
        *("hidden", "hidden_depth", "projector", "projector_depth", "skip", "batch_norm"),
        *("final_relu", "shared_weights", "optimizer", "steps"),
        *("kind", "n_top_columns", "normal_scores"),
    }
)

#: Of Adam, PyTorch's default.
ADAM_EPS = 1e-8


class _Unit(NamedTuple):
    """An encoder with its projector: a network has one, or one for each view."""

    encoder: Encoder
    projector: nn.Module

    @classmethod
    def of(cls, network: JointEmbedding) -> list[_Unit]:
        pairs = zip(network.encoders, network.projectors, strict=True)
        return [cls(encoder, head) for encoder, head in pairs if isinstance(encoder, Encoder)]

    @property
    def layers(self) -> list[nn.Module]:
        """All of them, in one order."""
        skip = [] if self.encoder.skip is None else [self.encoder.skip]
        return [self.encoder.first, *self.encoder.rest, *skip, *self.projector.children()]


def likeness(step: TrainingStep) -> Hashable:
    """What steps must have in common to be taken together; None if one can only be taken alone.

    Their networks have the same layers on the same numbers, of any width. Batches may differ in
    size where no batch normalisation looks at all of their rows.
    """
    network, config = step.network, step.config
    if type(network) is not JointEmbedding or not step.is_plain or config.optimizer == "lars":
        return None
    unit = _Unit.of(network)[0]
    first = unit.encoder.first
    if first.codes.numel() or not first.n_numbers:
        return None
    return (
        len(network.encoders),
        first.n_numbers,
        first.weight.dtype,
        *(type(layer) for layer in unit.layers),
        unit.encoder.skip is None,
        config.optimizer,
        config.batch_size if config.batch_norm else None,
    )


class StackedStep:
    """Takes a step of several trainings at once, each as it would be taken alone.

    Every training draws its own batches and views, so that but for rounding its course is that of
    the same training alone.

    Parameters
    ----------
    steps : sequence of TrainingStep
        Of the same :func:`likeness`. Their networks are parts of shared tensors until
        :meth:`finish`; sums of terms stay with the steps.
    """

    def __init__(self, steps: Sequence[TrainingStep]) -> None:
        assert len({likeness(step) for step in steps}) == 1
        assert likeness(steps[0]) is not None
        self._steps = list(steps)
        units = [unit for step in steps for unit in _Unit.of(step.network)]
        self._unit, self._branches = units[0], len(units) // len(steps)
        self._parameters = _Parameters(units, len(steps))
        n, p = max(step.config.batch_size for step in steps), units[0].encoder.first.n_numbers
        self._views = self._parameters.values.new_zeros(len(steps), 2, n, p)
        #: Who still draws, and what it fills of the views.
        self._drawing = [
            (step, views[:, : step.config.batch_size])
            for step, views in zip(steps, self._views, strict=True)
        ]
        self._loss = _StackedLoss(steps, self._views)
        self._adam = _StackedAdam(steps, self._parameters)
        self._sums = self._views.new_zeros(len(steps), 4)
        for step, sums in zip(steps, self._sums, strict=True):
            step.sums, step.summed = sums, 0

    def __call__(self, factors: Sequence[float]) -> None:
        """Take a step with every training's factor of its peak learning rate."""
        self._draw()
        z = self._project()
        terms, gradient = self._loss(z.detach())
        self._parameters.take(z, gradient)
        self._adam(factors)
        self._sums += terms
        for step in self._steps:
            step.summed += 1

    def draw_no_more(self, stopped: TrainingStep) -> None:
        """Leave a training's generator where it is: what follows draws from it, as it does alone.

        Its network goes on, over its last views, and what becomes of it no longer matters.
        """
        self._drawing = [(step, views) for step, views in self._drawing if step is not stopped]

    def finish(self) -> None:
        """Leave every network as it is, with parameters of its own."""
        self._parameters.release()
        for step in self._steps:
            step.finish()

    def _draw(self) -> None:
        for step, views in self._drawing:
            views.copy_(step.draw().numbers.view(views.shape))

    def _project(self) -> Tensor:
        """Projections (trainings, 2, d, n) of both views."""
        trainings, _, n, p = self._views.shape
        layer, encoder = self._parameters.apply, self._unit.encoder
        # (units, p, rows): rows side by side, as batch normalisation wants them.
        x = self._views.view(trainings * self._branches, -1, p).transpose(1, 2)
        z = layer(encoder.first, x)
        for one in encoder.rest:
            z = layer(one, z)
        if encoder.skip is not None:
            z = z + layer(encoder.skip, x)
        for one in self._unit.projector.children():
            z = layer(one, z)
        if self._branches == 2:
            return z.view(trainings, 2, -1, n)
        return z.view(trainings, -1, 2, n).transpose(1, 2)


class _Parameters:
    """Parameters of all units: those of one place in one tensor, and all of them in a flat one."""

    def __init__(self, units: Sequence[_Unit], trainings: int) -> None:
        self._own = [
            [one for layer in unit.layers for one in layer.parameters() if one.numel()]
            for unit in units
        ]
        for own in self._own:
            own.sort(key=lambda one: one.dim() == 1)  # matrices first: they alone decay
        shapes = [
            tuple(max(sizes) for sizes in zip(*(one.shape for one in place), strict=True))
            for place in zip(*self._own, strict=True)
        ]
        sizes = [math.prod(shape) for shape in shapes]
        flat = self._own[0][0].new_zeros(len(units), sum(sizes))
        n_matrices = sum(s for s, shape in zip(sizes, shapes, strict=True) if len(shape) > 1)
        #: Of a unit's, its matrices and its vectors.
        self.matrices, self.vectors = slice(0, n_matrices), slice(n_matrices, None)
        self._places: dict[Tensor, Tensor] = {}
        for place, part in enumerate(torch.split(flat, sizes, dim=1)):
            shared = part.view(-1, *shapes[place])
            for values, own in zip(shared, self._own, strict=True):
                own[place].data = _corner(values, own[place].shape).copy_(own[place].data)
            self._places[self._own[0][place]] = shared.detach().requires_grad_()
        self._gradients = torch.zeros_like(flat)
        self.branches = len(units) // trainings
        #: By training, (trainings, parameters): a training's units stand side by side.
        self.values = flat.view(trainings, -1)
        self.gradients = self._gradients.view(trainings, -1)
        self._norms = [
            [layer for layer in place if isinstance(layer, nn.BatchNorm1d)]
            for place in zip(*(unit.layers for unit in units), strict=True)
        ]
        self._running = {place[0]: _shared_statistics(place) for place in self._norms if place}

    def apply(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The first unit's layer, in the version of each unit, of x (units, features, rows)."""
        if isinstance(layer, nn.ReLU):
            return F.relu(x)
        if isinstance(layer, nn.BatchNorm1d):
            return self._normal(layer, x)
        assert isinstance(layer, nn.Linear | TableLinear)
        weight = self._places[layer.weight]
        if layer.bias is None:
            return torch.bmm(weight, x)
        return torch.baddbmm(self._places[layer.bias].unsqueeze(2), weight, x)

    def take(self, z: Tensor, gradient: Tensor) -> None:
        """Work out the parameters' gradients from the one of ``z``."""
        found = torch.autograd.grad(z, list(self._places.values()), gradient)
        torch.cat([one.flatten(start_dim=1) for one in found], dim=1, out=self._gradients)

    def release(self) -> None:
        """Give every batch normalisation memory of its own again; a step does so for parameters."""
        for place in self._norms:
            for norm in place:
                assert norm.running_mean is not None
                assert norm.running_var is not None
                norm.running_mean = norm.running_mean.clone()
                norm.running_var = norm.running_var.clone()

    def _normal(self, layer: nn.BatchNorm1d, x: Tensor) -> Tensor:
        mean, variance = self._running[layer]
        normal = F.batch_norm(  # every unit's every feature is a channel
            x.reshape(1, -1, x.shape[2]),
            mean.view(-1),
            variance.view(-1),
            self._places[layer.weight].flatten(),
            self._places[layer.bias].flatten(),
            training=True,
            momentum=layer.momentum or 0.0,
            eps=layer.eps,
        )
        return normal.view(x.shape)


def _shared_statistics(norms: Sequence[nn.BatchNorm1d]) -> tuple[Tensor, Tensor]:
    """Running means and variances of a place, in one tensor each."""
    width = max(norm.num_features for norm in norms)
    mean = norms[0].weight.new_zeros(len(norms), width)
    variance = torch.ones_like(mean)
    for norm, of_mean, of_variance in zip(norms, mean, variance, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean = of_mean[: norm.num_features].copy_(norm.running_mean)
        norm.running_var = of_variance[: norm.num_features].copy_(norm.running_var)
    return mean, variance


def _corner(values: Tensor, shape: torch.Size) -> Tensor:
    """The part of a shared tensor that is a narrower unit's own."""
    return values[tuple(slice(0, length) for length in shape)]


class _StackedLoss:
    """Loss and gradient of all trainings at once, by the closed form of :mod:`vicreg.loss`."""

    def __init__(self, steps: Sequence[TrainingStep], like: Tensor) -> None:
        weights = [step.weights for step in steps]
        n = [step.config.batch_size for step in steps]
        d = [(step.config.projector or (step.config.n_learnt,))[-1] for step in steps]
        rows, dims = max(n), max(d)
        self._gram = dims > rows
        # None where nothing was filled up.
        self._real_rows = _real(n, rows, like)[:, None, None] if min(n) < rows else None
        self._real_dims = _real(d, dims, like)[:, None] if min(d) < dims else None

        def each(values: Sequence[float], dims: int) -> Tensor:
            return like.new_tensor(values).view(-1, *[1] * (dims - 1))

        sizes = list(zip(n, d, weights, strict=True))
        self._of_mean = each([1 / n for n in n], 4)
        self._of_squares = each([1 / (n - 1) for n in n], 3)
        self._gamma = each([w.gamma for w in weights], 3)
        self._eps = each([w.eps for w in weights], 3)
        self._of_difference = each([2 * w.lam / (n * d) for n, d, w in sizes], 3)
        self._of_pull = each([-w.mu / (2 * d * (n - 1)) for n, d, w in sizes], 3)
        self._of_products = each([4 * w.nu / (d * (n - 1) ** 2) for n, d, w in sizes], 3)
        #: From sums to the terms, and from the terms to the loss.
        self._of_terms = like.new_tensor(
            [[1 / (n * d), 1 / (2 * d), 1 / (d * (n - 1) ** 2)] for n, d, _ in sizes]
        )
        self._of_total = like.new_tensor([[w.lam, w.mu, w.nu] for w in weights])

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Total and terms (trainings, 4), and the total's gradient (trainings, 2, d, n)."""
        z = z.contiguous() if self._real_rows is None else z * self._real_rows
        difference = z[:, 0] - z[:, 1]
        mean = z.sum(dim=3, keepdim=True).mul_(self._of_mean)
        if self._real_rows is None:
            centred = z - mean
        else:
            centred = torch.addcmul(z, mean, self._real_rows, value=-1)
        branches = centred.flatten(0, 1)  # (2 trainings, d, n)
        if self._gram:
            products = torch.bmm(branches.transpose(1, 2), branches)
            gradient = branches.square()  # the memory that the gradient takes below
            squares = gradient.sum(dim=2)
            covariance = products.square().sum(dim=(1, 2)) - squares.square().sum(dim=1)
            covariance.clamp_min_(0)
        else:
            products = torch.bmm(branches, branches.transpose(1, 2))
            diagonal = products.diagonal(dim1=1, dim2=2)
            squares = diagonal.clone()
            diagonal.zero_()
            covariance = products.square().sum(dim=(1, 2))
        squares = squares.view(len(z), 2, -1)
        deviations = (squares * self._of_squares).add_(self._eps).sqrt_()
        shortfall = (self._gamma - deviations).clamp_min_(0)
        if self._real_dims is not None:
            shortfall.mul_(self._real_dims)
        sums = (
            difference.square().sum(dim=(1, 2)),
            shortfall.sum(dim=(1, 2)),
            covariance.view(-1, 2).sum(dim=1),
        )
        terms = torch.stack(sums, dim=1).mul_(self._of_terms)
        total = (terms * self._of_total).sum(dim=1, keepdim=True)

        pull = torch.sign(shortfall).div_(deviations).mul_(self._of_pull)
        products.view(len(z), 2, *products.shape[1:]).mul_(self._of_products[..., None])
        if self._gram:
            pull.sub_(squares * self._of_products)
            gradient = torch.bmm(branches, products, out=gradient).view_as(z)
            gradient.addcmul_(centred, pull[..., None])
        else:
            diagonal.copy_(pull.view_as(diagonal))
            gradient = torch.bmm(products, branches).view_as(z)
        difference.mul_(self._of_difference)
        gradient[:, 0].add_(difference)
        gradient[:, 1].sub_(difference)
        return torch.cat((total, terms), dim=1), gradient


def _real(lengths: Sequence[int], most: int, like: Tensor) -> Tensor:
    """Ones in the places that a training fills, else zeros (trainings, most)."""
    return (torch.arange(most) < torch.tensor(lengths)[:, None]).to(like.dtype)


class _StackedAdam:
    """Adam or AdamW with the rates, betas, decay and clipping of every training's own.

    PyTorch's fused kernel is called as its optimisers call it: a group of parameters for each
    training would take three times as long, by what is done around the kernel.
    """

    def __init__(self, steps: Sequence[TrainingStep], parameters: _Parameters) -> None:
        self._configs = [step.config for step in steps]
        self._gradients = parameters.gradients
        clip_norms = [config.clip_norm or math.inf for config in self._configs]
        self._clip_norms = self._gradients.new_tensor(clip_norms).view(-1, 1)
        self._clips = min(clip_norms) < math.inf
        adam = self._configs[0].optimizer == "adam"
        self._kernel: Any = torch._fused_adam_ if adam else torch._fused_adamw_
        moments = [torch.zeros_like(parameters.values) for _ in range(2)]
        tensors = parameters.values, self._gradients, *moments
        #: Of a training: values, gradients and moments, those that decay and those that do not.
        self._parts: list[list[tuple[float, tuple[list[Tensor], ...]]]] = []
        for config, *own in zip(self._configs, *tensors, strict=True):
            parts = [(0.0, tuple([one] for one in own))]
            if config.weight_decay:
                units = [one.view(parameters.branches, -1) for one in own]
                parts = [
                    (decay, tuple(list(one[:, part]) for one in units))
                    for decay, part in (
                        (config.weight_decay, parameters.matrices),
                        (0.0, parameters.vectors),
                    )
                ]
            self._parts.append(parts)
        self._taken = torch.zeros(())

    @torch.no_grad()
    def __call__(self, factors: Sequence[float]) -> None:
        if self._clips:
            norms = torch.linalg.vector_norm(self._gradients, dim=1, keepdim=True)
            self._gradients.mul_((self._clip_norms / norms).clamp_(max=1.0))
        self._taken += 1
        for factor, config, parts in zip(factors, self._configs, self._parts, strict=True):
            for decay, (values, gradients, first, second) in parts:
                self._kernel(
                    values,
                    gradients,
                    first,
                    second,
                    [],
                    [self._taken] * len(values),
                    lr=config.lr * factor,
                    beta1=config.betas[0],
                    beta2=config.betas[1],
                    weight_decay=decay,
                    eps=ADAM_EPS,
                    amsgrad=False,
                    maximize=False,
                )
