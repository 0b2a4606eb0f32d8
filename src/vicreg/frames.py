"""Data frames of any kind as narwhals frames, and what a table must be."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_frame", "check_shape", "index_columns", "listed"]


def as_frame(data: Any) -> Any:
    """A narwhals frame if the data is one of the frames it knows, and else the data."""
    names = _names_of(data)
    if any(name != name for name in names):  # NaN, by which nothing is found
        raise ValueError("columns must have names, however: the name of one is nan; rename it")
    times = Counter(str(name) for name in names)
    repeated = sorted(name for name, count in times.items() if count > 1)
    if repeated:
        raise ValueError(
            f"column names must be unique, however: {listed(repeated)} more than once; "
            "rename or drop the copies"
        )
    if type(data).__name__ == "RecordBatch" and hasattr(data, "__arrow_c_array__"):
        # PyArrow's, which narwhals does not know. Its table is of the same memory.
        return nw.from_arrow(data, backend="pyarrow")
    return nw.from_native(_without_sparse(data), pass_through=True)


def index_columns(frame: nw.DataFrame[Any]) -> list[str]:
    """Columns of a PyArrow table, or of a Parquet file, that were the index of a pandas frame.

    They name rows, and are no columns of that frame.

    Examples
    --------
    >>> import pandas as pd
    >>> import pyarrow as pa
    >>> from vicreg.frames import as_frame, index_columns
    >>> frame = pd.DataFrame({"size": [1.0, 2.0]}, index=pd.Index(["a", "b"], name="sample"))
    >>> index_columns(as_frame(pa.Table.from_pandas(frame)))
    ['sample']
    """
    native = frame.to_native()
    if type(native).__module__.split(".")[0] != "pyarrow":
        return []
    try:
        told = native.schema.pandas_metadata
        names = told["index_columns"] if told else []
    except (ValueError, KeyError, TypeError):  # what another writer calls pandas' metadata
        return []
    # An index that only counts is not written: a mapping says how.
    return [name for name in names if isinstance(name, str) and name in frame.columns]


def _without_sparse(data: Any) -> Any:
    """A pandas frame whose sparse columns, which narwhals does not know, are dense."""
    if not _is_pandas(data):
        return data
    subtypes = {
        name: dtype.subtype
        for name, dtype in zip(data.columns, data.dtypes, strict=True)
        if type(dtype).__name__ == "SparseDtype"
    }
    return data.astype(subtypes) if subtypes else data


def _names_of(data: Any) -> Sequence[object]:
    if hasattr(data, "collect"):  # a lazy frame would have to work its names out
        return []
    names = getattr(data, "column_names", None)  # pyarrow
    if names is None and _is_pandas(data):
        names = data.columns  # polars repeats no name
    return [] if names is None or callable(names) else list(names)


def _is_pandas(data: Any) -> bool:
    """Whether this is a frame of pandas or of its kin; a Series is none."""
    return hasattr(data, "iloc") and getattr(data, "ndim", 0) == 2


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse a table without rows or without columns.

    Raises
    ------
    ValueError
        If one of the two is 0.
    """
    rows, columns = shape
    if rows == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={rows, columns}): a table needs at least one row"
        )
    if columns == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={rows, columns}) while a minimum of 1 is "
            "required: a table needs at least one column"
        )


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
