"""Two tables of the same rows: rows of both, views across them, two encoders into one space."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vicreg.networks import JointEmbedding, Rows
from vicreg.views import TwoViews

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vicreg.networks import Encoder
    from vicreg.partners import Partners
    from vicreg.views import Corruption, Layout

__all__ = ["SECOND", "PairedEmbedding", "PairedRows", "PairedViews", "naming_second"]

#: What notes and errors on the second table of a pair begin with.
SECOND = "X_paired: "


@contextmanager
def naming_second() -> Iterator[None]:
    """Errors on the second table of a pair say that they are."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if type(error) not in (ValueError, TypeError):
            raise
        text = str(error).replace("PairedTable", "VICReg")  # scikit-learn has an owner's class
        raise type(error)(text if text.startswith(SECOND) else SECOND + text) from None


@dataclass(frozen=True)
class PairedRows(Rows):
    """Rows of one table, and beside them the same rows of a second one.

    Examples
    --------
    >>> import torch
    >>> from vicreg.networks import Rows
    >>> from vicreg.pairs import PairedRows
    >>> first = Rows(torch.zeros(5, 3), torch.zeros(5, 0).int())
    >>> rows = PairedRows.of(first, Rows(torch.ones(5, 2), torch.zeros(5, 0).int()))
    >>> part = rows.take(slice(1, 3))
    >>> part.numbers.shape, part.second.numbers.shape
    (torch.Size([2, 3]), torch.Size([2, 2]))
    """

    second: Rows = None  # type: ignore[assignment]  # fields before it have defaults

    @classmethod
    def of(cls, first: Rows, second: Rows) -> PairedRows:
        """From the rows of both tables, in the same order."""
        assert len(first) == len(second)
        return cls(first.numbers, first.codes, first.depth, second)

    @property
    def first(self) -> Rows:
        """The rows of the first table alone."""
        return Rows(self.numbers, self.codes, self.depth)

    def take(self, index: Tensor | slice) -> PairedRows:
        return PairedRows.of(self.first.take(index), self.second.take(index))

    def to(self, device: torch.device) -> PairedRows:
        return PairedRows.of(self.first.to(device), self.second.to(device))


class PairedViews:
    """Views of rows in both tables, each corrupted within its own.

    Parameters
    ----------
    table : PairedRows
        All rows.
    layout, corrupt
        Of the first table.
    batch_size, generator, sides, near, weights, dtype
        See :class:`vicreg.views.TwoViews`.
    second_layout, second_corrupt
        Of the second table.
    """

    def __init__(
        self,
        table: Rows,
        layout: Layout,
        corrupt: Corruption,
        batch_size: int,
        generator: torch.Generator,
        *,
        second_layout: Layout,
        second_corrupt: Corruption,
        sides: str = "both",
        near: Partners | None = None,
        weights: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        assert isinstance(table, PairedRows)
        self._views = [
            TwoViews(
                rows,
                own,
                corruption,
                batch_size,
                generator,
                sides=sides,
                near=near,
                weights=weights,
                dtype=dtype,
            )
            for rows, own, corruption in (
                (table.first, layout, corrupt),
                (table.second, second_layout, second_corrupt),
            )
        ]

    def __call__(self, positions: Tensor) -> PairedRows:
        """Two views (2n, ...) of the rows at ``positions`` (n,) in each of the tables."""
        first, second = (views(positions) for views in self._views)
        return PairedRows.of(first, second)


class PairedEmbedding(JointEmbedding):
    """An encoder for each of two tables, and one projector, which makes their space one.

    Shape
    -----
    - ``forward(views)``: of 2n rows in both tables, the projections ``(2n, d)`` of either table
    - ``learnt(rows)`` and ``embed(rows)``: ``(n, k)``, the mean of the two encoders' outputs
    """

    def __init__(self, encoders: tuple[Encoder, Encoder], projector: nn.Module) -> None:
        nn.Module.__init__(self)
        self.encoders = nn.ModuleList(encoders)
        self.projectors = nn.ModuleList([projector])

    def forward(self, views: Rows) -> tuple[Tensor, Tensor]:
        assert isinstance(views, PairedRows)
        outputs = [
            encoder(rows)
            for encoder, rows in zip(self.encoders, (views.first, views.second), strict=True)
        ]
        # In one pass, as with two views of one table: normalisation is over both tables' rows.
        z1, z2 = self.projectors[0](torch.cat(outputs)).chunk(2)
        return z1, z2

    def learnt(self, rows: Rows) -> Tensor:
        assert isinstance(rows, PairedRows)
        first, second = self._encoders
        mean: Tensor = (first(rows.first) + second(rows.second)) / 2
        return mean

    def embed(self, rows: Rows) -> Tensor:
        assert isinstance(rows, PairedRows)
        first, second = self._encoders
        return (first.embed(rows.first) + second.embed(rows.second)) / 2

    def side(self, place: int) -> JointEmbedding:
        """The network of one table alone, 0 or 1, with the same weights."""
        encoder = self.encoders[place]
        alone = JointEmbedding([encoder], [self.projectors[0]])  # type: ignore[list-item]
        return alone.eval()
