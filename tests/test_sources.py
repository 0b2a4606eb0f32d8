"""Every kind of input, and every kind of bad input, by real files and frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import scipy.sparse

from vicreg.sources import (
    blocks,
    column_names,
    dense,
    drop_columns,
    read,
    shuffle_columns,
    take_rows,
)
from vicreg.table_file import TableFile

COLUMNS = {"a": [1.0, 2.0, 3.0], "b": ["x", "y", "x"]}


def written(folder: Path, name: str) -> Path:
    path = folder / name
    table = pa.table(COLUMNS)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        options = pyarrow.csv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
        pyarrow.csv.write_csv(table, path, options)
    return path


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, nw.from_native])
def test_frames_of_every_library_are_read(make: Any) -> None:
    source = read(make(COLUMNS if make is not nw.from_native else pl.DataFrame(COLUMNS)))
    assert isinstance(source, nw.DataFrame)
    assert column_names(source) == ("a", "b")
    assert source["b"].to_list() == COLUMNS["b"]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.parquet"])
@pytest.mark.parametrize("kind", [Path, str])
def test_files_are_read_by_their_suffix(tmp_path: Path, name: str, kind: Any) -> None:
    source = read(kind(written(tmp_path, name)))
    assert isinstance(source, nw.DataFrame)
    assert {name: source[name].to_list() for name in source.columns} == COLUMNS


def test_marks_of_missing_values_in_csv_are_those_of_pandas_and_a_question_mark(
    tmp_path: Path,
) -> None:
    marks = [
        "NA",
        "N/A",
        "n/a",
        "<NA>",
        "NaN",
        "nan",
        "-NaN",
        "-nan",
        "null",
        "NULL",
        "None",
        "#N/A",
        "#NA",
        "1.#IND",
        "-1.#QNAN",
        "?",
    ]
    path = tmp_path / "t.csv"
    rows = [f"{mark},{mark}" for mark in ["", "#N/A N/A", *marks]]
    path.write_text("\n".join(["a,b", "1,x", *rows, "2.5,-", "3,."]) + "\n", encoding="utf-8")
    source = read(path)
    assert isinstance(source, nw.DataFrame)
    wanted = pd.read_csv(path, na_values=["?"])
    assert wanted["b"].notna().sum() == 3
    for name in ("a", "b"):
        assert source[name].to_list() == [None if v != v else v for v in wanted[name].to_list()]


def test_sparse_matrices_become_dense_block_by_block() -> None:
    matrix = np.diag(np.arange(1.0, 601.0))
    for make in (scipy.sparse.csr_matrix, scipy.sparse.coo_array, scipy.sparse.csc_matrix):
        source = read(make(matrix))
        parts: list[Any] = [part for _, part in blocks(source)]
        assert [len(part) for part in parts] == [109] * 5 + [55]
        assert np.array_equal(np.concatenate(parts), matrix)
        picked: list[Any] = [part for _, part in blocks(source, np.array([7, 3]))]
        assert np.array_equal(picked[0], matrix[[7, 3]])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (scipy.sparse.csr_matrix((0, 3)), "at least one row"),
        (scipy.sparse.csr_matrix((3, 0)), "at least one column"),
        (scipy.sparse.csr_matrix(np.eye(2) * 1j), "Complex data not supported"),
        (scipy.sparse.coo_array(np.ones(3)), "two dimensions, however: 1"),
    ],
)
def test_bad_sparse_tables_are_refused(made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(made)


def test_lists_become_arrays_with_made_up_names() -> None:
    source = read([[1, 2], [3, 4]])
    assert isinstance(source, np.ndarray)
    assert column_names(source) == ("x0", "x1")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.zeros((0, 3)), ValueError, r"0 sample\(s\).*at least one row"),
        (np.zeros((3, 0)), ValueError, r"0 feature\(s\).*at least one column"),
        (pd.DataFrame({"a": []}), ValueError, "at least one row"),
        (pl.DataFrame(), ValueError, "at least one row"),
        (np.zeros(3), ValueError, "Expected 2D array, got 1D array.*reshape"),
        (np.zeros((2, 2, 2)), ValueError, "got 3D array"),
        (5, TypeError, "must be an array, a frame, a sparse matrix or a path, however: int"),
        (None, TypeError, "however: NoneType"),
        (np.ones((2, 2)) * 1j, ValueError, "Complex data not supported"),
        ([[1, 2], [3]], ValueError, "rows must have the same length"),
        (pl.LazyFrame({"a": [1]}), TypeError, r"lazy frame; call .collect\(\)"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "unique, however: 'a' more"),
        (pa.table([[1], [2]], names=["q", "q"]), ValueError, "unique, however: 'q' more"),
    ],
)
def test_bad_tables_are_refused(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read(data)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"a,b\n1,2\n", "t.parquet is not a readable Parquet file"),
        ("t.csv", b"PAR1\0\0\xff\xfe", "t.csv is not a readable CSV file: it holds binary data"),
        ("t.csv", b"", "t.csv is empty"),
        ("t.parquet", b"", "t.parquet is not a readable Parquet file"),
        ("t.csv", b"a,b\n1,2,3\n4\n", "t.csv is not a readable CSV file.*Expected 2 columns"),
        ("t.csv", b"a,b\n", "t.csv: .*at least one row"),
        ("t.csv", b"a,a\n1,2\n", "t.csv: column names must be unique, however: 'a'"),
        ("t.csv", b"a\xff,b\n1,2\n", "t.csv: column names must be UTF-8"),
        ("t.xlsx", b"x", "must end in .csv, .tsv, .parquet or .h5ad, however: t.xlsx"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(path)


LATIN = "town,size\nUlm,1\nMünchen,2\n"


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (LATIN.encode("latin-1"), {}, r"column 'town' holds b'M\\xfcnchen' in row 1"),
        (
            LATIN.encode("latin-1"),
            {"exact": ["town"]},
            r"column 'town' holds b'M\\xfcnchen' in row",
        ),
        (
            LATIN.encode("latin-1"),
            {"texts": ["town"]},
            r"column 'town' holds b'M\\xfcnchen' in row",
        ),
        ("größe,x\n1,2\n".encode("latin-1"), {}, "column names must be UTF-8, however: .*0xf6"),
        (LATIN.encode("utf-16"), {}, "must be UTF-8, however: it is UTF-16"),
    ],
)
def test_text_in_another_encoding_is_told_of_by_its_place(
    tmp_path: Path, content: bytes, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "towns.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"towns.csv.*{message}.*; save (it|the file) as UTF-8"):
        TableFile(path, **options)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf_8_is_read_with_its_mark_and_without(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "towns.csv"
    path.write_bytes(mark + LATIN.encode())
    for options in ({}, {"exact": ["town"]}, {"texts": ["town"]}):
        frame = TableFile(path, **options).read()
        assert frame.to_dict(as_series=False) == {"town": ["Ulm", "München"], "size": [1, 2]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a;b\n1;2\n", "set apart by ',' in a .csv .*by ';'; save it with commas, and"),
        ("t.csv", "a;b\n1,5;2,5\n", "header 'a;b' has none, and seems to be set apart by ';'"),
        ("t.csv", "a\tb\n1\t2\n", "by a tab; let its name end in .tsv"),
        ("t.csv", "\ufeffa|b|c\r\n1|2|3\r\n", r"by '\|'; save it with commas"),
        ("t.tsv", "a,b\n1,2\n", "set apart by a tab in a .tsv .*by ','; let its name end in .csv"),
    ],
)
def test_another_delimiter_is_told_of(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=f"{name}: fields must be .*{message}"):
        read(tmp_path / name)


@pytest.mark.parametrize("content", ["size (m; km)\n1\n2\n", "a\n1;2\n3;4\n", '"a;b",c\n1,2\n'])
def test_a_single_column_may_hold_a_delimiter(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content, encoding="utf-8")
    assert read(path).shape[1] == content.splitlines()[0].count(",") + 1


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nowhere\.csv"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match="is a folder; give a CSV, Parquet or h5ad file"):
        read(tmp_path)


@pytest.mark.parametrize("make", [np.array, lambda rows: pl.DataFrame(rows, orient="row")])
def test_rows_are_taken_in_the_order_asked_for(make: Any) -> None:
    source = read(make([[1, 10], [2, 20], [3, 30]]))
    taken = take_rows(source, np.array([2, 0]))
    plain: Any = dense(taken)
    values = plain.to_numpy() if isinstance(plain, nw.DataFrame) else plain
    assert values.tolist() == [[3, 30], [1, 10]]


def test_dropping_passes_over_names_that_are_not_there() -> None:
    source = read(pl.DataFrame(COLUMNS))
    assert isinstance(source, nw.DataFrame)
    assert drop_columns(source, ["b", "zebra"]).columns == ["a"]


@pytest.mark.parametrize("make", [np.column_stack, None, "pandas", "polars", "pyarrow"])
def test_shuffled_columns_keep_their_values_and_lose_their_rows(make: Any) -> None:
    values = np.arange(200)
    frames: dict[Any, Any] = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
    if make in frames:
        source = read(frames[make]({"a": values, "b": values}))
    else:
        source = read(np.column_stack([values, values]))
    shuffled = shuffle_columns(source, np.random.default_rng(0))
    matrix = shuffled.to_numpy() if isinstance(shuffled, nw.DataFrame) else shuffled
    assert [sorted(column) for column in matrix.T.tolist()] == [list(range(200))] * 2
    assert abs(np.corrcoef(matrix.T)[0, 1]) < 0.3
    original = source.to_numpy() if isinstance(source, nw.DataFrame) else dense(source)
    assert np.array_equal(original[:, 0], values)
