"""Which columns of a table go together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vicreg.neighbours import dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vicreg.networks import Rows
    from vicreg.views import Layout

__all__ = ["companions", "with_companions"]

#: Columns that blocks are built around, at the most: what is kept grows with it times the columns.
MOST_SEEDS = 256
MOST_ROWS = 1000
#: What is left of a column without its mean, as a share of the column, that is more than rounding.
LEAST_NORM = 1e-5


def companions(
    rows: Rows, layout: Layout, cardinalities: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Every column's place (m, n_columns) in the order of how much it goes with each of m columns.

    Two numbers go together by their squared correlation, over 1,000 rows at the most. Columns of
    several dimensions (a category has one for each code, a date one for each part) by the sum of
    the squares of all pairs, over the root of the number of dimensions that vary. A column comes
    first in its own order. m is the number of columns, but 256 at the most, drawn at random.

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
    >>> from vicreg.companions import companions
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Layout
    >>> generator = torch.Generator().manual_seed(0)
    >>> a, b, noise = torch.randn(3, 100, 1, generator=generator)
    >>> numbers = torch.cat([a, b, a + 0.1 * noise, b + 0.5 * noise], dim=1)
    >>> rows = Rows(numbers, torch.zeros(100, 0, dtype=torch.int32))
    >>> companions(rows, Layout.plain(4), [], generator)[:2]
    tensor([[0, 2, 1, 3],
            [2, 0, 3, 1]], dtype=torch.int32)
    """
    device = rows.numbers.device
    rows = rows.sample(MOST_ROWS, generator)
    columns = dense(rows, cardinalities)
    sizes = torch.tensor(cardinalities, dtype=torch.int64, device=device)
    owners = torch.cat([layout.numbers, layout.codes.repeat_interleave(sizes)])
    whole = columns.norm(dim=0)
    columns = columns - columns.mean(dim=0)
    norms = columns.norm(dim=0)
    varies = norms > LEAST_NORM * whole
    columns = torch.where(varies, columns / norms, 0.0)
    count = min(layout.n_columns, MOST_SEEDS)
    seeds = torch.arange(layout.n_columns, device=device)
    if count < layout.n_columns:
        seeds = torch.randperm(layout.n_columns, device=device, generator=generator)[:count]
    place = torch.full((layout.n_columns,), count, device=device)  # of those that are no seeds
    place[seeds] = torch.arange(count, device=device)
    of_seeds = place[owners] < count
    squares = (columns[:, of_seeds].T @ columns).square_()
    together = squares.new_zeros(count, len(owners))
    together.index_add_(0, place[owners[of_seeds]], squares)
    strength = squares.new_zeros(count, layout.n_columns).index_add_(1, owners, together)
    varying = strength.new_zeros(layout.n_columns).index_add_(0, owners, varies.to(strength))
    strength /= varying.clamp(min=1).sqrt()
    strength[torch.arange(count, device=device), seeds] = torch.inf
    order = strength.argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1).to(torch.int32)


def with_companions(layout: Layout, rows: Rows, cardinalities: Sequence[int], seed: int) -> Layout:
    """A layout that knows its columns' companions; ``seed`` is of what is drawn to find them."""
    generator = torch.Generator(rows.numbers.device).manual_seed(seed)
    return replace(layout, companions=companions(rows, layout, cardinalities, generator))
