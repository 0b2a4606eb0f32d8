"""Optimisers and the learning rate's course."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["LARS", "FlatOptimizer", "warmup_cosine"]


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling with momentum, the paper's optimiser for large batches.

    Source: You, Gitman, Ginsburg, arXiv 1708.03888, algorithm 1. As in the VICReg authors' code,
    parameters with one dimension (biases, normalisation) take plain momentum steps.

    Parameters
    ----------
    params : iterable of tensors or parameter groups
    lr : float
        Learning rate, positive.
    momentum : float
        Decay of the velocity, in [0, 1).
    weight_decay : float
        L2 penalty, part of the gradient before it is scaled.
    trust : float
        The trust coefficient eta: a step's norm relative to the weights' norm.

    Examples
    --------
    >>> import torch
    >>> from vicreg.optim import LARS
    >>> weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    >>> weight.grad = torch.tensor([[0.0, 2.0]])
    >>> LARS([weight], lr=1.0, trust=0.1).step()
    >>> weight.data  # the step has a tenth of the weight's norm: 0.5
    tensor([[3.0000, 3.5000]])
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 1e-3,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                update = parameter.grad
                if parameter.dim() > 1:
                    update = update.add(parameter, alpha=group["weight_decay"])
                    weight_norm = torch.linalg.vector_norm(parameter)
                    update_norm = torch.linalg.vector_norm(update)
                    scale = group["trust"] * weight_norm / update_norm
                    usable = (weight_norm > 0) & (update_norm > 0)
                    update = update * torch.where(usable, scale, torch.ones_like(scale))
                state = self.state[parameter]
                if "velocity" not in state:
                    state["velocity"] = torch.zeros_like(parameter)
                velocity = state["velocity"]
                velocity.mul_(group["momentum"]).add_(update)
                parameter.sub_(velocity, alpha=group["lr"])


class FlatOptimizer:
    """An optimiser that takes all parameters of a network as one vector, and their gradients too.

    Where layers are small, a step is the calls that make it up, and one by one every layer would
    cost some at each of gradient, clipping and update. Weight decay is for matrices only.

    Parameters
    ----------
    network : nn.Module
        Its trained parameters become parts of one vector until :meth:`release`.
    name : {"adamw", "adam", "lars"}
    lr, betas, weight_decay
        See :class:`vicreg.config.Config`.
    clip_norm : float
        Largest Euclidean norm of the gradient; what is longer is shortened to it. 0 for none.
    captured_on : torch.device, optional
        The GPU on which steps will be recorded as a CUDA graph. The learning rate is then a
        tensor, which a recorded step reads anew. Not with LARS.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from vicreg.optim import FlatOptimizer
    >>> network = nn.Linear(2, 1)
    >>> before = network.weight.detach().clone()
    >>> optimizer = FlatOptimizer(network, "adam", lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)
    >>> optimizer.step(network(torch.ones(3, 2)).sum())
    >>> (before - network.weight.detach()).round(decimals=3)  # Adam's first step is the rate
    tensor([[0.1000, 0.1000]])
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        clip_norm: float = 0.0,
        captured_on: torch.device | None = None,
    ) -> None:
        assert captured_on is None or name != "lars"
        trained = [one for one in network.parameters() if one.requires_grad and one.numel()]
        matrices = [one for one in trained if one.dim() > 1]
        vectors = [one for one in trained if one.dim() <= 1]
        self._parameters = [*matrices, *vectors]
        self._clip_norm = clip_norm
        values = torch.cat([one.detach().reshape(-1) for one in self._parameters])
        self._gradient = torch.zeros_like(values)
        place = 0
        for one in self._parameters:
            part = slice(place, place + one.numel())
            one.data = values[part].view_as(one)
            one.grad = self._gradient[part].view_as(one)
            place = part.stop
        decayed, others = matrices, vectors
        if name != "lars":  # which looks at every layer on its own
            n_decayed = sum(one.numel() for one in matrices)
            decayed, others = (
                [self._joint(values, part)]
                for part in (slice(0, n_decayed), slice(n_decayed, None))
            )
        self._optimizer = _of_groups(
            [
                {"params": decayed, "weight_decay": weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            name,
            lr=lr,
            betas=betas,
            captured_on=captured_on,
        )

    def _joint(self, values: Tensor, part: slice) -> nn.Parameter:
        """A part of all values as one parameter, with its part of the gradient."""
        joint = nn.Parameter(values[part])
        joint.grad = self._gradient[part]
        return joint

    def set_rate(self, rate: float) -> None:
        """Give all parameters a learning rate."""
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step(
        self, outputs: Tensor | Sequence[Tensor], gradients: Sequence[Tensor] | None = None
    ) -> None:
        """Work out the parameters' gradient, clip it, and update them.

        Parameters
        ----------
        outputs : Tensor or sequence of Tensor
            The loss; or what it was worked out from, with its gradients.
        gradients : sequence of Tensor, optional
            Of the loss with respect to the outputs.
        """
        found = torch.autograd.grad(outputs, self._parameters, gradients)
        torch.cat([one.reshape(-1) for one in found], out=self._gradient)
        if self._clip_norm:
            norm = torch.linalg.vector_norm(self._gradient)
            self._gradient.mul_((self._clip_norm / norm).clamp_(max=1.0))
        self._optimizer.step()

    def release(self) -> None:
        """Give every parameter a memory of its own again, without a gradient."""
        for one in self._parameters:
            one.data = one.detach().clone()
            one.grad = None


def _of_groups(
    groups: list[dict[str, Any]],
    name: str,
    *,
    lr: float,
    betas: tuple[float, float],
    captured_on: torch.device | None,
) -> torch.optim.Optimizer:
    if name == "lars":
        return LARS(groups, lr, momentum=betas[0])
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    if captured_on is None:
        return kind(groups, lr=lr, betas=betas, fused=True)
    rate = torch.tensor(lr, device=captured_on)
    return kind(groups, lr=rate, betas=betas, fused=True, capturable=True)


def warmup_cosine(step: int, steps: int, warmup: float, *, constant: bool = False) -> float:
    """Factor on the learning rate at a step: a straight rise, then half a cosine down to 0.

    Parameters
    ----------
    step : int
        From 0 to ``steps`` - 1.
    steps : int
        Steps in all.
    warmup : float
        Share of the steps over which the factor rises to 1.
    constant : bool
        Stay at 1 after the rise.

    Examples
    --------
    >>> from vicreg.optim import warmup_cosine
    >>> [round(warmup_cosine(step, 10, 0.2), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    if constant:
        return 1.0
    return (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2
