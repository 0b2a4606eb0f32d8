"""Rows drawn with a probability that goes with their weight."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["WeightedDraw", "typical_rows"]


class WeightedDraw:
    """Draws row positions with probability proportional to weight, each independent of the others.

    Parameters
    ----------
    weights : Tensor, shape (rows,)
        Not negative, not all 0.

    Examples
    --------
    >>> import torch
    >>> from vicreg.draws import WeightedDraw
    >>> draw = WeightedDraw(torch.tensor([0.0, 3.0, 1.0]))
    >>> torch.bincount(draw((4000,), torch.Generator().manual_seed(0))) / 4000
    tensor([0.0000, 0.7..., 0.2...])
    """

    def __init__(self, weights: Tensor) -> None:
        cumulative = weights.double().cumsum(0)
        self._edges = cumulative / cumulative[-1]

    def __call__(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Positions of the given shape, on the device of the weights."""
        uniform = torch.rand(
            shape, dtype=torch.float64, device=self._edges.device, generator=generator
        )
        # To the right of equal edges: a row of weight 0 has no room between its edges.
        return torch.searchsorted(self._edges, uniform, right=True)


def typical_rows(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Positions (k,) of rows that stand for all of them, none twice, in ascending order.

    As many as the weighted rows are worth, drawn with probabilities that go with the weights. Where
    all weigh the same these are all rows.

    Every row waits for a time that is exponential with its weight as the rate; the first ones are
    taken.

    Source of their number, (sum of weights)^2 / sum of squared weights: Kish, "Survey Sampling",
    Wiley 1965, section 11.7; of the draw: Efraimidis, Spirakis, "Weighted random sampling with a
    reservoir", Information Processing Letters 97 (2006), algorithm A.

    Examples
    --------
    >>> import torch
    >>> from vicreg.draws import typical_rows
    >>> weights = torch.tensor([2.0, 1e-9, 2.0, 1e-9])
    >>> typical_rows(weights, torch.Generator().manual_seed(0))
    tensor([0, 2])
    """
    weights = weights.double()
    worth = weights.sum().square() / weights.square().sum()
    count = max(2, round(float(worth)))
    # Of positive weights alone: a row of none never comes. PyTorch's own draw ends at 2^24 rows.
    waiting = torch.empty_like(weights).exponential_(generator=generator).div_(weights)
    return waiting.topk(count, largest=False).indices.sort().values
