"""Columns of a table for people to look at: values as they came, of chosen rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vicreg.columns import kind_of, numbers_of, parts_of, texts_of
from vicreg.sources import column_names, dense, take_columns, take_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicreg.sources import Source

    Index = NDArray[np.intp]

__all__ = ["ShownColumn", "columns_at", "shown_column"]


@dataclass(frozen=True)
class ShownColumn:
    """A column of the table for the page: numbers (rows,), or text with None for missing.

    Truth values are text: two classes. ``unit`` is that of numbers, if it is known.
    """

    name: str
    values: NDArray[np.float64] | list[str | None]
    is_date: bool = False
    unit: str = ""

    def with_unit(self) -> ShownColumn:
        """The same with its unit behind its name."""
        return replace(self, name=f"{self.name} ({self.unit})", unit="") if self.unit else self


def shown_column(source: Source, position: int, index: Index | None = None) -> ShownColumn | None:
    """A column's values as they came, of all or of chosen rows; None if it holds nothing."""
    name = column_names(source)[position]
    kind = kind_of(source, position, name)
    if kind is None:
        return None
    # The column alone: a sparse table must not be dense as a whole.
    alone = take_columns(source, [position])
    part = dense(alone if index is None else take_rows(alone, index))
    if kind == "category":
        return ShownColumn(str(name), texts_of(part, 0, name))
    if kind == "number":
        return ShownColumn(str(name), numbers_of(part, [0], [name], 0)[:, 0])
    values = np.asarray(next(iter(parts_of(part, 0, name, kind).values())), dtype=np.float64)
    if kind == "boolean":
        return ShownColumn(str(name), [None if np.isnan(one) else str(one > 0) for one in values])
    return ShownColumn(
        str(name), values, is_date=kind == "datetime", unit="s" if kind == "duration" else ""
    )


def columns_at(known: Sequence[str], names: Sequence[str]) -> list[int]:
    """Positions of columns by name, among all names of a table.

    Raises
    ------
    ValueError
        If the table has no such column.
    """
    for name in names:
        if name not in known:
            raise ValueError(f"show must name columns of the table, however: {name!r} is none")
    return [known.index(name) for name in names]
