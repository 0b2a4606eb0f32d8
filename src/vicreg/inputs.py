"""A table as a report tells of it: a fingerprint, columns to look at, and what each one does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vicreg.columns import kind_of, numbers_of, parts_of, texts_of
from vicreg.inference import BLOCK, embed
from vicreg.networks import Rows
from vicreg.sources import column_names, dense, take_columns, take_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicreg.embedder import Embedder
    from vicreg.sources import Source

    Index = NDArray[np.intp]

__all__ = ["Importance", "ShownColumn", "column_importance", "fingerprint", "shown_column"]

#: Rows that a column is shuffled in, and columns beyond which nothing is measured.
MOST_ROWS = 200
MOST_COLUMNS = 5000
#: Rows times columns that are embedded, at the most; below 40 rows a column says nothing.
MOST_EMBEDDED = 60_000
FEWEST_ROWS = 40


@dataclass(frozen=True)
class Importance:
    """How far shuffling one column among the rows moves the embedding.

    ``moved`` is the mean squared way of a row, in units of the mean squared distance between two
    rows; ``error`` its standard error over rows.
    """

    name: str
    moved: float
    error: float


@dataclass(frozen=True)
class ShownColumn:
    """A column of the table for the page: numbers (rows,), or text with None for missing."""

    name: str
    values: NDArray[np.float64] | list[str | None]
    is_date: bool = False


def fingerprint(source: Source) -> dict[str, Any]:
    """Rows, columns and the SHA-256 of a table's content, the same for every form of the table.

    Names, kinds and values count; numbers as float64, text as UTF-8. A CSV file, a frame and
    another frame library's frame of the same content have one digest; an array's columns are named
    ``x0``, ``x1``, ....

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.inputs import fingerprint
    >>> one, other = np.eye(2), np.eye(2, dtype=np.float32)
    >>> fingerprint(one) == fingerprint(other)
    True
    """
    names = column_names(source)
    digest = hashlib.sha256()
    digest.update(json.dumps([source.shape[0], list(names)]).encode())
    for position, name in enumerate(names):
        kind = kind_of(source, position, name)
        digest.update(f"{kind}\n".encode())
        column = None if kind is None else shown_column(source, position)
        if column is None:
            continue
        if isinstance(column.values, list):
            digest.update(json.dumps(column.values).encode())
        else:
            values = column.values + 0.0  # one zero
            values[np.isnan(values)] = np.nan  # one NaN
            digest.update(values.astype("<f8").tobytes())
    return {"rows": source.shape[0], "columns": len(names), "sha256": digest.hexdigest()}


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
        return ShownColumn(name, texts_of(part, 0, name))
    if kind == "number":
        return ShownColumn(name, numbers_of(part, [0], [name], 0)[:, 0])
    values = next(iter(parts_of(part, 0, name, kind).values()))
    return ShownColumn(name, np.asarray(values, dtype=np.float64), is_date=kind == "datetime")


def column_importance(embedder: Embedder, rows: Rows, *, random_state: int = 0) -> list[Importance]:
    """How far each column moves the embedding, the farthest first.

    A column's values are shuffled among the rows, all else stays, and the rows are embedded again.
    Columns that say the same share what they do; a column can move rows without telling classes
    apart.

    Parameters
    ----------
    embedder : Embedder
    rows : Rows
        Encoded by the embedder's own table.
    random_state : int

    Returns
    -------
    list of Importance
        Empty for a table of more than 5,000 columns or fewer than two rows.

    Notes
    -----
    Source: the permutation of Breiman, "Random Forests", Machine Learning 45 (2001), section 10,
    with the embedding's move in place of a loss.
    """
    layout = embedder.table.layout
    n_columns = layout.n_columns
    if n_columns > MOST_COLUMNS or len(rows) < 2:
        return []
    count = min(MOST_ROWS, len(rows), max(FEWEST_ROWS, MOST_EMBEDDED // n_columns))
    random = np.random.default_rng(random_state)
    chosen = torch.from_numpy(random.permutation(len(rows))[:count])
    base = rows.take(chosen)
    device = next(embedder.network.parameters()).device
    at_rest = embed(embedder.network, base.to(device)).double()
    # Twice the variance is the mean squared distance between two rows drawn at random.
    between = 2 * float(at_rest.var(dim=0, unbiased=False).sum())
    moves = np.zeros((n_columns, count))
    together = max(1, BLOCK // count)
    for start in range(0, n_columns, together):
        columns = range(start, min(start + together, n_columns))
        shuffled = [_shuffled(base, layout.numbers, layout.codes, one, random) for one in columns]
        part = Rows(
            torch.cat([one.numbers for one in shuffled]), torch.cat([one.codes for one in shuffled])
        )
        moved = embed(embedder.network, part.to(device)).double().view(len(columns), count, -1)
        moves[start : start + len(columns)] = (moved - at_rest).square().sum(dim=2).cpu().numpy()
    moves /= between or 1.0
    errors = moves.std(axis=1) / np.sqrt(count)
    found = [
        Importance(column.name, float(move.mean()), float(error))
        for column, move, error in zip(embedder.table.columns, moves, errors, strict=True)
    ]
    return sorted(found, key=lambda one: -one.moved)


def _shuffled(
    rows: Rows,
    of_numbers: torch.Tensor,
    of_codes: torch.Tensor,
    column: int,
    random: np.random.Generator,
) -> Rows:
    order = torch.from_numpy(random.permutation(len(rows)))
    numbers, codes = rows.numbers.clone(), rows.codes.clone()
    own_numbers, own_codes = of_numbers == column, of_codes == column
    numbers[:, own_numbers] = rows.numbers[order][:, own_numbers]
    codes[:, own_codes] = rows.codes[order][:, own_codes]
    return Rows(numbers, codes)


def columns_at(source: Source, names: Sequence[str]) -> list[int]:
    """Positions of columns by name.

    Raises
    ------
    ValueError
        If the table has no such column.
    """
    known = column_names(source)
    for name in names:
        if name not in known:
            raise ValueError(f"show must name columns of the table, however: {name!r} is none")
    return [known.index(name) for name in names]
