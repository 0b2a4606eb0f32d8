"""Views: randomly corrupted copies of rows.

A corruption acts on whole columns of the table: a category is swapped whole, and a number goes
together with the flag that says it was missing, or with the other parts of the same date.

Source of the marginal swap: Bahri, Jiang, Tay, Metzler, "SCARF: Self-Supervised Contrastive
Learning using Random Feature Corruption", ICLR 2022, arXiv 2106.15147, algorithm 1.
NOTE[DIFF] SCARF draws a fixed number of columns per row and a new replacement for every entry of
every step; here every entry is swapped or not on its own, and replacements are read from a pool of
donor rows, of which a part is drawn anew at each step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor

from vicreg.draws import WeightedDraw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vicreg.networks import Rows
    from vicreg.partners import Partners

__all__ = [
    "Compose",
    "Corruption",
    "Donors",
    "Layout",
    "Mask",
    "Noise",
    "Swap",
    "Thin",
    "TwoViews",
    "ViewMaker",
    "corruption",
]

#: Steps for which a row of the donor pool is used before it is drawn anew. Random gathers of single
#: entries cost a third of a step on wide tables; reading the pool costs next to nothing.
LIVES = 8
#: Counts up to which thinning throws coins.
COINS = 3


@dataclass(frozen=True)
class Layout:
    """Which column of the table each encoded number and code belongs to.

    ``numbers`` (p,) and ``codes`` (q,) hold positions in 0 ... ``n_columns`` - 1; ``noisy`` (p,)
    is 1 where Gaussian noise makes sense and 0 for flags. ``companions`` (m, n_columns), if there,
    has for some of the columns every column's place in the order of how much it goes with that one:
    0 for the column itself, 1 for the one that goes with it most.
    """

    n_columns: int
    numbers: Tensor
    codes: Tensor
    noisy: Tensor
    companions: Tensor | None = None
    _in_order: tuple[bool, bool] = field(init=False)

    def __post_init__(self) -> None:
        columns = torch.arange(self.n_columns)
        in_order = tuple(torch.equal(own.cpu(), columns) for own in (self.numbers, self.codes))
        object.__setattr__(self, "_in_order", in_order)

    @classmethod
    def plain(cls, n_numbers: int, n_codes: int = 0) -> Layout:
        """Every number and every code a column of its own."""
        n_columns = n_numbers + n_codes
        return cls(
            n_columns,
            torch.arange(n_numbers),
            torch.arange(n_numbers, n_columns),
            torch.ones(n_numbers),
        )

    def to(self, device: torch.device) -> Layout:
        """The same layout on another device."""
        return Layout(
            self.n_columns,
            self.numbers.to(device),
            self.codes.to(device),
            self.noisy.to(device),
            None if self.companions is None else self.companions.to(device),
        )

    def spread(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """A tensor over columns (n, n_columns) over numbers (n, p) and over codes (n, q)."""
        # Where all columns are numbers (or codes), one each, nothing need be copied.
        of_numbers, of_codes = (
            chosen if in_order else chosen[:, places]
            for in_order, places in zip(self._in_order, (self.numbers, self.codes), strict=True)
        )
        return of_numbers, of_codes


class Donors:
    """Rows whose every column comes from a row of the table drawn for that column alone.

    Parameters
    ----------
    table : Rows
        All rows that values may be drawn from.
    layout : Layout
    size : int
        Donor rows, as many as rows are corrupted at a time.
    generator : torch.Generator
        On the table's device.
    weights : Tensor, shape (rows of the table,), optional
        How often a row gives a value, in proportion; by default all rows equally.
    dtype : torch.dtype, optional
        Of the donor rows' numbers; by default that of the table.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Donors, Layout
    >>> table = Rows(torch.arange(8.0).view(4, 2), torch.zeros(4, 0, dtype=torch.int32))
    >>> donors = Donors(table, Layout.plain(2), 3, torch.Generator().manual_seed(0))
    >>> donors.renewed().numbers.shape  # even numbers stay in the first column
    torch.Size([3, 2])
    """

    def __init__(
        self,
        table: Rows,
        layout: Layout,
        size: int,
        generator: torch.Generator,
        weights: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.table, self.layout, self._generator = table, layout, generator
        self._dtype = dtype
        self._weighted = None if weights is None else WeightedDraw(weights)
        self._rows: Rows | None = None
        self._size = size
        self._next = 0

    def renewed(self) -> Rows:
        """The donor rows, an eighth of them drawn anew since the last call."""
        if self._rows is None:
            self._rows = self.table.empty(self._size, self._dtype)
            self._draw(0, self._size)
            return self._rows
        stop = min(self._next + math.ceil(self._size / LIVES), self._size)
        self._draw(self._next, stop)
        self._next = stop % self._size
        return self._rows

    def _draw(self, start: int, stop: int) -> None:
        assert self._rows is not None
        table, part = self.table, self._rows.take(slice(start, stop))
        shape = stop - start, self.layout.n_columns
        if self._weighted is None:
            index = torch.randint(
                len(table), shape, device=table.numbers.device, generator=self._generator
            )
        else:
            index = self._weighted(shape, self._generator)
        of_numbers, of_codes = self.layout.spread(index)
        if part.numbers.dtype == table.numbers.dtype:
            torch.gather(table.numbers, 0, of_numbers, out=part.numbers)
        else:
            part.numbers.copy_(table.numbers.gather(0, of_numbers))
        torch.gather(table.codes, 0, of_codes, out=part.codes)


class Corruption(Protocol):
    """Changes rows (n, ...) in place, with or without the help of as many donors.

    ``computes`` is false where values are only exchanged: rounded before or after, they come out
    the same.
    """

    @property
    def computes(self) -> bool: ...

    def __call__(self, rows: Rows, donors: Donors, generator: torch.Generator) -> None: ...


@dataclass(frozen=True)
class Swap:
    """Replace a share of the entries by the same column's value in another row.

    A column keeps its marginal. A donor is the row itself once in as many times as the table has
    rows; the entry then stays, and the share of the others is raised to make up for it.

    Parameters
    ----------
    rate : float
        Share of the entries.
    block_share : float
        Share of the rows in which the entries to replace are not drawn one by one, but are a column
        drawn at random and those that go with it most, where the layout knows of companions. What
        is left of a row then tells less about what is lost.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Donors, Layout, Swap
    >>> table = Rows(torch.arange(2000.0).view(1000, 2), torch.zeros(1000, 0, dtype=torch.int32))
    >>> generator = torch.Generator().manual_seed(0)
    >>> rows = table.take(torch.arange(1000))
    >>> Swap(0.3)(rows, Donors(table, Layout.plain(2), 1000, generator), generator)
    >>> round((rows.numbers != table.numbers).float().mean().item(), 1)
    0.3
    """

    rate: float
    block_share: float = 0.0
    computes: ClassVar[bool] = False

    def __call__(self, rows: Rows, donors: Donors, generator: torch.Generator) -> None:
        n_table = len(donors.table)
        if n_table < 2:
            return
        rate = min(1.0, self.rate * n_table / (n_table - 1))
        chosen = _chosen(rows, donors.layout, rate, generator)
        if self.block_share and donors.layout.companions is not None:
            blocks = _blocks(len(rows), donors.layout.companions, rate, generator)
            in_block = torch.rand(len(rows), 1, device=blocks.device, generator=generator)
            chosen = torch.where(in_block < self.block_share, blocks, chosen)
        numbers, codes = donors.layout.spread(chosen)
        others = donors.renewed()
        _exchange(rows.numbers, others.numbers, numbers)
        _exchange(rows.codes, others.codes, codes)


@dataclass(frozen=True)
class Mask:
    """Replace a share of the entries by the column's mean, or by the unknown category (code 0).

    Numbers are standardised, so the mean is 0.
    """

    rate: float
    computes: ClassVar[bool] = False

    def __call__(self, rows: Rows, donors: Donors, generator: torch.Generator) -> None:
        chosen = _chosen(rows, donors.layout, self.rate, generator)
        numbers, codes = donors.layout.spread(chosen)
        _blank(rows.numbers, numbers)
        _blank(rows.codes, codes)


@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise to numbers; ``scale`` is in units of a column's standard deviation."""

    scale: float
    computes: ClassVar[bool] = True

    def __call__(self, rows: Rows, donors: Donors, generator: torch.Generator) -> None:
        noise = torch.randn(rows.numbers.shape, device=rows.numbers.device, generator=generator)
        rows.numbers.addcmul_(noise, donors.layout.noisy, value=self.scale)


