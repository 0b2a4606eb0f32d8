"""The command ``vicreg embed``."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 (the command line reads the annotation)
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vicreg.cli import AsJson, Id, Paired, _check_column, _check_same_rows, _features, _say
from vicreg.embedding_file import check_embedding_file, embedding_file, files_of
from vicreg.inference import BLOCK

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw

__all__ = ["embed"]

#: Numbers of a table and of its embedding that are in memory at a time, at the least those of
#: BLOCK rows: 16 MiB as float32.
ENTRIES = 2**22


def embed(
    model: Annotated[Path, Parameter(help="Model folder.")],
    data: Annotated[Path, Parameter(help="CSV or Parquet file.")],
    *,
    out: Annotated[Path, Parameter(help="File to write: .parquet, .csv or .npy.")],
    id: Id = None,  # noqa: A002 (the option's name)
    paired: Paired = None,
    as_json: AsJson = False,
) -> None:
    """Embed a table with a saved model; the rows' ids come along.

    Ids are the column named by --id here or at fit, and else the row numbers. A .npy file holds the
    embedding alone; its ids go to a second file, NAME.ids.npy. A Parquet file is read, embedded and
    written a block of rows at a time, so it may be larger than memory.
    """
    import numpy as np

    from vicreg.estimator import load
    from vicreg.table_file import TableFile

    check_embedding_file(out)  # before the work, not after it
    fitted = load(model)
    files = [TableFile(path) for path in (data, paired) if path is not None]
    n_rows = files[0].n_rows
    if n_rows != files[-1].n_rows:
        raise ValueError(
            f"{paired} must have the rows of {data}, in the same order, "
            f"however: {files[-1].n_rows} rows, not {n_rows}"
        )
    aside = {**fitted.aside_, "given id": id}
    id_name = id if id is not None else fitted.aside_.get("id")
    if id is not None:
        _check_column(files[0].columns, id, data)
    elif id_name not in files[0].columns:
        id_name = None
    n_components = fitted.embedder_.config.n_components
    entries = max(len(file.columns) for file in files) + n_components
    size = max(1, ENTRIES // (BLOCK * entries)) * BLOCK
    row = 0
    with embedding_file(out, n_rows=n_rows, n_components=n_components) as write:
        for frames in zip(*(file.blocks(size) for file in files), strict=True):
            second = None
            if paired is not None:
                _check_same_rows(frames[0], frames[1], id_name, paired, row)
                second = _features(frames[1], aside)
            embedding = fitted._embedding(_features(frames[0], aside), second, first_row=row)
            ids: Any = np.arange(row, row + len(embedding))
            if id_name is not None:
                ids = _plain(frames[0], id_name)
            write({id_name or "row": ids}, embedding)
            row += len(embedding)
    paths = [str(path) for path in files_of(out)]
    if as_json:
        print(json.dumps({"written": paths, "rows": n_rows, "columns": n_components}))
    else:
        _say(f"wrote {' and '.join(paths)}: {n_rows} rows x {n_components} dimensions")


def _plain(frame: nw.DataFrame[Any], name: str) -> Any:
    """A column as the file has it, without a dictionary of its values, which may grow."""
    import pyarrow as pa

    column = frame[name].to_native()
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
