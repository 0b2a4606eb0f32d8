"""Views: randomly corrupted copies of rows.

A corruption acts on whole columns of the table: a category is swapped whole, and a number goes
together with the flag that says it was missing, or with the other parts of the same date.

Source of the marginal swap: Bahri, Jiang, Tay, Metzler, "SCARF: Self-Supervised Contrastive
Learning using Random Feature Corruption", ICLR 2022, arXiv 2106.15147, algorithm 1.
NOTE[DIFF] SCARF draws a fixed number of columns per row and a replacement that may be the row's
own value; here every entry is drawn on its own, and always from another row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from vicreg.networks import Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Compose",
    "Corruption",
    "Layout",
    "Mask",
    "Noise",
    "Sample",
    "Swap",
    "corruption",
    "two_views",
]


class Layout(NamedTuple):
    """Which column of the table each encoded number and code belongs to.

    ``numbers`` (p,) and ``codes`` (q,) hold positions in 0 ... ``n_columns`` - 1; ``noisy`` (p,)
    is 1 where Gaussian noise makes sense and 0 for flags.
    """

    n_columns: int
    numbers: Tensor
    codes: Tensor
    noisy: Tensor

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
            self.n_columns, self.numbers.to(device), self.codes.to(device), self.noisy.to(device)
        )

    def spread(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """A mask over columns (n, n_columns) as masks over numbers (n, p) and codes (n, q)."""
        return chosen[:, self.numbers], chosen[:, self.codes]


class Sample(NamedTuple):
    """Rows of a table that are about to be corrupted.

    ``table`` holds all rows that values may be drawn from, ``positions`` (n,) where the
    batch's rows are in it.
    """

    table: Rows
    positions: Tensor
    layout: Layout


class Corruption(Protocol):
    """Takes the rows as they are now and the sample they come from; returns new rows."""

    def __call__(self, rows: Rows, sample: Sample, generator: torch.Generator) -> Rows: ...


@dataclass(frozen=True)
class Swap:
    """Replace a share of the entries by the same column's value in another row.

    The replacement is drawn evenly from all other rows, so a column keeps its marginal.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Rows
    >>> from vicreg.views import Layout, Sample, Swap
    >>> table = Rows(torch.arange(8.0).view(4, 2), torch.zeros(4, 0, dtype=torch.int32))
    >>> sample = Sample(table, torch.arange(4), Layout.plain(2))
    >>> swapped = Swap(1.0)(table, sample, torch.Generator().manual_seed(0))
    >>> bool((swapped.numbers == table.numbers).any())
    False
    """

    rate: float

    def __call__(self, rows: Rows, sample: Sample, generator: torch.Generator) -> Rows:
        table, positions, layout = sample
        n_table = len(table)
        if n_table < 2:
            return rows
        shape = (len(positions), layout.n_columns)
        chosen = _draw(shape, self.rate, positions.device, generator)
        # 1 ... n - 1 rows further on, around the end: every other row, and never the row itself.
        donors = torch.randint(1, n_table, shape, device=positions.device, generator=generator)
        donors = (donors + positions.unsqueeze(1)) % n_table
        number_chosen, code_chosen = layout.spread(chosen)
        number_donors, code_donors = layout.spread(donors)
        return Rows(
            torch.where(number_chosen, table.numbers.gather(0, number_donors), rows.numbers),
            torch.where(code_chosen, table.codes.gather(0, code_donors), rows.codes),
        )


@dataclass(frozen=True)
class Mask:
    """Replace a share of the entries by the column's mean, or by the unknown category (code 0).

    Numbers are standardised, so the mean is 0.
    """

    rate: float

    def __call__(self, rows: Rows, sample: Sample, generator: torch.Generator) -> Rows:
        shape = (len(rows), sample.layout.n_columns)
        chosen = _draw(shape, self.rate, rows.numbers.device, generator)
        numbers, codes = sample.layout.spread(chosen)
        return Rows(rows.numbers.masked_fill(numbers, 0), rows.codes.masked_fill(codes, 0))


@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise to numbers; ``scale`` is in units of a column's standard deviation."""

    scale: float

    def __call__(self, rows: Rows, sample: Sample, generator: torch.Generator) -> Rows:
        noise = torch.randn(
            rows.numbers.shape, device=rows.numbers.device, generator=generator
        ).mul_(self.scale)
        return Rows(rows.numbers + noise * sample.layout.noisy, rows.codes)


@dataclass(frozen=True)
class Compose:
    """One corruption after the other; with none, the rows as they are."""

    parts: tuple[Corruption, ...]

    def __call__(self, rows: Rows, sample: Sample, generator: torch.Generator) -> Rows:
        for part in self.parts:
            rows = part(rows, sample, generator)
        return rows


def corruption(*, swap: float, mask: float, noise: float) -> Compose:
    """The corruptions whose strength is above 0, in the order swap, mask, noise."""
    strengths: Sequence[tuple[float, type[Swap] | type[Mask] | type[Noise]]] = (
        (swap, Swap),
        (mask, Mask),
        (noise, Noise),
    )
    return Compose(tuple(kind(strength) for strength, kind in strengths if strength > 0))


def two_views(
    sample: Sample, corrupt: Corruption, generator: torch.Generator, *, sides: str = "both"
) -> tuple[Rows, Rows]:
    """Two views of a sample's rows, both corrupted or (``sides="one"``) only the second."""
    rows = sample.table.take(sample.positions)
    first = corrupt(rows, sample, generator) if sides == "both" else rows
    return first, corrupt(rows, sample, generator)


def _draw(
    shape: tuple[int, int], rate: float, device: torch.device, generator: torch.Generator
) -> Tensor:
    return torch.rand(shape, device=device, generator=generator) < rate
