"""Where a table comes from: an array, a data frame, a sparse matrix, an AnnData, or a file."""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import narwhals.stable.v2 as nw
import numpy as np
import scipy.sparse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Block",
    "Source",
    "TableFile",
    "blocks",
    "column_names",
    "contents",
    "dense",
    "drop_columns",
    "is_annotated",
    "read",
    "read_file",
    "shuffle_columns",
    "take_columns",
    "take_rows",
]

#: Entries of a block that is worked on at a time. An array's fits the processor's cache (512 KiB as
#: float64); a frame's is larger (64 MiB), since each of its columns takes a call.
ARRAY_BLOCK = 2**16
FRAME_BLOCK = 2**23
#: Bytes that a Parquet file's columns are read at a time.
PARQUET_BUFFER = 2**16

#: A numeric or object array (rows, columns), or a frame.
Block: TypeAlias = "NDArray[Any] | nw.DataFrame[Any]"
#: What the rest of the package works on; of a sparse array every block is made dense on its own.
Source: TypeAlias = "Block | scipy.sparse.csr_array"


def read(data: object) -> Source:
    """Any accepted input as an array (rows, columns), a sparse array or a narwhals frame.

    Parameters
    ----------
    data
        A 2-D array or nested list, a pandas, polars or pyarrow frame, a scipy sparse matrix
        (read in blocks, never dense as a whole), an AnnData (its ``X``), or the path of a CSV,
        Parquet or h5ad file.

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
        return _checked_frame(data)
    if scipy.sparse.issparse(data):
        return _checked_sparse(data)
    frame = _as_frame(data)
    if isinstance(frame, nw.DataFrame):
        return _checked_frame(frame)
    if isinstance(frame, nw.LazyFrame):
        raise TypeError("the table must be in memory, however: a lazy frame; call .collect() first")
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"the table's rows must have the same length: {error}") from None
    return _checked_array(array, data)


def contents(data: object) -> Any:
    """What the file at a path holds; what is no path, as it is.

    Raises
    ------
    ModuleNotFoundError
        If the file is an h5ad and anndata is not installed.
    """
    if not isinstance(data, str | Path):
        return data
    path = Path(data)
    if path.suffix.lower() != ".h5ad" or not path.is_file():
        return read_file(path)
    try:
        import anndata
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"anndata is needed to read {path.name}: pip install 'vicreg[omics]'"
        ) from None
    try:
        return anndata.read_h5ad(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{path} is not a readable h5ad file: {reason}") from None


def is_annotated(data: object) -> bool:
    """Whether this is an AnnData, known by its name so that anndata need not be imported."""
    return type(data).__name__ == "AnnData" and hasattr(data, "var_names")


def read_file(path: Path) -> nw.DataFrame[Any]:
    """A CSV or Parquet file, by its suffix, as a frame.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix is neither, or the content is not what the suffix says.
    """
    return TableFile(path).read()


class TableFile:
    """A CSV or Parquet file, by its suffix, to be read whole or in blocks of rows.

    Of a Parquet file no more than a block is in memory at a time. A CSV file is read whole when it
    is opened: only its end tells its columns' types.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix is neither, the content is not what the suffix says, or there are no rows or
        no columns, or two columns of one name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vicreg.sources import TableFile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "t.csv"
    ...     _ = path.write_text("a,b\\n1,x\\n2,y\\n3,z\\n")
    ...     file = TableFile(path)
    ...     file.columns, file.n_rows, [len(block) for block in file.blocks(2)]
    (['a', 'b'], 3, [2, 1])
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f"no such file: {path}")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give a CSV or Parquet file")
        self.path = path
        suffix = path.suffix.lower()
        if suffix in (".parquet", ".pq"):
            self._kind = "Parquet"
        elif suffix in (".csv", ".tsv", ".txt"):
            self._kind = "CSV"
            _check_is_text(path)
        else:
            raise ValueError(
                f"a table's file must end in .csv, .tsv or .parquet, however: {path.name}"
            )
        with self._readable():
            if self._kind == "CSV":
                self._content = _read_csv(path, "," if suffix == ".csv" else "\t")
                self.n_rows, head = self._content.num_rows, self._content[:0]
            else:
                import pyarrow.parquet

                # Its own read-ahead keeps every row group that it has read, and without a buffer it
                # reads a column of a row group at once.
                self._content = pyarrow.parquet.ParquetFile(
                    path, pre_buffer=False, buffer_size=PARQUET_BUFFER
                )
                self.n_rows = self._content.metadata.num_rows
                head = self._content.schema_arrow.empty_table()
            self.columns: list[str] = _as_frame(head).columns
            _check_shape((self.n_rows, len(self.columns)))

    def read(self) -> nw.DataFrame[Any]:
        """All rows."""
        with self._readable():
            content = self._content if self._kind == "CSV" else self._content.read()
            frame: nw.DataFrame[Any] = _as_frame(content)
        return frame

    def blocks(self, n_rows: int) -> Iterator[nw.DataFrame[Any]]:
        """Frames of so many rows each, the last one of what is left."""
        import pyarrow as pa

        with self._readable():
            if self._kind == "CSV":
                for start in range(0, self.n_rows, n_rows):
                    yield _as_frame(self._content.slice(start, n_rows))
                return
            parts: list[Any] = []
            missing = n_rows
            # A batch ends where a row group does.
            for batch in self._content.iter_batches(n_rows):
                while len(batch):
                    parts.append(batch.slice(0, missing))
                    missing -= len(parts[-1])
                    batch = batch.slice(len(parts[-1]))
                    if not missing:
                        yield _as_frame(pa.Table.from_batches(parts))
                        parts, missing = [], n_rows
            if parts:
                yield _as_frame(pa.Table.from_batches(parts))

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Errors that name the file."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # not what the file holds, and it names the file
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"{self.path} is not a readable {self._kind} file: {reason}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: column names must be UTF-8, however: {error}") from None
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None


