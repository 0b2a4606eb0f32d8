"""The command ``vicreg embed``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vicreg.options import AsJson, Data, Delimiter, Id, Layer, Paired
from vicreg.terminal import say

__all__ = ["embed"]

#: Numbers of a table and of its embedding that are in memory at a time, at the least those of
#: BLOCK rows: 16 MiB as float32.
ENTRIES = 2**22


def embed(
    model: Annotated[Path, Parameter(help="Model folder.")],
    data: Data,
    *,
    out: Annotated[Path, Parameter(help="File to write: .parquet, .csv, .npy or .h5ad.")],
    id: Id = None,  # noqa: A002 (the option's name)
    paired: Paired = None,
    layer: Layer = None,
    delimiter: Delimiter = None,
    as_json: AsJson = False,
) -> None:
    """Embed a table with a saved model; the rows' ids come along.

    Ids are the column named by --id here or at fit, and else the row numbers. A .npy file holds the
    embedding alone; its ids go to a second file, NAME.ids.npy. A Parquet file is read, embedded and
    written a block of rows at a time, so it may be larger than memory. An h5ad file can be written
    from one alone: it is the same with the embedding in obsm["X_vicreg"].

    Columns and genes are found by their names, in whatever order; further ones are left out.
    """
    import numpy as np

    from vicreg.command_outputs import check_no_input
    from vicreg.command_table import LAYER, CommandFile, checked_delimiter
    from vicreg.embedding_file import check_embedding_file, embedding_file, files_of
    from vicreg.estimator import load
    from vicreg.inference import BLOCK
    from vicreg.sources import is_h5ad

    # Before the work, not after it.
    check_embedding_file(out, onto_annotated=is_h5ad(data))
    check_no_input(
        "--out", out, None if is_h5ad(data) else data, paired
    )  # an h5ad keeps all it has
    delimiter = checked_delimiter(delimiter, data, paired)
    fitted = load(model)
    named = [id, fitted.aside_.get("id")]
    of_model = fitted.aside_.pop(LAYER, None)  # the file gives it, or what --layer says
    texts = [fitted.embedder_.side(place)[1].texts for place in (0, 1)]
    files = [
        CommandFile(
            data, layer=layer, of_model=of_model, ids=named, texts=texts[0], delimiter=delimiter
        )
    ]
    if paired is not None:
        files.append(CommandFile(paired, ids=named, texts=texts[1], delimiter=delimiter))
    n_rows = files[0].n_rows
    if n_rows != files[-1].n_rows:
        raise ValueError(
            f"{paired} must have the rows of {data}, in the same order, "
            f"however: {files[-1].n_rows} rows, not {n_rows}"
        )
    files[0].head.check_no_feature({"id": id}, fitted)
    aside = {**fitted.aside_, "given id": id}
    id_name = files[0].head.ids(id, fitted.aside_.get("id"))
    columns = [getattr(one, "feature_names_in_", None) for one in (fitted, fitted.paired_columns_)]
    notes = [
        note
        for file, names in zip(files, columns, strict=False)
        for note in file.head.ignored(aside, names)
    ]
    n_components = fitted.embedder_.config.n_components
    entries = max(file.n_columns for file in files) + n_components
    size = max(1, ENTRIES // (BLOCK * entries)) * BLOCK
    shape = {"n_rows": n_rows, "n_components": n_components}
    row = 0
    with embedding_file(out, **shape, onto=data if is_h5ad(data) else None) as write:
        for tables in zip(*(file.blocks(size) for file in files), strict=True):
            first, second = tables[0], tables[1] if len(tables) > 1 else None
            if second is not None:
                first.check_same_rows(second, id_name, row)
            embedding = fitted._embedding(
                first.features(aside, columns[0]),
                None if second is None else second.features(aside, columns[1]),
                first_row=row,
            )
            ids: Any = np.arange(row, row + len(embedding))
            if id_name is not None:
                ids = first.arrow(id_name)
                if out.suffix.lower() == ".npy" and ids.null_count:
                    # An array has no place for a missing value, and would call it None or nan.
                    ids = ids.cast("string").fill_null("")
            write({id_name or "row": ids}, embedding)
            row += len(embedding)
    paths = [str(path) for path in files_of(out)]
    if as_json:
        facts = {"written": paths, "rows": n_rows, "n_components": n_components, "notes": notes}
        print(json.dumps(facts))
    else:
        for note in notes:
            say(f"note: {note}")
        say(f"wrote {' and '.join(paths)}: {n_rows} rows x {n_components} dimensions")
