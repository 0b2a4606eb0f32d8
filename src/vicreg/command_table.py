"""The command line's tables: features, and columns that are set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vicreg.frames import as_frame, check_shape, index_columns
from vicreg.header import ignored, places_of
from vicreg.sources import contents, drop_columns, is_annotated, is_h5ad, with_layer
from vicreg.table_file import TableFile, is_csv

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import narwhals.stable.v2 as nw

    from vicreg.estimator import VICReg

__all__ = ["LAYER", "CommandFile", "CommandTable", "checked_delimiter"]

#: What the cells' names are called where an h5ad file has no name for them.
CELLS = "obs_names"
#: What pandas calls an index without a name where it writes one.
NAMELESS = "__index_level_"
#: Beside the columns that a model's fit has set aside: the layer of an h5ad file that it was of.
LAYER = "layer"
#: What is set aside for no use: a list of columns, or of genes.
DROP = "drop"


def checked_delimiter(given: str | None, *paths: Path | None) -> str | None:
    """What sets the fields of CSV files apart, if that is said.

    Parameters
    ----------
    given : str or None
        A printable ASCII character, or the word ``tab``.
    paths : Path or None
        The files of a command, of which one at least must be a CSV file.

    Raises
    ------
    ValueError
        If it is neither, or none of the files is a CSV file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from vicreg.command_table import checked_delimiter
    >>> checked_delimiter("tab", Path("t.csv.gz")), checked_delimiter(None, Path("t.parquet"))
    ('\\t', None)
    """
    if given is None:
        return None
    there = [path for path in paths if path is not None]
    if not any(is_csv(path) for path in there):
        names = " and ".join(path.name for path in there)
        raise ValueError(
            f"--delimiter is for CSV files (.csv, .tsv, .txt), however: {names}; leave it out"
        )
    delimiter = "\t" if given.lower() == "tab" else given
    # A quote cannot set fields apart, nor can what no line holds.
    if (
        len(delimiter) != 1
        or delimiter == '"'
        or not (delimiter == "\t" or " " <= delimiter <= "~")
    ):
        raise ValueError(
            "--delimiter must be one character of ASCII other than a quote, or the word tab, "
            f"however: {given!r}; give ';' or '|', say"
        )
    return delimiter


class CommandFile:
    """A CSV, Parquet or h5ad file, to be read whole or in blocks of rows.

    Parameters
    ----------
    path : Path
        The file.
    layer : str, optional
        Of an h5ad file, what takes the place of its matrix.
    of_model : str, optional
        The layer of a model's fit: what is taken of an h5ad file where no layer is given.
    ids, texts : collection of str or None
        Columns that name rows, and others that are text, such as groups, if the file has them. A
        CSV file's are text: ids as they stand there, to the letter, others with missing values.
    delimiter : str, optional
        What sets a CSV file's fields apart; by default its suffix tells.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is none of these by suffix or content, has no rows or no columns, or no such layer.
    ModuleNotFoundError
        If it is an h5ad file and anndata is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from vicreg.command_table import CommandFile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "t.csv"
    ...     _ = path.write_text("name,size\\n7,1\\n007,2\\n")
    ...     table = CommandFile(path, ids=["name"]).read()
    ...     table.column("name").to_list(), table.features({"id": "name"}).column_names
    (['7', '007'], ['size'])
    """

    def __init__(
        self,
        path: Path,
        *,
        layer: str | None = None,
        of_model: str | None = None,
        ids: Collection[str | None] = (),
        texts: Collection[str | None] = (),
        delimiter: str | None = None,
    ) -> None:
        self._path = path
        if layer is not None and not is_h5ad(path):
            raise ValueError(f"--layer names a layer of an h5ad file, however: {path.name}")
        #: The AnnData, which is in memory as a whole.
        self.annotated: Any = None
        if is_h5ad(path):
            self.annotated = contents(path)
            chosen = of_model if layer is None else layer
            if chosen is not None:
                try:
                    self.annotated = with_layer(self.annotated, chosen)
                except ValueError as error:
                    fitted = ", of which the model's fit was; --layer takes another"
                    raise ValueError(
                        f"{path} has {error}{fitted if layer is None else ''}"
                    ) from None
            self.n_rows, self.n_columns = self.annotated.shape
            try:
                check_shape((self.n_rows, self.n_columns))
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            head = self.annotated[:0]
        else:
            self._file = TableFile(
                path,
                exact=[name for name in ids if name is not None],
                texts=[name for name in texts if name is not None],
                delimiter=delimiter,
            )
            head = self._file.head
            self.n_rows, self.n_columns = self._file.n_rows, head.shape[1]
        #: The table without its rows.
        self.head = self._of(head)

    def read(self) -> CommandTable:
        """All rows."""
        return self._of(self._file.read() if self.annotated is None else self.annotated)

    def blocks(self, n_rows: int) -> Iterator[CommandTable]:
        """Tables of so many rows each, the last one of what is left."""
        if self.annotated is None:
            yield from map(self._of, self._file.blocks(n_rows))
            return
        for start in range(0, self.n_rows, n_rows):
            yield self._of(self.annotated[start : start + n_rows])

    def _of(self, content: Any) -> CommandTable:
        return CommandTable(content, self._path)


class CommandTable:
    """Rows of a file, of which some columns may be no features: labels, ids, groups, and others.

    Parameters
    ----------
    content : narwhals.DataFrame or AnnData
        Of an AnnData the genes are the features, and the columns of ``obs`` are all set aside; so
        are the names of its cells, which are rows' ids where nothing else is. Genes can be dropped.
        What was the index of a pandas frame is set aside too, and names rows if it has a name.
    path : Path
        What messages call it.
    """

    def __init__(self, content: Any, path: Path) -> None:
        self._content, self._path = content, path
        self.own_id: str | None = None
        self._columns: nw.DataFrame[Any] = content
        self._index: Sequence[str] = ()
        if is_annotated(content):
            cells = content.obs.index.name or CELLS
            if cells not in content.obs.columns:
                self.own_id = cells
            self._columns = as_frame(content.obs.reset_index(names=cells, drop=self.own_id is None))
            return
        self._index = index_columns(content)
        named = [name for name in self._index if not name.startswith(NAMELESS)]
        if len(named) == len(self._index) == 1:
            self.own_id = named[0]

    @property
    def columns(self) -> Sequence[str]:
        """Names of what may be set aside."""
        return self._columns.columns

    @property
    def _names(self) -> Sequence[str]:
        """Names of what may be dropped: genes, and columns that are none."""
        if not is_annotated(self._content):
            return self.columns
        return [*self._content.var_names, *self.columns]

    def column(self, name: str) -> nw.Series[Any]:
        """A column by its name.

        Raises
        ------
        ValueError
            If there is none of this name.
        """
        if name not in self.columns:
            raise self._missing(name, self.columns)
        return self._columns[name]

    def _missing(self, name: str, there: Sequence[str]) -> ValueError:
        shown = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
        return ValueError(f"{self._path} has no column {name!r}; it has {shown}")

    def arrow(self, name: str) -> Any:
        """A column as the file has it, without a dictionary of its values, which may grow.

        Raises
        ------
        ValueError
            If its values cannot name rows.
        """
        import pyarrow as pa

        column = self.column(name).to_arrow()
        kind = column.type
        if pa.types.is_dictionary(kind):
            return column.cast(kind.value_type)
        if pa.types.is_string_view(kind):  # which some writers do not know
            return column.cast(pa.string())
        if pa.types.is_nested(kind) or "binary" in str(kind):
            raise ValueError(
                f"a column of ids must hold text, numbers or dates, however: {name!r} holds {kind}"
            )
        return column

    def ids(self, given: str | None, of_model: str | None = None) -> str | None:
        """Which column names the rows: the one given, or else a model's, or the table's own.

        Raises
        ------
        ValueError
            If there is no such column as is given.
        """
        if given is not None:
            self.column(given)
            return given
        return of_model if of_model in self.columns else self.own_id

    def check_aside(self, aside: Mapping[str, Any], second: CommandTable | None = None) -> None:
        """Refuse names of what is to be set aside that are not there.

        Parameters
        ----------
        aside : mapping
            Columns by their use: the name of one, a list of several, or None.
        second : CommandTable, optional
            The other one of a pair, which may have what is dropped, too.

        Raises
        ------
        ValueError
            If there is no such column, or, of what is dropped, no such gene.
        """
        droppable = {*self._names, *(() if second is None else second._names)}
        for use, name in _each(aside):
            if use != DROP:
                self.column(name)
            elif name not in droppable:
                raise self._missing(name, self._names)

    def features(self, aside: Mapping[str, Any], fitted: Sequence[str] | None = None) -> Any:
        """The table without what is set aside; the columns of a fit, in their order.

        Raises
        ------
        ValueError
            If a column of the fit is missing.
        """
        content = self._without(aside, () if fitted is None else fitted)
        if is_annotated(content):
            return content  # a model finds genes by their names itself
        if fitted is not None:
            content = content[:, places_of(fitted, content.columns)]
        return content.to_native()

    def ignored(self, aside: Mapping[str, Any], fitted: Sequence[str] | None) -> Sequence[str]:
        """A note on columns that are neither set aside nor of the fit, or nothing."""
        if fitted is None:
            return []
        content = self._without(aside, fitted)
        return ignored(fitted, content.var_names if is_annotated(content) else content.columns)

    def per_row(self, aside: Mapping[str, Any]) -> dict[str, Any]:
        """Groups and weights, by the names of a fit's arguments, as far as the table has them."""
        return {
            argument: self.column(name).to_list()
            for argument, use in (("groups", "groups"), ("sample_weight", "weight"))
            if (name := aside.get(use)) is not None and name in self.columns
        }

    def is_feature(self, name: str, fitted: VICReg) -> bool:
        """Whether a column that may be set aside is a feature of a model."""
        if self._content is not self._columns:
            return False  # of an AnnData genes are, whatever the columns of obs are called
        return name in getattr(fitted, "feature_names_in_", ())

    def check_no_feature(self, given: Mapping[str, str | None], fitted: VICReg) -> None:
        """Refuse to set aside, by the options of these names, what a model needs as a feature.

        Raises
        ------
        ValueError
        """
        for option, name in given.items():
            if name is not None and self.is_feature(name, fitted):
                raise ValueError(
                    f"--{option} must name a column that is no feature of the model, however: "
                    f"{name!r} is one; name it when the model is fitted (vicreg fit --{option} "
                    f"{name})"
                )

    def _without(self, aside: Mapping[str, Any], fitted: Collection[str]) -> Any:
        """The content without what is set aside; of an AnnData all columns are, so genes alone."""
        if not is_annotated(self._content):
            index = [name for name in self._index if name not in fitted]
            return drop_columns(self._columns, [*index, *(name for _, name in _each(aside))])
        dropped = [name for use, name in _each(aside) if use == DROP]
        kept = ~self._content.var_names.isin(dropped)
        return self._content if kept.all() else self._content[:, kept]

    def check_same_rows(self, other: CommandTable, name: str | None, first_row: int = 0) -> None:
        """Refuse another table's rows if both have names for them that differ."""
        if name is None or name not in self.columns or name not in other.columns:
            return
        pairs = zip(*_comparable(self.arrow(name), other.arrow(name)), strict=False)
        for row, (own, one) in enumerate(pairs, first_row):
            if own != one:
                raise ValueError(
                    f"{other._path} must have the same rows in the same order, however: row {row} "
                    f"is {one!r}, not {own!r}"
                )


def _each(aside: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a column is set aside for, and its name, for each of them."""
    for use, names in aside.items():
        if names is not None and use != LAYER:
            yield from ((use, name) for name in ([names] if isinstance(names, str) else names))


def _comparable(own: Any, one: Any) -> tuple[list[Any], list[Any]]:
    """Two files' ids as values that are equal where the ids are.

    A CSV file's ids are text and a Parquet file's may be numbers or dates: then the text is read as
    these, if it can be. An empty text is no id.
    """
    import pyarrow as pa
    import pyarrow.compute

    def is_text(ids: Any) -> bool:
        return bool(pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type))

    def without_empty(ids: Any) -> Any:
        if not is_text(ids):
            return ids
        return pyarrow.compute.if_else(pyarrow.compute.equal(ids, ""), None, ids)

    own, one = without_empty(own), without_empty(one)
    try:
        if is_text(own) and not is_text(one):
            own = own.cast(one.type)
        elif is_text(one) and not is_text(own):
            one = one.cast(own.type)
    except pa.ArrowException:
        own, one = own.cast(pa.string()), one.cast(pa.string())
    return own.to_pylist(), one.to_pylist()
