"""A table in a CSV file, compressed or not, or a Parquet file, read whole or block by block."""

from __future__ import annotations

import io
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicreg.frames import as_frame, check_shape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import narwhals.stable.v2 as nw

__all__ = ["TableFile", "is_csv", "read_file"]

TAB = "\t"
#: Endings of a CSV file's name, and what sets its fields apart where nothing else is said.
CSV = {".csv": ",", ".tsv": TAB, ".txt": TAB}
#: Endings after those, and what pyarrow calls the compression.
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}

#: Bytes that a Parquet file's columns are read at a time.
PARQUET_BUFFER = 2**16
#: Bytes that a CSV file is read at a time: pyarrow's own, and more for lines that are longer.
BLOCK_SIZES = (2**20, 2**24, 2**28, 2**31 - 1)
#: What a CSV file's field holds where a value is missing: pandas' marks, and the UCI tables' "?".
#: No "-" and no ".", which mean something in many columns.
MISSING = (
    *("", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "null", "NULL", "None"),
    *("#N/A", "#NA", "#N/A N/A", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    "?",
)
#: What fields of other files are set apart by.
DELIMITERS = (",", ";", TAB, "|")
#: What to do about another encoding.
AS_UTF_8 = "save the file as UTF-8 (for one in Latin-1: iconv -f latin1 -t utf-8)"


def is_csv(path: Path) -> bool:
    """Whether a path says that it is a CSV file's, compressed or not.

    Examples
    --------
    >>> from pathlib import Path
    >>> from vicreg.table_file import is_csv
    >>> is_csv(Path("t.tsv.gz")), is_csv(Path("t.parquet"))
    (True, False)
    """
    return _endings(path)[0] in CSV


def read_file(path: Path, texts: Collection[str] = ()) -> nw.DataFrame[Any]:
    """A CSV file, compressed or not, or a Parquet file, by its suffix, as a frame.

    ``texts`` are columns of a CSV file that are text, see :class:`TableFile`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix is neither, or the content is not what the suffix says.
    """
    return TableFile(path, texts=texts).read()


class TableFile:
    """A CSV or Parquet file, by its suffix, to be read whole or in blocks of rows.

    A CSV file may be compressed: ``.csv.gz``, ``.csv.bz2`` or ``.csv.zst``, and ``.tsv`` and
    ``.txt`` alike. It is read whole when it is opened: only its end tells its columns' types. Of a
    Parquet file no more than a block is in memory at a time.

    Parameters
    ----------
    path : Path
    exact : collection of str
        Columns of a CSV file that are text, every field as it stands there: names of rows, of which
        ``007`` is not ``7`` and ``NA`` is not missing; an empty one is. Names that the file lacks
        do no harm.
    texts : collection of str
        Columns of a CSV file that are text, but may have missing values.
    delimiter : str, optional
        The ASCII character that sets a CSV file's fields apart; by default a comma in ``.csv`` and
        a tab in ``.tsv`` and ``.txt``. Where it is ``;`` a column may have decimal commas: one that
        is text as it stands, and numbers, all of it, with commas for points.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix is neither, the content is not what the suffix says or its compression is
        damaged, or there are no rows or no columns, or two columns of one name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vicreg.table_file import TableFile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "t.csv"
    ...     _ = path.write_text("a,b\\n1,x\\n2,y\\n3,z\\n")
    ...     file = TableFile(path)
    ...     file.head.columns, file.n_rows, [len(block) for block in file.blocks(2)]
    (['a', 'b'], 3, [2, 1])
    """

    def __init__(
        self,
        path: Path,
        *,
        exact: Collection[str] = (),
        texts: Collection[str] = (),
        delimiter: str | None = None,
    ) -> None:
        if not path.exists():
            raise FileNotFoundError(f"no such file: {path}")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give a CSV, Parquet or h5ad file")
        self.path = path
        suffix, compression = _endings(path)
        if suffix in (".parquet", ".pq") and compression is None:
            self._kind = "Parquet"
        elif suffix in CSV:
            self._kind = "CSV"
            with self._readable(), _opened(path) as file:
                start = file.read(4096)
            _check_is_text(path, start)
        else:
            advice = "save it as one of these"
            if compression is not None:
                advice = "decompress it, as only .csv, .tsv and .txt are read compressed"
            raise ValueError(
                "a table's file must end in .csv, .tsv, .parquet or .h5ad, "
                f"however: {path.name}; {advice}"
            )
        with self._readable():
            if self._kind == "CSV":
                _check_delimiter(path, delimiter)
                self._content = _read_csv(
                    path,
                    delimiter or CSV[suffix],
                    exact=set(exact) - set(texts),
                    texts=texts,
                )
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
            #: The columns without their rows.
            self.head: nw.DataFrame[Any] = as_frame(head)
            check_shape((self.n_rows, self.head.shape[1]))

    def read(self) -> nw.DataFrame[Any]:
        """All rows."""
        with self._readable():
            content = self._content if self._kind == "CSV" else self._content.read()
            frame: nw.DataFrame[Any] = as_frame(content)
        return frame

    def blocks(self, n_rows: int) -> Iterator[nw.DataFrame[Any]]:
        """Frames of so many rows each, the last one of what is left."""
        import pyarrow as pa

        with self._readable():
            if self._kind == "CSV":
                for start in range(0, self.n_rows, n_rows):
                    yield as_frame(self._content.slice(start, n_rows))
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
                        yield as_frame(pa.Table.from_batches(parts))
                        parts, missing = [], n_rows
            if parts:
                yield as_frame(pa.Table.from_batches(parts))

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
            if self._kind == "CSV" and isinstance(error, OSError):  # of the decompression
                reason += "; copy it anew, or let its name say how it is compressed"
            raise ValueError(f"{self.path} is not a readable {self._kind} file: {reason}") from None
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.path}: column names must be UTF-8, however: {error}; {AS_UTF_8}"
            ) from None
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None