@dataclass(frozen=True)
class Compose:
    """One corruption after the other; with none, the rows stay as they are."""

    parts: tuple[Corruption, ...]

    @property
    def computes(self) -> bool:
        return any(part.computes for part in self.parts)

    def __call__(self, rows: Rows, donors: Donors, generator: torch.Generator) -> None:
        for part in self.parts:
            part(rows, donors, generator)


@dataclass(frozen=True)
class Thin:
    """Leave out a share of the counts of every other row, drawn from 0 to ``most`` for each.

    Every single count is kept or left out on its own, so a count n becomes a binomial draw of n:
    what a shallower measurement of the same thing would have found. The result is brought to the
    target depth again. Which rows stay whole is drawn too: they are what will be embedded.

    Parameters
    ----------
    most : float
    mean, scale : Tensor, shape (p,)
        The rows' numbers are (log(1 + normalised count) - mean) / scale; their depths stand beside.
    target : float
        The depth that counts were normalised to.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Donors, Layout, Thin
    >>> counts, generator = torch.full((4, 3), 1000.0), torch.Generator().manual_seed(0)
    >>> rows = Rows(torch.log1p(counts), torch.zeros(4, 0).int(), torch.full((4,), 3000.0))
    >>> thin = Thin(0.9, torch.zeros(3), torch.ones(3), 3000.0)
    >>> thin(rows, Donors(rows, Layout.plain(3), 4, generator), generator)
    >>> (rows.depth < 3000).sum(), rows.numbers.expm1().sum(dim=1).round()
    (tensor(2), tensor([3000., 3000., 3000., 3000.]))
    """

    most: float
    mean: Tensor
    scale: Tensor
    target: float
    computes: ClassVar[bool] = True

    def __call__(self, rows: Rows, donors: Donors, generator: torch.Generator) -> None:  # noqa: ARG002
        assert rows.depth is not None
        device = rows.numbers.device
        order = torch.randperm(len(rows), device=device, generator=generator)
        chosen = order[: len(rows) // 2]
        kept = 1 - self.most * torch.rand(len(chosen), 1, device=device, generator=generator)
        depth = rows.depth[chosen].unsqueeze(1)
        counts = torch.addcmul(self.mean, rows.numbers[chosen], self.scale).expm1_()
        counts.mul_(depth / self.target).round_()
        elsewhere = (depth - counts.sum(dim=1, keepdim=True)) * kept  # in columns not kept
        counts = _thinned(counts, kept, generator)
        depth = counts.sum(dim=1, keepdim=True).add_(elsewhere).clamp_(min=1)
        counts.mul_(self.target / depth).log1p_()
        rows.numbers[chosen] = counts.sub_(self.mean).div_(self.scale)
        rows.depth[chosen] = depth.squeeze(1)


def _thinned(counts: Tensor, kept: Tensor, generator: torch.Generator) -> Tensor:
    """Binomial draws of counts (n, p) with a probability for each row (n, 1), to 1 in 65,536."""
    # Most counts are small: coins are thrown for the first ones of all entries at once, in a fifth
    # of the time of binomial draws; what is larger is drawn anew.
    below = (kept * 2**16 - 2**15).clamp_(max=2**15 - 1).to(torch.int16)  # 2^15 would be -2^15
    thinned = torch.zeros_like(counts)
    for number in range(1, COINS + 1):
        heads = _sixteen_bits(counts.shape, counts.device, generator) < below
        thinned += heads & (counts >= number)
    row, column = (counts > COINS).nonzero(as_tuple=True)
    thinned[row, column] = torch.binomial(counts[row, column], kept[row, 0], generator=generator)
    return thinned


def corruption(
    *,
    swap: float,
    mask: float,
    noise: float,
    block_share: float = 0.0,
    thin: Thin | None = None,
) -> Compose:
    """The corruptions whose strength is above 0, in the order thin, swap, mask, noise."""
    parts: list[Corruption] = []
    if thin is not None and thin.most > 0:
        parts.append(thin)
    if swap > 0:
        parts.append(Swap(swap, block_share))
    if mask > 0:
        parts.append(Mask(mask))
    if noise > 0:
        parts.append(Noise(noise))
    return Compose(tuple(parts))


class ViewMaker(Protocol):
    """Makes the views of batches of a table's rows; :class:`TwoViews` has the arguments."""

    def __call__(
        self,
        table: Rows,
        layout: Layout,
        corrupt: Corruption,
        batch_size: int,
        generator: torch.Generator,
        *,
        sides: str = "both",
        near: Partners | None = None,
        weights: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> Callable[[Tensor], Rows]: ...


class TwoViews:
    """Two views of batches of a table's rows, both corrupted or (``sides="one"``) the second only.

    Parameters
    ----------
    table : Rows
        All rows.
    layout : Layout
    corrupt : Corruption
    batch_size : int
        Rows of a batch, n.
    generator : torch.Generator
        The only source of randomness, on the table's device.
    sides : {"both", "one"}
    near : Partners, optional
        What the second views are made of in the rows' place.
    weights : Tensor, shape (rows of the table,), optional
        How often a row gives a value to others, in proportion.
    dtype : torch.dtype, optional
        What the network multiplies in. Views are made in it where that changes nothing, and in the
        table's own dtype where the corruption computes with values.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Layout, Mask, TwoViews
    >>> table = Rows(torch.ones(4, 2), torch.zeros(4, 0, dtype=torch.int32))
    >>> generator = torch.Generator().manual_seed(0)
    >>> views = TwoViews(table, Layout.plain(2), Mask(1.0), 3, generator, sides="one")
    >>> views(torch.tensor([2, 0, 3])).numbers[:, 0]
    tensor([1., 1., 1., 0., 0., 0.])
    """

    def __init__(
        self,
        table: Rows,
        layout: Layout,
        corrupt: Corruption,
        batch_size: int,
        generator: torch.Generator,
        *,
        sides: str = "both",
        near: Partners | None = None,
        weights: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        assert sides in ("both", "one")
        self._table, self._corrupt, self._generator = table, corrupt, generator
        self._near = near
        if corrupt.computes:
            dtype = None
        self._views = table.empty(2 * batch_size, dtype)
        self._first, self._second = self._views.halves()
        self._changed = self._views if sides == "both" else self._second
        self._donors = Donors(table, layout, len(self._changed), generator, weights, dtype)

    def __call__(self, positions: Tensor) -> Rows:
        """Views (2n, ...) of the rows at ``positions`` (n,): all first ones before all second ones.

        The result is overwritten by the next call.
        """
        first, second = self._first, self._second
        first.fill(self._table, positions)
        if self._near is None:
            second.copy(first)
        else:
            second.fill(self._table, self._near.draw(positions, self._generator))
        self._corrupt(self._changed, self._donors, self._generator)
        return self._views


def _exchange(rows: Tensor, others: Tensor, chosen: Tensor) -> None:
    """Overwrite the chosen entries of rows by those of others, all (n, m)."""
    if not rows.is_cpu:
        torch.where(chosen, others, rows, out=rows)
        return
    # On a CPU that would branch at every entry, and half of the guesses at a random branch are
    # wrong: by bits it takes a fifth of the time.
    whole = _whole(rows)
    bits = rows.view(whole)
    bits ^= (bits ^ others.view(whole)).bitwise_and_(chosen.to(whole).neg_())


def _blank(rows: Tensor, chosen: Tensor) -> None:
    """Overwrite the chosen entries of rows (n, m) by zero."""
    if not rows.is_cpu:
        rows.masked_fill_(chosen, 0)
        return
    whole = _whole(rows)
    rows.view(whole).bitwise_and_(chosen.to(whole).sub_(1))


def _whole(rows: Tensor) -> torch.dtype:
    """Whole numbers as wide as the entries of rows."""
    return {2: torch.int16, 4: torch.int32, 8: torch.int64}[rows.element_size()]


def _chosen(rows: Rows, layout: Layout, rate: float, generator: torch.Generator) -> Tensor:
    """Columns chosen (n, n_columns), each entry with probability ``rate``, to 1 in 65,536."""
    shape = (len(rows), layout.n_columns)
    highest = round(rate * 2**16) - 2**15 - 1  # of the signed numbers that are chosen
    if highest < -(2**15):
        return torch.zeros(shape, dtype=torch.bool, device=rows.numbers.device)
    return _sixteen_bits(shape, rows.numbers.device, generator) <= highest


def _blocks(n_rows: int, companions: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Columns chosen (n, n_columns), in each row a column and those that go with it most."""
    device, (n_seeds, n_columns) = companions.device, companions.shape
    seeds = torch.randint(n_seeds, (n_rows,), device=device, generator=generator)
    # So many columns that the share is kept on average: whole ones, more in some rows than others.
    wanted = torch.rand(n_rows, 1, device=device, generator=generator).add_(rate * n_columns)
    return companions[seeds] < wanted.floor_()


def _sixteen_bits(shape: Sequence[int], device: torch.device, generator: torch.Generator) -> Tensor:
    """Uniform whole numbers from -2^15 to 2^15 - 1."""
    count = math.prod(shape)
    # Four numbers of 16 bits from each draw of 64: half the time of drawing floats.
    draws = torch.empty(math.ceil(count / 4), dtype=torch.int64, device=device)
    draws.random_(-(2**63), None, generator=generator)
    return draws.view(torch.int16)[:count].view(*shape)
