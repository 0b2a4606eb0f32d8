"""Corrupted copies of rows, made in the same way for every model, and their embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from vicreg.inference import embed
from vicreg.views import Donors, Swap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from vicreg.networks import JointEmbedding, Rows
    from vicreg.views import Layout

__all__ = ["embedded_copies", "swapped_copies"]


def swapped_copies(
    rows: Rows,
    layout: Layout,
    chosen: NDArray[np.intp],
    *,
    count: int,
    swap: float,
    random_state: int,
) -> list[Rows]:
    """So many copies of chosen rows, a share of whose entries is swapped with any of the rows.

    Every copy has donors of its own: a pool that is only renewed in part would give the same values
    to a row again and again, and what its copies have in common would pass for the row.

    Parameters
    ----------
    rows : Rows
        On the CPU, whatever device a network is on: the copies are then the same everywhere.
    layout : Layout
    chosen : ndarray of int
        Positions of the rows to copy, (n,).
    count : int
    swap : float
        The share.
    random_state : int

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from vicreg.copies import swapped_copies
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Layout
    >>> rows = Rows(torch.arange(2000.0).view(1000, 2), torch.zeros(1000, 0, dtype=torch.int32))
    >>> copies = swapped_copies(
    ...     rows, Layout.plain(2), np.arange(500), count=3, swap=0.3, random_state=0
    ... )
    >>> [round((copy.numbers != rows.numbers[:500]).float().mean().item(), 1) for copy in copies]
    [0.3, 0.3, 0.3]
    """
    generator = torch.Generator().manual_seed(random_state)
    places = torch.from_numpy(chosen)
    corrupt = Swap(swap)
    copies = []
    for _ in range(count):
        copy = rows.take(places)  # an index makes a copy
        corrupt(copy, Donors(rows, layout, len(copy), generator), generator)
        copies.append(copy)
    return copies


def embedded_copies(network: JointEmbedding, copies: Iterable[Rows]) -> NDArray[np.float32]:
    """Embeddings (rows, copies, dimensions), on the network's device and back."""
    device = next(network.parameters()).device
    return np.stack([embed(network, copy.to(device)).cpu().numpy() for copy in copies], axis=1)
