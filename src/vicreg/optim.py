"""Optimisers and the learning rate's course."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["LARS", "build_optimizer", "set_rate", "warmup_cosine"]


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


def build_optimizer(
    network: nn.Module,
    name: str,
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    captured_on: torch.device | None = None,
) -> torch.optim.Optimizer:
    """An optimiser over a network's parameters, weight decay on matrices only.

    Parameters
    ----------
    network : nn.Module
    name : {"adamw", "adam", "lars"}
    lr, betas, weight_decay
        See :class:`vicreg.config.Config`.
    captured_on : torch.device, optional
        The GPU on which updates will be recorded as a CUDA graph. The learning rate is then a
        tensor, which a recorded update reads anew.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.numel()]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if name == "lars":
        assert captured_on is None
        return LARS(groups, lr, momentum=betas[0])
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    if captured_on is None:
        return kind(groups, lr=lr, betas=betas, fused=True)
    rate = torch.tensor(lr, device=captured_on)
    return kind(groups, lr=rate, betas=betas, fused=True, capturable=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameters of an optimiser a learning rate.

    Examples
    --------
    >>> import torch
    >>> from vicreg.optim import set_rate
    >>> optimizer = torch.optim.Adam([torch.zeros(1)], lr=torch.tensor(1.0))
    >>> set_rate(optimizer, 0.5)
    >>> optimizer.param_groups[0]["lr"]
    tensor(0.5000)
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


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
