"""What tells one table from another: a digest of its content, whatever form it came in."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from vicreg.columns import kind_of, numbers_of, parts_of, texts_of
from vicreg.sources import blocks, column_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vicreg.columns import Kind
    from vicreg.sources import Block, Source

__all__ = ["fingerprint"]

#: Rows that are put in order for the digest at a time.
CHUNK = 1024


def fingerprint(source: Source) -> dict[str, Any]:
    """Rows, columns and the SHA-256 of a table's content, the same for every form of the table.

    Names, kinds and values count, and the order of rows and columns; numbers as float64, text as
    UTF-8. A CSV file, a Parquet file and the frames of several libraries have one digest if their
    content is the same; so have a sparse and a dense array, whose columns are named ``x0``,
    ``x1``, .... A column without a value is of no kind: a CSV file cannot say which it had.

    The table is read once, in blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.fingerprint import fingerprint
    >>> one, other = np.eye(2), np.eye(2, dtype=np.float32)
    >>> fingerprint(one) == fingerprint(other)
    True
    """
    names = column_names(source)
    kinds = [kind_of(source, position, name) for position, name in enumerate(names)]
    numbers = hashlib.sha256()
    texts = {at: hashlib.sha256() for at, kind in enumerate(kinds) if kind == "category"}
    has_values = np.zeros(len(names), dtype=bool)
    for _, part in blocks(source):
        values = _numbers(part, names, kinds)
        has_values |= ~np.isnan(values).all(axis=0)
        for start in range(0, len(values), CHUNK):  # in the order of rows, without a second block
            numbers.update(np.ascontiguousarray(values[start : start + CHUNK], "<f8").data)
        for position, digest in texts.items():
            column = texts_of(part, position, names[position])
            has_values[position] |= any(text is not None for text in column)
            # One list, however the rows are cut into blocks.
            digest.update(f"{json.dumps(column, separators=(',', ':'))[1:-1]},".encode())
    found = [kind if there else None for kind, there in zip(kinds, has_values, strict=True)]
    of_texts = [digest.hexdigest() for at, digest in texts.items() if has_values[at]]
    told = [source.shape[0], [str(name) for name in names], found, numbers.hexdigest(), of_texts]
    return {
        "rows": source.shape[0],
        "columns": len(names),
        "sha256": hashlib.sha256(json.dumps(told).encode()).hexdigest(),
    }


def _numbers(
    part: Block, names: Sequence[str], kinds: Sequence[Kind | None]
) -> NDArray[np.float64]:
    """All columns (rows, columns), NaN where there is no number; one zero and one NaN."""
    plain = [at for at, kind in enumerate(kinds) if kind in ("number", "boolean")]
    values = numbers_of(part, plain, names, 0, refuse_infinite=False)
    if len(plain) < len(names):
        some, values = values, np.full((part.shape[0], len(names)), np.nan)
        values[:, plain] = some
    for at, kind in enumerate(kinds):
        if kind in ("datetime", "duration"):
            first, *_ = parts_of(part, at, names[at], kind).values()  # of a date, the time
            values[:, at] = first
    values += 0.0
    missing = np.isnan(values)
    if missing.any():
        values[missing] = np.nan
    return values
