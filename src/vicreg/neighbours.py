"""Which rows of a table are near each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicreg.networks import Rows

__all__ = ["dense", "near_rows"]

#: Rows among which neighbours are looked for, at the most: the cost is this times the rows.
MOST_CANDIDATES = 20_000
BLOCK = 1024


def near_rows(
    rows: Rows, cardinalities: Sequence[int], count: int, generator: torch.Generator
) -> Tensor:
    """Positions (n, count) of each row's nearest other rows, euclidean, the nearest first.

    Numbers are compared as they are, categories as columns of 0 and 1. In a table of more than
    20,000 rows neighbours are looked for among 20,000 of them, drawn at random.

    Parameters
    ----------
    rows : Rows
        n rows, more than one.
    cardinalities : sequence of int
        Codes of each categorical column.
    count : int
        Neighbours of a row; lowered to n - 1 where there are no more.
    generator : torch.Generator
        On the device of the rows.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Rows
    >>> from vicreg.neighbours import near_rows
    >>> numbers = torch.tensor([[0.0], [1.0], [5.0], [5.5]])
    >>> rows = Rows(numbers, torch.zeros(4, 0, dtype=torch.int32))
    >>> near_rows(rows, [], 1, torch.Generator().manual_seed(0)).T
    tensor([[1, 0, 3, 2]])
    """
    n_rows, device = len(rows), rows.numbers.device
    chosen = torch.arange(n_rows, device=device)
    if n_rows > MOST_CANDIDATES:
        order = torch.randperm(n_rows, device=device, generator=generator)
        chosen = order[:MOST_CANDIDATES].sort().values
    everything = len(chosen) == n_rows
    candidates = dense(rows if everything else rows.take(chosen), cardinalities)
    squares = candidates.square().sum(dim=1)
    count = min(count, len(chosen) - 1)

    def nearest(start: int) -> Tensor:  # a function: a block's distances are gone before the next's
        here = torch.arange(start, min(start + BLOCK, n_rows), device=device)
        if everything:
            block = candidates[start : start + BLOCK]
        else:
            block = dense(rows.take(here), cardinalities)
        # The row's own square is the same for all candidates.
        distances = torch.addmm(squares, block, candidates.T, alpha=-2)
        distances.masked_fill_(here.unsqueeze(1) == chosen, torch.inf)
        return chosen[distances.topk(count, largest=False).indices]

    return torch.cat([nearest(start) for start in range(0, n_rows, BLOCK)])


def dense(rows: Rows, cardinalities: Sequence[int]) -> Tensor:
    """Numbers beside one-hot codes (n, p + the sum of the cardinalities).

    Where there are no codes these are the rows' own numbers, and no copy.
    """
    if not cardinalities:
        return rows.numbers
    one_hot = [
        F.one_hot(rows.codes[:, place].long(), cardinality).to(rows.numbers.dtype)
        for place, cardinality in enumerate(cardinalities)
    ]
    return torch.cat([rows.numbers, *one_hot], dim=1)
