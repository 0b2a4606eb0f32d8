"""Which other row a row's second view is made of: one of those near it, or one of its group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Mates", "Near", "Partners"]


class Partners(Protocol):
    """Draws a partner for each of some rows of a table, which may be the row itself."""

    def draw(self, positions: Tensor, generator: torch.Generator) -> Tensor:
        """Positions (n,) of the partners of the rows at ``positions`` (n,)."""
        ...


@dataclass(frozen=True)
class Near:
    """One of the ``rows`` (n, k) near each row for a ``share`` of the draws, else the row itself.

    Examples
    --------
    >>> import torch
    >>> from vicreg.partners import Near
    >>> near = Near(torch.tensor([[1, 1], [0, 0]]), share=1.0)
    >>> near.draw(torch.tensor([0, 1, 0]), torch.Generator().manual_seed(0))
    tensor([1, 0, 1])
    """

    rows: Tensor
    share: float

    def draw(self, positions: Tensor, generator: torch.Generator) -> Tensor:
        shape, device = positions.shape, positions.device
        drawn = torch.randint(self.rows.shape[1], shape, device=device, generator=generator)
        own = torch.rand(shape, device=device, generator=generator) >= self.share
        return torch.where(own, positions, self.rows[positions, drawn])


@dataclass(frozen=True)
class Mates:
    """Another row of the same group, each as likely; a row alone in its group is its own partner.

    ``order`` (n,) are the rows sorted by group; of each row, ``start`` is the place in it where the
    row's group begins, ``size`` the group's rows, ``rank`` the row's own place within.

    Examples
    --------
    >>> import torch
    >>> from vicreg.partners import Mates
    >>> mates = Mates.of(torch.tensor([7, 3, 7, 5]))
    >>> mates.draw(torch.tensor([0, 1, 2, 3]), torch.Generator().manual_seed(0))
    tensor([2, 1, 0, 3])
    """

    order: Tensor
    start: Tensor
    size: Tensor
    rank: Tensor

    @classmethod
    def of(cls, groups: Tensor) -> Mates:
        """From the group of every row (n,), integers."""
        order = torch.argsort(groups, stable=True)
        _, inverse, counts = torch.unique(groups, return_inverse=True, return_counts=True)
        start = (counts.cumsum(0) - counts)[inverse]
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=order.device)
        return cls(order, start, counts[inverse], places - start)

    def draw(self, positions: Tensor, generator: torch.Generator) -> Tensor:
        size = self.size[positions]
        others = size - 1
        uniform = torch.rand(
            positions.shape, dtype=torch.float64, device=positions.device, generator=generator
        )
        # The others stand after the row, in a circle: a step of 1 to size - 1; 0 for a row alone.
        step = torch.minimum((uniform * others).long() + 1, others)
        return self.order[self.start[positions] + (self.rank[positions] + step) % size]