def column_names(source: Source) -> tuple[str, ...]:
    """The columns' names; ``x0``, ``x1``, ... for an array."""
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

    A block of an array is small enough for the processor's cache, a frame's is 128 times as large.
    All but the last have a multiple of ``least_rows`` rows. A sparse array's blocks are dense.

    Examples
    --------
    >>> import numpy as np
    >>> from vicreg.sources import blocks
    >>> [(at, len(part)) for at, part in blocks(np.zeros((3, 2**15)))]
    [(0, 2), (2, 1)]
    """
    n_rows = source.shape[0] if index is None else len(index)
    entries = FRAME_BLOCK if isinstance(source, nw.DataFrame) else ARRAY_BLOCK
    step = max(1, entries // (source.shape[1] * least_rows)) * least_rows
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        part = source[start:stop] if index is None else take_rows(source, index[start:stop])
        yield start, dense(part)


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


def _check_is_text(path: Path) -> None:
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    with path.open("rb") as file:
        if b"\0" in file.read(4096):
            raise ValueError(f"{path} is not a readable CSV file: it holds binary data")


def _read_csv(path: Path, delimiter: str) -> Any:
    import pyarrow.csv

    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            strings_can_be_null=True,
            null_values=["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A", "?"],
        ),
    )


def _as_frame(data: Any) -> Any:
    """A narwhals frame if the data is one of the frames it knows, and else the data."""
    names = [str(name) for name in _names_of(data)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"column names must be unique, however: {_listed(repeated)} more than once; "
            "rename or drop the copies"
        )
    return nw.from_native(data, pass_through=True)


def _names_of(data: Any) -> Sequence[object]:
    if hasattr(data, "collect"):  # a lazy frame would have to work its names out
        return []
    names = getattr(data, "column_names", None)  # pyarrow
    if names is None and hasattr(data, "iloc"):
        names = data.columns  # pandas; polars repeats no name
    return [] if names is None or callable(names) else list(names)


def _checked_frame(frame: nw.DataFrame[Any]) -> nw.DataFrame[Any]:
    _check_shape(frame.shape)
    return frame


def _checked_annotated(data: Any) -> Any:
    """The matrix of an AnnData."""
    if data.isbacked:
        raise ValueError("an AnnData must be in memory, however: it is backed; call .to_memory()")
    if data.X is None:
        raise ValueError("an AnnData must have its matrix in X, however: X is None")
    return data.X


def _checked_sparse(data: Any) -> scipy.sparse.csr_array:
    if data.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: the table's numbers must be real\n{data}")
    if data.ndim != 2:
        raise ValueError(f"a sparse table must have two dimensions, however: {data.ndim}")
    _check_shape(data.shape)
    return scipy.sparse.csr_array(data)


def _checked_array(array: NDArray[Any], data: object) -> NDArray[Any]:
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
    _check_shape(array.shape)
    return array


def _check_shape(shape: tuple[int, ...]) -> None:
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


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
