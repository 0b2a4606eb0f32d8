"""Batches: slices of a permuted index, on the device that holds the table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from vicreg.draws import WeightedDraw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["mixed_batches", "permuted_batches", "weighted_batches"]


def permuted_batches(n_rows: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of row positions (batch_size,), every epoch in a new order.

    A batch is never short: the rows left over at the end of an epoch wait for the next one.

    Parameters
    ----------
    n_rows : int
        Rows of the table, at least ``batch_size``.
    batch_size : int
    generator : torch.Generator
        Its device is the positions' device.

    Examples
    --------
    >>> import torch
    >>> from vicreg.batches import permuted_batches
    >>> batches = permuted_batches(4, 2, torch.Generator().manual_seed(0))
    >>> sorted(torch.cat([next(batches), next(batches)]).tolist())
    [0, 1, 2, 3]
    """
    assert 1 <= batch_size <= n_rows
    while True:
        order = torch.randperm(n_rows, device=generator.device, generator=generator)
        for start in range(0, n_rows - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


def weighted_batches(
    weights: Tensor, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Endless batches of row positions (batch_size,), each as likely as its weight says.

    A row may stand in a batch more than once, as it would in a table that repeats it.

    Parameters
    ----------
    weights : Tensor, shape (rows,)
        Not negative, not all 0.
    batch_size : int
    generator : torch.Generator
        On the device of the weights.

    Examples
    --------
    >>> import torch
    >>> from vicreg.batches import weighted_batches
    >>> batches = weighted_batches(torch.tensor([0.0, 1.0]), 3, torch.Generator().manual_seed(0))
    >>> next(batches)
    tensor([1, 1, 1])
    """
    draw = WeightedDraw(weights)
    while True:
        yield draw((batch_size,), generator)


def mixed_batches(n_rows: int, most: int, device: torch.device) -> list[Tensor]:
    """Positions of all rows, once, in batches of nearly one size, none above ``most``.

    Where there is more than one batch, rows are mixed, the same way every time: a table may be
    sorted by what its rows are.

    Examples
    --------
    >>> import torch
    >>> from vicreg.batches import mixed_batches
    >>> [len(batch) for batch in mixed_batches(10, 4, torch.device("cpu"))]
    [4, 3, 3]
    >>> mixed_batches(3, 4, torch.device("cpu"))
    [tensor([0, 1, 2])]
    """
    count = math.ceil(n_rows / most)
    order = torch.arange(n_rows)
    if count > 1:
        order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(0))
    return list(order.to(device).tensor_split(count))
