"""A file of an embedding, written block by block: Parquet, CSV, NumPy's own format, or h5ad."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vicreg.places import check_file, fresh_file
from vicreg.sources import contents, is_h5ad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Write: TypeAlias = Callable[[Mapping[str, Any], NDArray[np.float32]], None]

__all__ = ["check_embedding_file", "embedding_file", "files_of"]

SUFFIXES = (".parquet", ".csv", ".npy", ".h5ad")
#: Where scanpy looks for an embedding.
KEY = "X_vicreg"
#: Bytes that HDF5 may want beside those of the embedding: names, indices, padding.
MARGIN = 2**16


def check_embedding_file(path: Path, *, onto_annotated: bool = False) -> None:
    """Refuse a path that an embedding cannot be written to.

    Raises
    ------
    ValueError
        If it does not end in ``.parquet``, ``.csv``, ``.npy`` or, where there is an AnnData to
        write it onto, ``.h5ad``.
    OSError
        If no file can be written there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"out must end in .parquet, .csv, .npy or .h5ad, however: {path.name}")
    if is_h5ad(path) and not onto_annotated:
        raise ValueError(
            "an .h5ad file is written from another one, of whose cells it is, "
            f"however: out={path.name}; give an .h5ad file, or write .parquet, .csv or .npy"
        )
    check_file(path)


def files_of(path: Path) -> list[Path]:
    """The files that an embedding at a path takes: a ``.npy`` file has its ids beside it."""
    return [path, path.with_suffix(".ids.npy")] if path.suffix.lower() == ".npy" else [path]


@contextmanager
def embedding_file(
    path: Path, *, n_rows: int, n_components: int, onto: Path | None = None
) -> Iterator[Write]:
    """A function that adds rows to a file: other columns by name, and the embedding.

    The file is there once the block of code ends well; until then, what was there stays. A
    ``.npy`` file holds the embedding alone, its one other column goes to ``NAME.ids.npy``. An
    ``.h5ad`` file is a copy of another one with the embedding in ``obsm["X_vicreg"]``.

    Parameters
    ----------
    path : Path
        Ends in ``.parquet``, ``.csv``, ``.npy`` or ``.h5ad``.
    n_rows, n_components : int
        Of the whole embedding.
    onto : Path, optional
        The file that an ``.h5ad`` file is a copy of; it may be ``path`` itself.

    Raises
    ------
    ValueError, OSError
        If there is no writing to that path, see :func:`check_embedding_file`; from the function,
        if another column has a dimension's name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from vicreg.embedding_file import embedding_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "Z.csv"
    ...     with embedding_file(path, n_rows=2, n_components=1) as write:
    ...         write({"name": ["a"]}, np.ones((1, 1), dtype=np.float32))
    ...         write({"name": ["b"]}, np.zeros((1, 1), dtype=np.float32))
    ...     print(path.read_text().strip())
    "name","vicreg0"
    "a",1
    "b",0
    """
    check_embedding_file(path, onto_annotated=onto is not None)
    with ExitStack() as stack:
        fresh = stack.enter_context(fresh_file(path))
        if is_h5ad(path):
            parts: list[NDArray[np.float32]] = []
            yield lambda _, embedding: parts.append(embedding)
            assert onto is not None  # checked above
            _onto_copy(fresh, onto, np.concatenate(parts))
        elif path.suffix.lower() == ".npy":
            fresh_ids = stack.enter_context(fresh_file(files_of(path)[1]))
            with fresh.open("wb") as file:
                ids: list[NDArray[Any]] = []
                yield _into_array(file, ids, (n_rows, n_components))
            plain = np.concatenate(ids)
            if plain.dtype == object:
                plain = plain.astype(str)
            np.save(fresh_ids, plain, allow_pickle=False)
        else:
            yield _into_table(fresh, stack, n_components)


def _onto_copy(fresh: Path, onto: Path, embedding: NDArray[np.float32]) -> None:
    """A copy of an h5ad file, as it is but for the embedding."""
    import h5py
    from anndata.io import write_elem

    # HDF5 crashes where a disk is full. So all the room that it needs is taken before, by calls
    # that raise OSError; what is left of it HDF5 gives back when it closes the file.
    shutil.copyfile(onto, fresh)
    with fresh.open("ab") as end:
        end.write(bytes(embedding.nbytes + MARGIN))
    with h5py.File(fresh, "r+") as file:
        by_name = isinstance(file.get("obsm"), h5py.Group)
        if by_name:
            write_elem(file["obsm"], KEY, embedding)
    if not by_name:  # a file of before anndata 0.7, written anew
        whole = contents(onto)
        whole.obsm[KEY] = embedding
        whole.write_h5ad(fresh)


def _into_array(file: Any, ids: list[NDArray[Any]], shape: tuple[int, int]) -> Write:
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)

    def write(others: Mapping[str, Any], embedding: NDArray[np.float32]) -> None:
        file.write(embedding.astype("<f4", copy=False).tobytes())
        (column,) = others.values()
        ids.append(np.asarray(column))

    return write


def _into_table(fresh: Path, stack: ExitStack, n_components: int) -> Write:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    dimensions = [f"vicreg{place}" for place in range(n_components)]
    writer: Any = None

    def opened(schema: Any, names: list[str]) -> Any:
        if fresh.suffix.lower() == ".csv":
            return pyarrow.csv.CSVWriter(fresh, schema)
        # No two values of a dimension are the same, and nobody looks for the rows of one: lists of
        # values and bounds, kept for every dimension and block, would be of no use.
        return pyarrow.parquet.ParquetWriter(
            fresh, schema, use_dictionary=names, write_statistics=names
        )

    def write(others: Mapping[str, Any], embedding: NDArray[np.float32]) -> None:
        nonlocal writer
        taken = [name for name in others if name in dimensions]
        if taken:
            raise ValueError(f"the id column {taken[0]!r} has a dimension's name; rename it")
        columns = dict(zip(dimensions, np.ascontiguousarray(embedding.T), strict=True))
        rows = pa.table({**others, **columns})
        if writer is None:  # the other columns' types are known now
            writer = stack.enter_context(opened(rows.schema, list(others)))
        writer.write_table(rows)

    return write
