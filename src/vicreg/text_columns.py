"""Columns of text: how often each text occurs, and what that makes of the column."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from vicreg.columns import NUMBER, Column, texts_of
from vicreg.sources import blocks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vicreg.sources import Source

__all__ = ["category_of", "count", "nearly_numbers", "on_odd_text"]

#: Share of a text column's values that are numbers from which a note asks whether all should be.
NEARLY_ALL = 0.9


def count(
    counts: dict[str | None, float],
    texts: list[str | None],
    weights: NDArray[np.float64] | None,
) -> None:
    """Add how often the texts occur, or what the rows weigh in which they do."""
    if weights is None:
        for text, count in Counter(texts).items():
            counts[text] = counts.get(text, 0) + count
        return
    for text, weight in zip(texts, weights.tolist(), strict=True):
        counts[text] = counts.get(text, 0.0) + weight


def category_of(counts: dict[str | None, float], position: int, name: str) -> Column | str:
    """The column that texts of these counts make, or the reason to drop it."""
    if set(counts) == {None}:
        return "empty"
    if len(counts) == 1:
        return "constant"
    enough = max(2, min(10, sum(counts.values()) // 100))
    kept = [text for text, count in counts.items() if count >= enough]
    if not kept:
        return "identifier-like"
    # By frequency, then by name: the same rows in another order give the same codes.
    kept.sort(key=lambda text: (-counts[text], text is None, text or ""))
    return Column(name, position, "category", categories=tuple(kept))


def nearly_numbers(counts: dict[str | None, float]) -> bool:
    """Whether nearly all of a column's texts are numbers, and some are none.

    Examples
    --------
    >>> from vicreg.text_columns import nearly_numbers
    >>> [nearly_numbers({"1.5": count, None: 7, "-": 1}) for count in (8, 9)]
    [False, True]
    """
    present = sum(count for text, count in counts.items() if text is not None)
    odd = 0.0
    for text, count in counts.items():
        if text is not None and NUMBER.fullmatch(text) is None:
            odd += count
            if present - odd < NEARLY_ALL * present:
                return False  # most text columns are done with after a few values
    return odd > 0


def on_odd_text(source: Source, position: int, name: str) -> str:
    """A note on the first text of a column that is no number."""
    row, text = next(
        (row, text)
        for at, part in blocks(source)
        for row, text in enumerate(texts_of(part, position, name), at)
        if text is not None and NUMBER.fullmatch(text) is None
    )
    return (
        f"column {name!r} is text because of {text!r} in row {row}, though nearly all of its "
        "values are numbers; if it stands for a missing value, leave the field empty"
    )
