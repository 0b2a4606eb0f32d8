"""How much the columns of a table tell about each other.

Neighbouring pixels, bands of a spectrum and measurements of one shape say the same thing many
times: rows that are near in some of the columns are near in the others too. Elsewhere columns go
their own ways (genes, words, letters of a sequence). What follows from it is in
:mod:`vicreg.rules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from vicreg.neighbours import dense, near_rows
from vicreg.networks import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from vicreg.views import Layout

__all__ = ["coherence"]

NEIGHBOURS = 10
MOST_ROWS = 1000
REPEATS = 16


def coherence(
    rows: Rows, layout: Layout, cardinalities: Sequence[int], generator: torch.Generator
) -> float:
    """Share of the variance of one half of the columns that 10 neighbours in the other half tell.

    The mean over some random halves, of at most 1,000 rows; at most 1, and 0 or less where
    columns tell nothing of each other. A category counts as columns of 0 and 1.

    Parameters
    ----------
    rows : Rows
        Encoded rows, more than one.
    layout : Layout
        On the device of the rows.
    cardinalities : sequence of int
        Codes of each categorical column.
    generator : torch.Generator
        On the device of the rows.

    Examples
    --------
    >>> import torch
    >>> from vicreg.coherence import coherence
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Layout
    >>> generator = torch.Generator().manual_seed(0)
    >>> one = torch.randn(500, 1, generator=generator)
    >>> none = torch.zeros(500, 0, dtype=torch.int32)
    >>> copies, others = one.repeat(1, 6), torch.randn(500, 6, generator=generator)
    >>> round(coherence(Rows(copies, none), Layout.plain(6), [], generator), 1)
    1.0
    >>> coherence(Rows(others, none), Layout.plain(6), [], generator) < 0.1
    True
    """
    device = rows.numbers.device
    if layout.n_columns < 2:
        return 0.0
    rows = rows.sample(MOST_ROWS, generator)
    found = []
    for _ in range(REPEATS):
        column = torch.randperm(layout.n_columns, device=device, generator=generator)
        first = column < layout.n_columns // 2
        known, known_cardinalities = _half(rows, layout, cardinalities, first)
        near = near_rows(known, known_cardinalities, NEIGHBOURS, generator)
        asked = dense(*_half(rows, layout, cardinalities, ~first))
        told = torch.zeros_like(asked)
        for others in near.T:  # one by one: all at once would take ten tables of memory
            told += asked[others]
        error = (told / near.shape[1] - asked).square().sum()
        variance = (asked - asked.mean(dim=0)).square().sum()
        found.append(1 - error / variance if variance > 0 else torch.zeros_like(error))
    return float(torch.stack(found).mean())


def _half(
    rows: Rows, layout: Layout, cardinalities: Sequence[int], chosen: Tensor
) -> tuple[Rows, list[int]]:
    """The rows' numbers and codes of the columns chosen (n_columns,)."""
    numbers, codes = chosen[layout.numbers], chosen[layout.codes]
    kept = [c for c, is_kept in zip(cardinalities, codes.tolist(), strict=True) if is_kept]
    return Rows(rows.numbers[:, numbers], rows.codes[:, codes]), kept