def _endings(path: Path) -> tuple[str, str | None]:
    """What the name says of the table, and of its compression."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    return (path if compression is None else Path(path.stem)).suffix.lower(), compression


def _opened(path: Path) -> Any:
    """A CSV file's bytes as a stream, decompressed."""
    import pyarrow as pa

    return pa.input_stream(path, compression=_endings(path)[1])


def _check_is_text(path: Path, start: bytes) -> None:
    if not start:
        raise ValueError(f"{path} is empty")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} must be UTF-8, however: it is UTF-16; save it as UTF-8")
    if b"\0" in start:
        raise ValueError(f"{path} is not a readable CSV file: it holds binary data")


def _check_delimiter(path: Path, given: str | None) -> None:
    """Refuse a file of a single column whose lines are all cut by another delimiter.

    It is not taken for the file's own: numbers beside a ``;`` may have decimal commas.
    """
    with _opened(path) as file, io.TextIOWrapper(file, "utf-8-sig", errors="replace") as lines:
        header, row = lines.readline(), lines.readline()
    suffix, compression = _endings(path)
    delimiter = given or CSV[suffix]
    if delimiter in header:
        return
    for other in DELIMITERS:
        if other in header and row.count(other) >= header.count(other):
            where = "as --delimiter says" if given else f"in a {suffix} file"
            advice = f"give --delimiter {'tab' if other == TAB else repr(other)}"
            if not given:
                end = {",": ".csv", TAB: ".tsv"}.get(other)
                other_way = "save it with commas, and points in decimal numbers"
                if end is not None:
                    other_way = f"let its name end in {end}{path.suffix if compression else ''}"
                advice = f"{other_way}, or {advice} on the command line"
            raise ValueError(
                f"fields must be set apart by {_called(delimiter)} {where}, however: its header "
                f"{header.strip()[:60]!r} has none, and seems to be set apart by {_called(other)}; "
                f"{advice}"
            )


def _called(delimiter: str) -> str:
    return "a tab" if delimiter == TAB else repr(delimiter)


def _read_csv(path: Path, delimiter: str, *, exact: Collection[str], texts: Collection[str]) -> Any:
    import pyarrow as pa
    import pyarrow.compute

    # A text's bytes, as in all columns that are no UTF-8: so these can be told of by name.
    types = dict.fromkeys([*exact, *texts], pa.binary())
    table = _parsed(path, delimiter, column_types=types)
    as_frame(table[:0])  # below, columns are found by their names
    if delimiter == ";":  # spreadsheets write it where decimal numbers have commas
        names = [field.name for field in table.schema if pa.types.is_string(field.type)]
        if names:
            anew = _parsed(path, delimiter, decimal_point=",", include_columns=names)
            for place, name in enumerate(table.column_names):
                if name in names:
                    table = table.set_column(place, name, anew.column(name))
    for place, field in enumerate(table.schema):
        if pa.types.is_binary(field.type):
            field = field.with_type(pa.string())
            table = table.set_column(place, field, _decoded(table.column(place), field.name))
        if not pa.types.is_string(field.type):
            continue
        missing = pa.array([""] if field.name in exact else MISSING)
        is_missing = pyarrow.compute.is_in(table.column(place), missing)
        if pyarrow.compute.any(is_missing).as_py():
            present = pyarrow.compute.if_else(is_missing, None, table.column(place))
            table = table.set_column(place, field, present)
    return table


def _parsed(path: Path, delimiter: str, **conversion: Any) -> Any:
    import pyarrow as pa

    for size in BLOCK_SIZES:
        try:
            return _parsed_in_blocks(path, delimiter, size, conversion)
        except pa.ArrowInvalid as error:
            # What pyarrow says of a line, the header among them, that does not end in a block.
            if not any(words in str(error) for words in ("straddling object", "Empty CSV file")):
                raise
            failure = error
    if "Empty CSV file" in str(failure):  # a header without an end
        check_shape((0, 1))
    raise failure


def _parsed_in_blocks(path: Path, delimiter: str, size: int, conversion: dict[str, Any]) -> Any:
    import pyarrow.csv

    with _opened(path) as file:
        return pyarrow.csv.read_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(block_size=size),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                # Texts can be null in all columns or in none: they become so later, by their kind.
                strings_can_be_null=False,
                null_values=list(MISSING),
                **conversion,
            ),
        )


def _decoded(column: Any, name: str) -> Any:
    """A column of bytes as text."""
    import pyarrow as pa

    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        for row, value in enumerate(column.to_pylist()):
            try:
                value.decode()
            except UnicodeDecodeError:
                raise ValueError(
                    f"text must be UTF-8, however: column {name!r} holds {value[:40]!r} in row "
                    f"{row}; {AS_UTF_8}"
                ) from None
        raise
