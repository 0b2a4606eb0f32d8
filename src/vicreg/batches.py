"""Batches: slices of a permuted index, on the device that holds the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["permuted_batches"]


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
