"""Every kind of input, and every kind of bad input, by real files and frames."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
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

from vicreg import VICReg
from vicreg.sources import (
    blocks,
    column_names,
    dense,
    drop_columns,
    read,
    shuffle_columns,
    take_rows,
    unmasked,
)
from vicreg.table_file import TableFile, read_file

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


@pytest.mark.parametrize(
    "make",
    [pd.DataFrame, pl.DataFrame, pa.table, pa.RecordBatch.from_pydict, nw.from_native],
)
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


def zstd(content: bytes) -> bytes:
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(stream, "zstd") as compressed:
        compressed.write(content)
    packed: bytes = stream.getvalue().to_pybytes()
    return packed


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": zstd,
}


@pytest.mark.parametrize("end", COMPRESSED)
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "T.CSV"])
def test_a_compressed_csv_file_is_what_it_was(tmp_path: Path, name: str, end: str) -> None:
    delimiter = "," if name.lower().endswith("csv") else "\t"
    lines = [f"size{delimiter}town", *(f"{i * i % 997}{delimiter}München {i}" for i in range(9999))]
    content = "\r\n".join(lines).encode()
    (tmp_path / name).write_bytes(content)
    packed = tmp_path / f"{name}.{end if name == 't.csv' else end.upper()}"
    packed.write_bytes(COMPRESSED[end](content))
    wanted = TableFile(tmp_path / name)
    assert wanted.n_rows == 9999
    assert wanted.head.columns == ["size", "town"]
    assert TableFile(packed).read().to_native() == wanted.read().to_native()
    (one, *_, last) = TableFile(packed).blocks(5000)
    assert (len(one), len(last)) == (5000, 4999)
    source = read(str(packed))
    assert isinstance(source, nw.DataFrame)
    assert source.to_native() == wanted.read().to_native()


@pytest.mark.parametrize("end", COMPRESSED)
def test_compressed_parts_one_after_another_are_one_file(tmp_path: Path, end: str) -> None:
    parts = [b"", b"\xef\xbb\xbfa,b\n", b"1,2\n3,", b"4\n"]
    (tmp_path / f"t.csv.{end}").write_bytes(b"".join(map(COMPRESSED[end], parts)))
    frame = read_file(tmp_path / f"t.csv.{end}")
    assert frame.to_dict(as_series=False) == {"a": [1, 3], "b": [2, 4]}


LONG = b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i % 997) for i in range(20_000))
HARMS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "half": lambda packed, _: packed[: len(packed) // 2],
    "all but a byte": lambda packed, _: packed[:-1],
    "the end is another": lambda packed, _: packed.replace(packed[-12:], b"0123456789ab"),
    "not compressed": lambda _, content: content,
    "something behind": lambda packed, _: packed + b"more",
}


@pytest.mark.parametrize("end", COMPRESSED)
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("content", [b"a,b\n1,2\n", LONG], ids=["short", "long"])
def test_a_damaged_compressed_file_is_refused_in_one_line(
    tmp_path: Path, end: str, harm: str, content: bytes
) -> None:
    path = tmp_path / f"t.csv.{end}"
    path.write_bytes(HARMS[harm](COMPRESSED[end](content), content))
    with pytest.raises(
        ValueError, match=f"t.csv.{end} is not a readable CSV file: .*; copy"
    ) as told:
        read(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("end", COMPRESSED)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n", ": .*at least one row"),
        (b"PAR1\0\0\xff\xfe", "is not a readable CSV file: it holds binary data"),
        ("a,b\n1,2\n".encode("utf-16"), "must be UTF-8, however: it is UTF-16"),
        (b"a,b\nM\xfcnchen,2\n", ": text must be UTF-8, however: column 'a' holds b'M"),
        (b"a\xff,b\n1,2\n", ": column names must be UTF-8"),
        (b"a,b\n1,2,3\n", "is not a readable CSV file: .*Expected 2 columns, got 3"),
        (b"a\tb\n1\t2\n", ": fields must be .* in a .csv file.* its name end in .tsv.END, or give"),
        (b"a;b\n1;2\n", ": fields must be .*; save it with commas, .* or give --delimiter ';' on"),
    ],
)
def test_what_a_compressed_file_holds_is_checked(
    tmp_path: Path, end: str, content: bytes, message: str
) -> None:
    path = tmp_path / f"t.csv.{end}"
    path.write_bytes(COMPRESSED[end](content))
    with pytest.raises(ValueError, match=f"t.csv.{end} ?{message.replace('END', end)}"):
        read(path)


def test_a_compressed_file_without_a_byte_is_empty(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="t.csv.gz is empty"):
        read(tmp_path / "t.csv.gz")


@pytest.mark.parametrize("name", ["t.parquet.gz", "t.h5ad.bz2", "t.gz", "t.csv.gz.gz", "csv.gz"])
def test_of_compressed_files_csv_alone_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(ValueError, match=f"however: {name}; decompress it, as only .csv, .tsv and"):
        read(tmp_path / name)


@pytest.mark.parametrize("delimiter", [";", "|", ":", " ", "\t"])
def test_a_delimiter_may_be_given(tmp_path: Path, delimiter: str) -> None:
    rows = [["a", "b", "c"], ["x,y", "1", "2.5"], ["z", "NA", "3"]]
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress("\n".join(map(delimiter.join, rows)).encode()))
    frame = TableFile(path, delimiter=delimiter).read()
    assert frame.to_dict(as_series=False) == {"a": ["x,y", "z"], "b": [1, None], "c": [2.5, 3]}


def test_a_wrong_delimiter_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    rule = "t.csv: fields must be set apart by ';' as --delimiter says, however: its header 'a,b'"
    with pytest.raises(ValueError, match=f"{rule} has none, .* by ','; give --delimiter ','$"):
        TableFile(tmp_path / "t.csv", delimiter=";")


def test_a_column_of_decimal_commas_beside_semicolons_is_numbers(tmp_path: Path) -> None:
    """The oracle is pandas, told of the comma for the columns that are to have one."""
    path = tmp_path / "t.csv"
    rows = [
        "id;comma;point;whole;both;thousands;word;some;none;day",
        "1,50;1,5;1.5;1;1,5;1.000,5;x;1,5;;2024-01-02",
        "2,5;2;2.25;2;2.5;2;y, z;;;2024-02-03",
        "NA;NA;?;;3;3;3,5;-7,25e3;NA;",
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    frame = TableFile(path, delimiter=";", exact=["id"]).read()
    wanted = pd.read_csv(path, sep=";", decimal=",", na_values=["?"])
    for name in ("comma", "some"):
        assert frame[name].to_list() == [None if v != v else v for v in wanted[name].to_list()]
    assert frame["id"].to_list() == ["1,50", "2,5", "NA"]
    assert frame["point"].to_list() == [1.5, 2.25, None]
    assert frame["whole"].to_list() == [1, 2, None]
    assert frame["both"].to_list() == ["1,5", "2.5", "3"]
    assert frame["thousands"].to_list() == ["1.000,5", "2", "3"]
    assert frame["word"].to_list() == ["x", "y, z", "3,5"]
    assert frame["day"].to_list()[2] is None
    # With another delimiter a comma is a comma.
    path.write_text("a|b\n1,5|2\n2,5|3\n", encoding="utf-8")
    assert TableFile(path, delimiter="|").read()["a"].to_list() == ["1,5", "2,5"]


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


MASK = [[False, True], [False, False], [True, False]]


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (np.arange(6.0, dtype=np.float32), np.float32(np.nan)),
        (np.arange(6), np.nan),
        (np.arange(6, dtype=np.uint8), np.nan),
        (np.array([True, False, True, True, False, False]), None),
        (np.array(list("abcdef")), None),
        (np.array([1, "a", 2, "b", 3, "c"], dtype=object), None),
        (np.arange(6).astype("M8[D]"), np.datetime64("NaT")),
        (np.arange(6).astype("m8[s]"), np.timedelta64("NaT")),
    ],
)
@pytest.mark.parametrize("wrap", [np.ma.asarray, list])
def test_masked_entries_are_missing(values: Any, missing: Any, wrap: Any) -> None:
    source = read(wrap(np.ma.array(values.reshape(3, 2), mask=MASK)))
    assert isinstance(source, np.ndarray)
    assert not isinstance(source, np.ma.MaskedArray)
    assert source.dtype == (object if missing is None else np.array([*values[:1], missing]).dtype)
    wanted = values.reshape(3, 2).astype(source.dtype)
    wanted[np.array(MASK)] = missing
    assert [str(value) for value in source.ravel().tolist()] == [
        str(value) for value in wanted.ravel().tolist()
    ]


def test_an_array_with_nothing_masked_is_not_copied() -> None:
    values = np.arange(6).reshape(3, 2)
    assert np.shares_memory(unmasked(np.ma.asarray(values)), values)
    assert unmasked(values) is values


def test_a_masked_array_is_fitted_and_embedded_as_one_with_gaps() -> None:
    random = np.random.default_rng(0)
    values, mask = random.normal(size=(120, 6)).astype("f4"), random.random((120, 6)) < 0.2
    masked = np.ma.array(np.where(mask, 1e6, values), mask=mask)
    gaps = np.where(mask, np.nan, values)
    settings: dict[str, Any] = {"hidden": (16,), "projector": (16, 16), "n_threads": 1}
    one, other = (
        VICReg(n_components=8, steps=20, random_state=0, **settings).fit(X) for X in (masked, gaps)
    )
    assert np.array_equal(one.transform(masked), other.transform(gaps))


@pytest.mark.parametrize("name", [None, "sample"])
def test_what_was_pandas_index_is_no_feature(tmp_path: Path, name: str | None) -> None:
    whole = pd.DataFrame({"a": np.arange(90.0), "b": np.arange(90.0) % 7})
    frame = whole[whole.b > 1].rename_axis(name)
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    own = name or "__index_level_0__"
    assert pa.parquet.read_schema(path).names == ["a", "b", own]
    for data in (path, pa.parquet.read_table(path), pa.Table.from_pandas(frame)):
        assert column_names(read(data)) == ("a", "b")
    settings: dict[str, Any] = {"steps": 3, "n_components": 4, "random_state": 0}
    model = VICReg(**settings).fit(path)
    assert np.array_equal(model.transform(frame), model.transform(path))
    assert model.fitted_on_ == VICReg(**settings).fit(frame).fitted_on_
    # What was a feature at the fit is one, wherever a file keeps it.
    as_column = frame.reset_index(names=own)[["a", "b", own]]
    other = VICReg(**settings).fit(as_column)
    assert np.array_equal(other.transform(as_column), other.transform(path))
    # No pandas' metadata, or none that it would write.
    table = pa.table({"a": [1, 2]})
    for odd in (b"[]", b"{}", b"{", b'{"index_columns": [{"kind": "range"}, "no"]}'):
        assert read(table.replace_schema_metadata({b"pandas": odd})).shape == (2, 1)
    alone = pd.DataFrame(index=pd.Index(["x", "y"], name="only"))
    with pytest.raises(ValueError, match=r"0 feature\(s\)"):
        read(pa.Table.from_pandas(alone))


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
        (pd.Series([1.0, 2.0], name="a"), ValueError, "Expected 2D array, got 1D array.*reshape"),
        (pl.Series("a", [1.0, 2.0]), ValueError, "Expected 2D array, got 1D array.*reshape"),
        (np.zeros((2, 2, 2)), ValueError, "got 3D array"),
        (5, TypeError, "must be an array, a frame, a sparse matrix or a path, however: int"),
        (None, TypeError, "however: NoneType"),
        (np.ones((2, 2)) * 1j, ValueError, "Complex data not supported"),
        ([[1, 2], [3]], ValueError, "rows must have the same length"),
        (pl.LazyFrame({"a": [1]}), TypeError, r"lazy frame; call .collect\(\)"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "unique, however: 'a' more"),
        (pa.table([[1], [2]], names=["q", "q"]), ValueError, "unique, however: 'q' more"),
        (
            pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["q", "q"]),
            ValueError,
            "unique, however: 'q' more",
        ),
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
    kinds: list[dict[str, Any]] = [{}, {"exact": ["town"]}, {"texts": ["town"]}]
    for options in kinds:
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


@pytest.mark.parametrize(
    "values",
    [
        ("007", "008", "A12"),
        ("1.0", "2.0", "beta"),
        ("true", "false", "maybe"),
        ("10:00", "11:00", "late"),
        ("2020-01-01", "2021-01-01", "unknown"),
        ("1", "2", "x"),
    ],
)
def test_a_row_of_a_csv_file_is_what_it_is_whatever_else_is_in_the_file(
    tmp_path: Path, values: tuple[str, ...]
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=90), "c": random.choice(values, 90)})
    whole, some = tmp_path / "whole.csv", tmp_path / "some.csv"
    kept = (frame["c"] != values[2]).to_numpy()
    frame.to_csv(whole, index=False)
    frame[kept].to_csv(some, index=False)
    model = VICReg(n_components=4, projector=(8,), steps=5, random_state=0).fit(whole)
    assert np.array_equal(model.transform(some), model.transform(whole)[kept])
    assert np.array_equal(model.transform(whole), model.transform(frame))


def test_lines_of_a_csv_file_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    random = np.random.default_rng(0)
    rows = random.normal(size=(3, 60_000))
    names = [f"gene{place}" for place in range(60_000)]
    path.write_text("\n".join(",".join(map(str, row)) for row in (names, *rows.tolist())))
    assert np.array_equal(read_file(path).to_numpy(), rows)
    path.write_text("a,b")
    with pytest.raises(ValueError, match="0 sample"):
        read_file(path)


def test_names_of_columns_are_looked_at_before_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;a;b\nx;y;1\nz;w;2\n")
    with pytest.raises(ValueError, match="names must be unique, however: 'a' more than once"):
        TableFile(path, delimiter=";")
    with pytest.raises(ValueError, match="columns must have names, however: .* nan"):
        read(pd.DataFrame(np.eye(3), columns=[1.5, np.nan, 2.0]))


def test_odd_arrays_are_refused_or_read() -> None:
    with pytest.raises(TypeError, match="however: a structured array"):
        read(np.zeros((5, 2), dtype=[("a", float)]))
    texts = [["a", "1"], ["b", "2"]]
    if hasattr(np.dtypes, "StringDType"):
        assert read(np.array(texts, dtype=np.dtypes.StringDType())).tolist() == texts  # type: ignore[union-attr]
