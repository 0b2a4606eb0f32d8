"""Where a table comes from: an array, a data frame, a sparse matrix, an AnnData, or a file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import narwhals.stable.v2 as nw
import numpy as np
import scipy.sparse

from vicreg.frames import as_frame, check_shape, index_columns
from vicreg.table_file import read_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Block",
    "Source",
    "block_rows",
    "blocks",
    "column_names",
    "contents",
    "dense",
    "drop_columns",
    "is_annotated",
    "is_h5ad",
    "matrices",
    "read",
    "shuffle_columns",
    "take_columns",
    "take_rows",
    "unmasked",
    "with_layer",
]

#: Entries of a block that is worked on at a time. An array's fits the processor's cache (512 KiB as
#: float64); a frame's is larger (32 MiB), since each of its columns takes a call, but of no more
#: rows than make up for that call.
ARRAY_BLOCK = 2**16
FRAME_BLOCK = 2**22
MOST_ROWS = 2**14

#: A numeric or object array (rows, columns), or a frame.
Block: TypeAlias = "NDArray[Any] | nw.DataFrame[Any]"
#: What the rest of the package works on; of a sparse array every block is made dense on its own.
Source: TypeAlias = "Block | scipy.sparse.csr_array"


def read(data: object, fitted: Collection[str] = ()) -> Source:
    """Any accepted input as an array (rows, columns), a sparse array or a narwhals frame.

    Parameters
    ----------
    data
        A 2-D array or nested list, a pandas, polars or pyarrow frame, a scipy sparse matrix
        (read in blocks, never dense as a whole), an AnnData (its ``X``), or the path of a CSV file,
        compressed or not, a Parquet or an h5ad file. Masked entries of a masked array are missing.
        Of a PyArrow table or a Parquet file that pandas made, the index is left out.
    fitted : collection of str
        Names of columns that are not left out: what was a feature at the fit is one.

    Raises
    ------
    TypeError
        If the input is none of these.
    ValueError
        If it has no rows or no columns, has not two dimensions, repeats a column's name, or is
        complex.

    Examples
    --------
    >>> from vicreg.sources import read
    >>> read([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    data = contents(data)
    if is_annotated(data):
        data = _checked_annotated(data)
    if isinstance(data, nw.DataFrame):
        return _checked_frame(data, fitted)
    if scipy.sparse.issparse(data):
        return _checked_sparse(data)
    frame = as_frame(data)
    if isinstance(frame, nw.DataFrame):
        return _checked_frame(frame, fitted)
    if isinstance(frame, nw.LazyFrame):
        raise TypeError("the table must be in memory, however: a lazy frame; call .collect() first")
    try:
        array = np.asarray(unmasked(data))
    except ValueError as error:
        raise ValueError(f"the table's rows must have the same length: {error}") from None
    return _checked_array(array, data)


def unmasked(data: object) -> Any:
    """A masked array, or a list of them, as an array that marks what is missing in its own way.

    NaN and NaT in numbers and dates, None in objects, text and truth values; whole numbers become
    float64. What has no mask stays as it is.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.sources import unmasked
    >>> unmasked(np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]]))
    array([[ 1., nan],
           [ 3.,  4.]])
    """
    if isinstance(data, list | tuple) and any(
        isinstance(row, np.ma.MaskedArray) and row.ndim for row in data
    ):
        data = np.ma.asarray(data)
    if not isinstance(data, np.ma.MaskedArray):
        return data
    values = np.ma.getdata(data)
    if not np.ma.is_masked(data):
        return values
    kind = values.dtype.kind
    if kind in "fcmM":
        values = values.copy()
    else:
        # Truth values stay what they are: as floats they would be a column of numbers.
        values = values.astype(np.float64 if kind in "iu" else object)
    missing = {"m": np.timedelta64("NaT"), "M": np.datetime64("NaT"), "O": None}
    values[np.ma.getmaskarray(data)] = missing.get(values.dtype.kind, np.nan)
    return values


def contents(data: object, texts: Collection[str] = ()) -> Any:
    """What the file at a path holds; what is no path, as it is.

    ``texts`` are columns of a CSV file that are text, whatever the values look like.

    Raises
    ------
    ModuleNotFoundError
        If the file is an h5ad and anndata is not installed.
    """
    if not isinstance(data, str | Path):
        return data
    path = Path(data)
    if not is_h5ad(path) or not path.is_file():
        return read_file(path, texts)
    try:
        import anndata
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"anndata is needed to read {path.name}: pip install anndata"
        ) from None
    try:
        return anndata.read_h5ad(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{path} is not a readable h5ad file: {reason}") from None


def is_h5ad(path: Path) -> bool:
    """Whether a path says that it is an AnnData's."""
    return path.suffix.lower() == ".h5ad"


def is_annotated(data: object) -> bool:
    """Whether this is an AnnData, known by its name so that anndata need not be imported."""
    return type(data).__name__ == "AnnData" and hasattr(data, "var_names")


def with_layer(data: Any, name: str) -> Any:
    """An AnnData whose matrix is one of its layers: ``raw`` is that of ``.raw``, ``X`` its own.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name in data.layers:
        return type(data)(data.layers[name], obs=data.obs, var=data.var)
    if name == "raw" and data.raw is not None:
        return data.raw.to_adata()
    if name == "X" and data.X is not None:
        return data
    raise ValueError(f"no layer {name!r}; it has {', '.join(matrices(data)) or 'none'}")


def matrices(data: Any) -> list[str]:
    """Names of an AnnData's matrices."""
    own = ["X"] if data.X is not None else []
    return [*own, *(str(name) for name in data.layers), *(["raw"] if data.raw is not None else [])]


def column_names(source: Source) -> tuple[str, ...]:
    """The columns' names; ``x0``, ``x1``, ... for an array.

    Those of a pandas frame may be numbers or tuples: what is kept or shown of them is text.
    """
    if isinstance(source, nw.DataFrame):
        return tuple(source.columns)
    return _names_of_places(source.shape[1])


@lru_cache(maxsize=16)
def _names_of_places(count: int) -> tuple[str, ...]:
    return tuple(f"x{column}" for column in range(count))  # asked for every block of an array


def dense(source: Source) -> Block:
    """A sparse array as an array; what is none stays as it is."""
    return source.toarray() if isinstance(source, scipy.sparse.csr_array) else source


def take_rows(source: Source, index: NDArray[np.intp]) -> Source:
    """Some of the rows, in the order given."""
    return source[index, :] if isinstance(source, nw.DataFrame) else source[index]


def take_columns(source: Source, positions: Sequence[int]) -> Source:
    """Some of the columns, in the order given."""
    return source[:, list(positions)]


def blocks(
    source: Source, index: NDArray[np.intp] | None = None, *, least_rows: int = 1
) -> Iterator[tuple[int, Block]]:
    """Blocks of rows, with the place of the first among all: of the table, or of chosen rows.

    A sparse array's blocks are dense. See :func:`block_rows` for their size.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.sources import blocks
    >>> [(at, len(part)) for at, part in blocks(np.zeros((3, 2**15)))]
    [(0, 2), (2, 1)]
    """
    n_rows = source.shape[0] if index is None else len(index)
    step = block_rows(
        source.shape[1], frame=isinstance(source, nw.DataFrame), least_rows=least_rows
    )
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        part = source[start:stop] if index is None else take_rows(source, index[start:stop])
        yield start, dense(part)


def block_rows(n_columns: int, *, frame: bool, least_rows: int = 1) -> int:
    """Rows of a block, a multiple of ``least_rows``: as many as an array's or a frame's may have.

    Examples
    --------
    >>> from vicreg.sources import block_rows
    >>> block_rows(64, frame=False), block_rows(64, frame=True), block_rows(2**20, frame=False)
    (1024, 16384, 1)
    """
    entries = FRAME_BLOCK if frame else ARRAY_BLOCK
    most = min(entries // n_columns, MOST_ROWS)
    return max(1, most // least_rows) * least_rows


def shuffle_columns(source: Source, random: np.random.Generator) -> Block:
    """The table with every column in an order of its own: the marginals stay, all else is gone."""
    source = dense(source)
    if isinstance(source, np.ndarray):
        return random.permuted(source, axis=0)
    columns = [source[:, place] for place in range(source.shape[1])]
    return source.with_columns(
        *(column[random.permutation(len(column)).tolist()] for column in columns)
    )


def drop_columns(frame: nw.DataFrame[Any], names: Sequence[str]) -> nw.DataFrame[Any]:
    """A frame without the named columns; names that it lacks, or that come twice, do no harm."""
    # PyArrow would drop as many columns as there are names, the neighbour of one named twice too.
    return frame.drop([name for name in dict.fromkeys(names) if name in frame.columns])


def _checked_frame(frame: nw.DataFrame[Any], fitted: Collection[str]) -> nw.DataFrame[Any]:
    index = [name for name in index_columns(frame) if name not in fitted]
    n_rows, n_columns = frame.shape
    check_shape((n_rows, n_columns - len(index)))
    return drop_columns(frame, index) if index else frame


def _checked_annotated(data: Any) -> Any:
    """The matrix of an AnnData."""
    if data.isbacked:
        raise ValueError("an AnnData must be in memory, however: it is backed; call .to_memory()")
    if data.X is None:
        names = matrices(data)
        advice = f"; take a layer, adata.layers[NAME] or --layer NAME: {', '.join(names)}"
        raise ValueError(
            f"an AnnData must have its matrix in X, however: X is None{advice if names else ''}"
        )
    return data.X


def _checked_sparse(data: Any) -> scipy.sparse.csr_array:
    if data.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: the table's numbers must be real\n{data}")
    if data.ndim != 2:
        raise ValueError(f"a sparse table must have two dimensions, however: {data.ndim}")
    check_shape(data.shape)
    return scipy.sparse.csr_array(data)


def _checked_array(array: NDArray[Any], data: object) -> NDArray[Any]:
    if array.dtype.kind == "T":  # text of any length, which is new in NumPy
        array = array.astype(object)
    if array.dtype.kind == "V":
        raise TypeError(
            "the table must be an array of numbers or text, however: a structured array "
            f"({array.dtype}); give a frame, such as pandas.DataFrame(array)"
        )
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: the table's numbers must be real\n{array}")
    if array.ndim == 0:
        raise TypeError(
            "the table must be an array, a frame, a sparse matrix or a path, "
            f"however: {type(data).__name__}"
        )
    if array.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {array.ndim}D array instead. Reshape your data: a single "
            "column with array.reshape(-1, 1), a single row with array.reshape(1, -1)"
        )
    check_shape(array.shape)
    return array
