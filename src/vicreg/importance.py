"""How far each column of a table moves its embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from vicreg.inference import BLOCK, embed
from vicreg.networks import Rows

if TYPE_CHECKING:
    from vicreg.embedder import Embedder

__all__ = ["Importance", "column_importance"]

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
    network, _ = embedder.side()
    device = next(network.parameters()).device
    at_rest = embed(network, base.to(device)).double()
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
        moved = embed(network, part.to(device)).double().view(len(columns), count, -1)
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
