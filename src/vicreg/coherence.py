"""How much the columns of a table tell about each other, and what follows from it.

Neighbouring pixels, bands of a spectrum and measurements of one shape say the same thing many
times: rows that are near in some of the columns are near in the others too. There distances of the
table itself mean much, and a light corruption of both views keeps them. Where the columns go their
own ways (genes, words, letters of a sequence) a row learnt from half of its entries, beside the
whole row, makes better distances. What becomes of the learnt components' spectrum, and why, is in
:mod:`vicreg.spectrum`. docs/quality.md has the tables that this rests on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from vicreg.neighbours import dense, near_rows
from vicreg.networks import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from vicreg.views import Layout

__all__ = ["block_share", "coherence", "corrupted_sides", "noise_level"]

#: Coherence from which both views are corrupted.
COHERENT = 0.5
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


def corrupted_sides(of_table: float, swap: float) -> tuple[Literal["both", "one"], float]:
    """Sides to corrupt and the share to swap in each, by a table's coherence.

    ``swap`` is the share of the entries in which the views are to differ. With both sides at a
    rate r that share is 1 - (1 - r)².

    Examples
    --------
    >>> from vicreg.coherence import corrupted_sides
    >>> corrupted_sides(0.1, 0.5)
    ('one', 0.5)
    >>> corrupted_sides(0.9, 0.51)
    ('both', 0.3)
    """
    if of_table < COHERENT:
        return "one", swap
    return "both", round(1 - (1 - swap) ** 0.5, 6)


def block_share(of_table: float) -> float:
    """Share of the corrupted rows in which blocks of columns are swapped, by a table's coherence.

    Where every column has others that say the same, a swapped entry is told by what is left, and a
    network may learn no more than to even out: so half of the rows lose columns that go together.

    Examples
    --------
    >>> from vicreg.coherence import block_share
    >>> block_share(0.1), block_share(0.9)
    (0.0, 0.5)
    """
    return 0.0 if of_table < COHERENT else 0.5


def noise_level(of_table: float) -> float:
    """Level of the noise in the learnt components' spectrum, by a table's coherence.

    In units of the mean variance of a direction, see :mod:`vicreg.spectrum`.

    Examples
    --------
    >>> from vicreg.coherence import noise_level
    >>> noise_level(0.1), noise_level(0.9)
    (3.0, 0.3)
    """
    return 3.0 if of_table < COHERENT else 0.3


def _half(
    rows: Rows, layout: Layout, cardinalities: Sequence[int], chosen: Tensor
) -> tuple[Rows, list[int]]:
    """The rows' numbers and codes of the columns chosen (n_columns,)."""
    numbers, codes = chosen[layout.numbers], chosen[layout.codes]
    kept = [c for c, is_kept in zip(cardinalities, codes.tolist(), strict=True) if is_kept]
    return Rows(rows.numbers[:, numbers], rows.codes[:, codes]), kept
