"""Table encoding against scikit-learn, hand calculations, and itself across frame libraries."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import StandardScaler

from vicreg.columns import numbers_of
from vicreg.sources import read
from vicreg.table import TableEncoder

RANDOM = np.random.default_rng(0)


def encoded(data: Any) -> tuple[TableEncoder, np.ndarray, np.ndarray]:
    source = read(data)
    encoder = TableEncoder.fit(source)
    rows = encoder.transform(source)
    return encoder, rows.numbers.numpy(), rows.codes.numpy()


def objects(*columns: list[Any]) -> np.ndarray:
    matrix = np.empty((len(columns[0]), len(columns)), dtype=object)
    for place, column in enumerate(columns):
        matrix[:, place] = column
    return matrix


def test_numbers_are_standardised_as_scikit_learn_does() -> None:
    X = RANDOM.normal(5, 3, size=(200, 4)) * [1, 100, 1e-6, 1e8]
    _, numbers, codes = encoded(X)
    np.testing.assert_allclose(numbers, StandardScaler().fit_transform(X), atol=1e-5)
    assert codes.shape == (200, 0)
    assert numbers.dtype == np.float32
    assert codes.dtype == np.int32


def test_statistics_come_from_the_fitted_rows_only() -> None:
    train, new = RANDOM.normal(size=(50, 2)), RANDOM.normal(9, 5, size=(20, 2))
    encoder = TableEncoder.fit(train)
    wanted = StandardScaler().fit(train).transform(new).clip(-10, 10)
    np.testing.assert_allclose(encoder.transform(new).numbers, wanted, atol=1e-5)


def test_far_values_are_drawn_in() -> None:
    encoder = TableEncoder.fit(np.array([[-1.0], [1.0]]))
    assert encoder.transform(np.array([[1e9], [-50.0]])).numbers.tolist() == [[10.0], [-10.0]]


def test_missing_becomes_the_mean_and_a_flag_where_it_was_missing_at_fit() -> None:
    X = np.array([[1.0, 5.0], [3.0, 6.0], [np.nan, 7.0], [2.0, 8.0]])
    encoder, numbers, _ = encoded(X)
    assert [column.parts for column in encoder.columns] == [("value", "missing"), ("value",)]
    assert numbers[2, 0] == 0
    flags = StandardScaler().fit_transform([[0.0], [0], [1], [0]])
    np.testing.assert_allclose(numbers[:, 1], flags.ravel(), atol=1e-6)
    new = encoder.transform(np.array([[2.0, np.nan]])).numbers  # never missing at fit: the mean
    assert new[0, 2] == 0


def test_useless_columns_are_dropped_with_a_note() -> None:
    frame = pd.DataFrame(
        {
            "same": [3.5] * 40,
            "nothing": [np.nan] * 40,
            "name": [f"row {i}" for i in range(40)],
            "word": ["w"] * 40,
            "good": range(40),
        }
    )
    encoder, numbers, _ = encoded(frame)
    assert numbers.shape == (40, 1)
    assert encoder.dropped == {
        "same": "constant",
        "nothing": "empty",
        "name": "identifier-like",
        "word": "constant",
    }
    assert encoder.notes == [
        "dropped 2 constant columns: 'same', 'word'",
        "dropped 1 empty column: 'nothing'",
        "dropped 1 identifier-like column: 'name'",
    ]


@pytest.mark.parametrize(
    "make",
    [
        pd.DataFrame,
        pl.DataFrame,
        pa.table,
        lambda columns: pd.DataFrame(columns).to_numpy(dtype=object),
    ],
)
def test_text_that_is_nearly_all_numbers_is_told_of_by_its_first_odd_value(make: Any) -> None:
    numbers = ["1", "-2.50", None, "3e4", ".5", " 7", "+8", "9.", "inf", "1"]
    odd = [*numbers[:3], "-", *numbers[3:], "1_000"]  # 2 odd values of 11
    columns = {
        "few": [f"{row}" for row in range(41)] + ["-", "."] + ["4"] * 5,
        "many": (numbers * 5)[:44] + ["n/d"] * 4,
        "more": (odd * 4)[:48],  # 8 odd values of 44
        "all": (numbers[:8] * 6)[:48],
        "word": ["a", "b", "c"] * 16,
        "good": [float(row) for row in range(48)],
    }
    names = list(columns)
    if make not in (pd.DataFrame, pl.DataFrame, pa.table):
        names = [f"x{place}" for place in range(len(columns))]
    told = [note for note in TableEncoder.fit(read(make(columns))).notes if "is text" in note]
    assert [note.split(", though")[0] for note in told] == [
        f"column {names[0]!r} is text because of '-' in row 41",
        f"column {names[1]!r} is text because of 'n/d' in row 44",
    ]


def test_the_odd_value_is_found_among_rows_that_the_fit_leaves_out() -> None:
    frame = pd.DataFrame({"n": ["1", "-", "2"] + ["3"] * 20 + ["."], "x": range(24)})
    (note,) = TableEncoder.fit(read(frame), np.arange(2, 24)).notes
    assert "because of '-' in row 1," in note


def test_a_long_list_of_dropped_columns_is_cut() -> None:
    X = np.column_stack([np.ones((4, 9)), np.arange(4.0)])
    assert TableEncoder.fit(X).notes == [
        "dropped 9 constant columns: 'x0', 'x1', 'x2', 'x3', 'x4' and 4 more"
    ]


@pytest.mark.parametrize(
    "make", [np.asarray, pd.DataFrame, lambda X: X.astype(object), lambda X: pl.DataFrame(X)]
)
@pytest.mark.parametrize("first", [np.uint64(2**63), np.int64(-(2**62)), np.uint64(2**53)])
def test_whole_numbers_that_float64_rounds_to_one_are_told_of(make: Any, first: Any) -> None:
    near = np.array([0, 1, 1, 0, 1], dtype=first.dtype)
    X = np.column_stack([first + near, first + 0 * near, near])
    encoder = TableEncoder.fit(read(make(X)))
    names = list(encoder.dropped)
    assert encoder.dropped == {names[0]: "constant in float64", names[1]: "constant"}
    assert encoder.notes == [
        f"dropped 1 constant column: '{names[1]}'",
        "dropped 1 column of different values that are the same in float64: "
        f"'{names[0]}'; subtract their least value first, or make them text if they are names",
    ]


def test_numbers_that_name_categories_are_told_by_a_frame_or_a_letter() -> None:
    # What docs/guide.md says.
    names = np.array([["1", "a"], ["2", "b"], ["1", "a"], ["2", "b"]])
    for array in (names, names.astype(object)):
        assert [column.kind for column in encoded(array)[0].columns] == ["number", "category"]
    for told in (pd.DataFrame(names), np.char.add("c", names), pd.DataFrame(names.astype(object))):
        assert [column.kind for column in encoded(told)[0].columns] == ["category"] * 2


def test_a_table_of_nothing_but_whole_numbers_that_are_the_same_in_float64_is_refused() -> None:
    X = (np.arange(120, dtype="uint64") + 2**63)[:, None]
    with pytest.raises(ValueError, match="1 column of different values that are the same in float"):
        TableEncoder.fit(read(X))


def test_rounding_does_not_make_a_constant_column_vary() -> None:
    X = np.column_stack([np.full(1000, 0.1), np.arange(1000.0)])
    assert TableEncoder.fit(X).dropped == {"x0": "constant"}


@pytest.mark.parametrize("column", [[2.0] * 3, [np.nan] * 3])
def test_a_table_without_a_usable_column_is_refused(column: list[float]) -> None:
    with pytest.raises(ValueError, match="no column to learn from.*two different values"):
        TableEncoder.fit(np.array([column]).T)


def test_infinities_are_refused_with_column_and_row() -> None:
    frame = read(pl.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, -math.inf]}))
    with pytest.raises(ValueError, match="infinity.*column 'b', row 2"):
        TableEncoder.fit(frame)
    encoder = TableEncoder.fit(np.array([[1.0], [2.0]]))
    with pytest.raises(ValueError, match="column 'x0', row 1"):
        encoder.transform(np.array([[1.0], [np.inf]]))


def test_categories_are_coded_by_frequency_and_rare_or_unseen_ones_share_zero() -> None:
    words = ["b"] * 5 + ["a"] * 3 + ["c"] * 3 + ["rare"]
    encoder, _, codes = encoded(objects(words, list(range(12))))
    assert encoder.columns[0].categories == ("b", "a", "c")
    assert codes[:, 0].tolist() == [1] * 5 + [2] * 3 + [3] * 3 + [0]
    new = encoder.transform(objects(["c", "new", None], [1, 2, 3])).codes
    assert new[:, 0].tolist() == [3, 0, 0]
    assert encoder.cardinalities == [4]


def test_missing_is_a_category_of_its_own() -> None:
    encoder, _, codes = encoded(objects(["a", None, "a", float("nan"), "a", "b", "b"]))
    assert encoder.columns[0].categories == ("a", "b", None)
    assert codes[:, 0].tolist() == [1, 3, 1, 3, 1, 2, 2]


def test_a_category_is_rare_below_one_percent_in_larger_tables() -> None:
    words = ["a"] * 600 + ["b"] * 391 + ["few"] * 9
    encoder, *_ = encoded(objects(words))
    assert encoder.columns[0].categories == ("a", "b")


def test_order_of_rows_does_not_change_the_codes() -> None:
    words = ["x", "y", "z"] * 4
    one, other = encoded(objects(words))[0], encoded(objects(words[::-1]))[0]
    assert one.columns == other.columns


def test_whole_numbers_are_the_same_category_however_they_are_stored() -> None:
    as_text = pd.DataFrame({"c": pd.Series(["1", "2", "1", "2"]), "n": [1, 2, 3, 4]})
    encoder = TableEncoder.fit(read(as_text))
    for values in ([1, 2, 1, 2], [1.0, 2.0, 1.0, 2.0], ["1", "2", "1", "2"]):
        frame = read(pd.DataFrame({"c": values, "n": [1, 2, 3, 4]}))
        assert encoder.transform(frame).codes[:, 0].tolist() == [1, 2, 1, 2]


def test_object_columns_of_numbers_are_numbers() -> None:
    _, numbers, codes = encoded(objects([1, 2.5, None, 4], ["1", "2", "3", "5"]))
    assert numbers.shape == (4, 3)
    assert codes.shape == (4, 0)


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="'x1': argument must be a string or a number.*dict"):
        TableEncoder.fit(objects([1, 2], [{"a": 1}, 3]))
    with pytest.raises(TypeError, match="column 'l' must hold numbers, text, dates.*List"):
        TableEncoder.fit(read(pl.DataFrame({"l": [[1], [2]]})))


MOMENTS = [dt.datetime(2024, 1, 1, 6) + dt.timedelta(days=i, hours=5 * i) for i in range(40)]
MIXED: dict[str, list[Any]] = {
    "number": [float(i % 7) if i % 9 else None for i in range(40)],
    "whole": [i * i % 11 for i in range(40)],
    "flag": [None if i == 3 else i % 3 == 0 for i in range(40)],
    "word": [None if i % 8 == 1 else "abc"[i % 3] for i in range(40)],
    "moment": [None if i == 5 else moment for i, moment in enumerate(MOMENTS)],
    "same": [1] * 40,
}


def make_categorical(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"word": "category"})


@pytest.mark.parametrize(
    "make",
    [
        pl.DataFrame,
        pa.table,
        lambda data: pd.DataFrame(data).convert_dtypes(),
        lambda data: make_categorical(pd.DataFrame(data)),
        lambda data: pl.DataFrame(data).with_columns(pl.col("word").cast(pl.Categorical)),
        lambda data: pd.DataFrame(data).convert_dtypes(dtype_backend="pyarrow"),
    ],
    ids=["polars", "pyarrow", "nullable", "categorical", "polars categorical", "arrow-backed"],
)
def test_the_same_table_is_encoded_alike_in_every_library(make: Any) -> None:
    wanted = encoded(pd.DataFrame(MIXED))
    actual = encoded(make(MIXED))
    np.testing.assert_allclose(actual[1], wanted[1], atol=1e-5)
    assert np.array_equal(actual[2], wanted[2])
    assert actual[0].columns == wanted[0].columns
    # A table fitted in one library is transformed in another.
    rows = wanted[0].transform(read(make(MIXED)))
    np.testing.assert_allclose(rows.numbers, wanted[1], atol=1e-5)


def test_layout_keeps_the_parts_of_a_column_together() -> None:
    encoder = encoded(pd.DataFrame(MIXED))[0]
    names = [column.name for column in encoder.columns]
    assert names == ["number", "whole", "flag", "word", "moment"]
    assert encoder.layout.n_columns == 5
    assert encoder.layout.numbers.tolist() == [0, 0, 1, 2, 2, *[4] * 8]
    assert encoder.layout.codes.tolist() == [3]
    # Flags take no noise: number, flag and moment each have one.
    assert encoder.layout.noisy.tolist() == [1, 0, 1, 1, 0, *[1] * 7, 0]


def test_parts_of_a_date_equal_a_hand_calculation() -> None:
    moments = [
        dt.datetime(1970, 1, 1, 6),  # a quarter of the day, the first day of week and year
        dt.datetime(1970, 1, 8, 12),  # half the day, a whole week later
        dt.datetime(1972, 3, 4, 0),
    ]
    encoder = TableEncoder.fit(read(pl.DataFrame({"t": moments})))
    raw = encoder.raw(read(pl.DataFrame({"t": moments})))
    (column,) = encoder.columns
    parts = dict(zip(column.parts, raw.T, strict=True))
    assert parts["time"].tolist() == [6 * 3600, 7 * 86400 + 12 * 3600, 793 * 86400]
    np.testing.assert_allclose(parts["day_sin"], [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(parts["day_cos"], [0, -1, 1], atol=1e-9)
    np.testing.assert_allclose(parts["week_sin"], np.sin(2 * np.pi * np.array([0, 0, 2 / 7])))
    np.testing.assert_allclose(parts["year_cos"][0], 1)


def test_parts_of_a_date_that_do_not_vary_are_left_out() -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(10)]
    encoder = TableEncoder.fit(read(pl.DataFrame({"d": days})))
    assert encoder.columns[0].parts == ("time", "week_sin", "week_cos", "year_sin", "year_cos")


def test_time_zones_are_taken_to_utc() -> None:
    utc = pd.date_range("2024-03-01", periods=20, freq="7h", tz="UTC")
    one = encoded(pd.DataFrame({"t": utc}))
    other = encoded(pd.DataFrame({"t": utc.tz_convert("Asia/Tokyo")}))
    np.testing.assert_allclose(one[1], other[1], atol=1e-5)


def test_durations_and_date_arrays_are_understood() -> None:
    hours = np.arange(6) * 3
    _, numbers, _ = encoded(pl.DataFrame({"d": [dt.timedelta(hours=int(h)) for h in hours]}))
    wanted = StandardScaler().fit_transform(hours.reshape(-1, 1))
    np.testing.assert_allclose(numbers, wanted, atol=1e-5)
    as_array = np.array(MOMENTS, dtype="M8[s]").reshape(-1, 1)
    same = encoded(pl.DataFrame({"x0": MOMENTS}))
    np.testing.assert_allclose(encoded(as_array)[1], same[1], atol=1e-5)


@pytest.mark.parametrize(
    ("fitted", "new", "message"),
    [
        ([1.0, 2.0], ["x", "2"], "column 'a' held numbers when.*holds 'x' now"),
        (MOMENTS[:2], ["x", "y"], "column 'a' held dates when"),
        (MOMENTS[:2], [1.0, 2.0], "column 'a' held dates when"),
        ([True, False], ["maybe", "no"], "column 'a' held truth values when.*holds 'maybe'"),
    ],
)
def test_a_column_that_changed_its_kind_is_refused(
    fitted: list[Any], new: list[Any], message: str
) -> None:
    encoder = TableEncoder.fit(read(pl.DataFrame({"a": fitted})))
    with pytest.raises(TypeError, match=message):
        encoder.transform(read(pl.DataFrame({"a": new})))


def test_a_column_that_is_empty_in_new_rows_is_all_mean() -> None:
    encoder = TableEncoder.fit(read(pl.DataFrame(MIXED)))
    empty = read(pl.DataFrame({name: [None, None] for name in MIXED}))
    rows = encoder.transform(empty)
    assert bool(torch.isfinite(rows.numbers).all())
    whole = encoder.layout.numbers.tolist().index(1)
    assert rows.numbers[:, whole].tolist() == [0, 0]


def test_state_survives_json() -> None:
    source = read(pd.DataFrame(MIXED))
    encoder = TableEncoder.fit(source)
    document, values = encoder.state()
    again = TableEncoder.from_state(json.loads(json.dumps(document)), values)
    assert again.columns == encoder.columns
    assert again.notes == encoder.notes
    assert torch.equal(again.transform(source).numbers, encoder.transform(source).numbers)
    assert torch.equal(again.transform(source).codes, encoder.transform(source).codes)


FLOATS = st.floats(allow_nan=True, allow_infinity=False, width=32)


@settings(max_examples=60)
@given(
    X=arrays(np.float64, (6, 3), elements=FLOATS), new=arrays(np.float64, (4, 3), elements=FLOATS)
)
def test_encoded_numbers_are_always_finite(X: np.ndarray, new: np.ndarray) -> None:
    X[:, 2] = np.arange(6)  # one column to learn from
    encoder = TableEncoder.fit(X)
    for table in (X, new):
        numbers = encoder.transform(table).numbers
        assert bool(torch.isfinite(numbers).all())
        assert float(numbers.abs().max()) <= 10


@pytest.mark.parametrize("c", [0.5, 3.0])
def test_smooth_clipping_is_the_published_formula(c: float) -> None:
    X = np.random.default_rng(0).standard_t(2, size=(200, 3)) * [1.0, 50.0, 1e-4]
    plain, clipped = TableEncoder.fit(X), TableEncoder.fit(X, smooth_clip=c)
    z = (X - X.mean(0)) / X.std(0)
    expected = z / (1 + (z / c) ** 2) ** 0.5
    np.testing.assert_allclose(clipped.transform(X).numbers, expected, rtol=1e-5, atol=1e-6)
    order = np.argsort(plain.transform(X).numbers.numpy(), axis=0, kind="stable")
    drawn_in = np.take_along_axis(clipped.transform(X).numbers.numpy(), order, axis=0)
    assert (np.diff(drawn_in, axis=0) >= 0).all()  # no two values change places


def test_smooth_clipping_knows_no_overflow_and_no_missing_value() -> None:
    X = np.array([[1.0], [3.0], [np.nan]])
    encoder = TableEncoder.fit(X, smooth_clip=3)
    document, arrays = encoder.state()
    again = TableEncoder.from_state(json.loads(json.dumps(document)), arrays)
    rows = np.array([[1e300], [-1e300], [np.nan]])
    numbers = again.transform(rows).numbers
    assert torch.equal(numbers, encoder.transform(rows).numbers)
    np.testing.assert_allclose(numbers[:, 0], [3, -3, 0])
    del document["smooth_clip"]  # a model of before
    assert TableEncoder.from_state(document, arrays).smooth_clip == 0


def test_normal_scores_stand_beside_the_numbers_and_come_back_from_a_file() -> None:
    random = np.random.default_rng(0)
    X = random.lognormal(size=(500, 4))
    X[::7, 1] = np.nan
    X[:, 2] = 5.0
    encoder = TableEncoder.fit(X, normal_scores=True)
    assert [column.parts for column in encoder.columns] == [
        ("value", "score"),
        ("value", "score", "missing"),
        ("value", "score"),
    ]
    numbers = encoder.transform(X).numbers
    scores = numbers[:, [1, 3, 6]]
    assert float(scores.abs().max()) < 4  # the values themselves reach 10
    for column, place in ((0, 1), (3, 6)):
        order = X[:, column].argsort()
        assert bool((numbers[:, place][order].diff() >= -1e-5).all())
    assert encoder.layout.numbers.tolist() == [0, 0, 1, 1, 1, 2, 2]
    again = TableEncoder.from_state(*encoder.state())
    assert torch.equal(again.transform(X).numbers, numbers)


FRAMES: dict[str, Any] = {
    "pandas": lambda: pd.DataFrame(
        {
            "a": [1.5, np.nan, 3],
            "b": pd.array([1, 2, None], "Int64"),
            "c": pd.array([2.5, None, 0.25], "Float32"),
            "d": pd.array([True, False, None], "boolean"),
        }
    ),
    "pandas, its own missing values": lambda: pd.DataFrame(
        {
            "a": pd.array([1.5, None, 3], "Float64"),
            "b": pd.array([1, 2, None], "Int64"),
            "c": pd.array([2.5, None, 0.25], "Float64"),
            "d": pd.array([True, False, None], "boolean"),
        }
    ),
    "pandas over pyarrow": lambda: pd.DataFrame(
        {
            "a": [1.5, np.nan, 3],
            "b": pd.array([1, 2, None], "int64[pyarrow]"),
            "c": pd.array([2.5, None, 0.25], "float64[pyarrow]"),
            "d": pd.array([True, False, None], "bool[pyarrow]"),
        }
    ),
    "polars": lambda: pl.DataFrame(
        {"a": [1.5, None, 3], "b": [1, 2, None], "c": [2.5, None, 0.25], "d": [True, False, None]}
    ),
    "pyarrow": lambda: pa.table(
        {"a": [1.5, None, 3], "b": [1, 2, None], "c": [2.5, None, 0.25], "d": [True, False, None]}
    ),
    "names that are numbers": lambda: pd.DataFrame(
        [[1.5, 1, 2.5, 1], [np.nan, 2, np.nan, 0], [3, np.nan, 0.25, np.nan]]
    ),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("positions", [[0, 1, 2, 3], [2, 0], [1]])
def test_numbers_of_a_frame_are_its_columns_whatever_they_are_kept_in(
    kind: str, positions: list[int]
) -> None:
    frame = read(FRAMES[kind]())
    wanted = [[1.5, 1, 2.5, 1], [np.nan, 2, np.nan, 0], [3, np.nan, 0.25, np.nan]]
    assert not isinstance(frame, np.ndarray)
    found = numbers_of(frame, positions, frame.columns, 0)  # type: ignore[arg-type, union-attr]
    np.testing.assert_array_equal(found, np.array(wanted)[:, positions])


def test_numbers_too_small_to_be_squared_are_standardised_too() -> None:
    X = RANDOM.normal(size=(200, 2))
    _, numbers, _ = encoded(X * [1e-170, 1])
    np.testing.assert_allclose(numbers, StandardScaler().fit_transform(X), atol=1e-5)


@pytest.mark.parametrize("value", [1.8e308 * 10, np.finfo(np.float64).max, -1e200])
def test_numbers_too_large_to_be_squared_are_refused(value: float) -> None:
    X = RANDOM.normal(size=(50, 2))
    X[7, 1] = value
    with pytest.raises(ValueError, match="value too large: column 'x1', (row 7|which holds)"):
        TableEncoder.fit(X)
    with pytest.raises(ValueError, match="infinity or a value too large: column 'n'. Replace"):
        TableEncoder.fit(read(pd.DataFrame({"n": [10**400, *range(20)]}, dtype=object)))


@pytest.mark.parametrize("gap", [True, False])
def test_categories_of_numbers_are_the_same_with_a_gap_and_without(gap: bool) -> None:
    with_gap = pd.Series([1.0, 2.0, np.nan] * 40).astype("category")
    without = pd.Series([1, 2] * 40).astype("category")
    fitted, new = (with_gap, without) if gap else (without, with_gap)
    encoder = TableEncoder.fit(read(pd.DataFrame({"c": fitted})))
    assert [text for text in encoder.columns[0].categories if text] == ["1", "2"]
    codes = encoder.transform(read(pd.DataFrame({"c": new}))).codes[:, 0].numpy()
    known = new.notna().to_numpy()
    assert (codes[known] == np.where(new[known] == 1, 1, 2)).all()


@pytest.mark.parametrize("zone", [None, dt.timezone(dt.timedelta(hours=2))])
def test_dates_among_objects_are_those_of_a_column_of_dates(zone: dt.tzinfo | None) -> None:
    start = dt.datetime(2024, 2, 28, 13, 30, tzinfo=zone)
    moments = [start + dt.timedelta(hours=7 * i) for i in range(100)]
    as_objects = pd.DataFrame({"t": pd.Series(moments, dtype=object)})
    as_objects.loc[3, "t"] = None
    wanted, numbers, _ = encoded(as_objects.assign(t=pd.to_datetime(as_objects["t"])))
    found, of_objects, _ = encoded(as_objects)
    assert found.columns == wanted.columns
    np.testing.assert_array_equal(of_objects, numbers)
    np.testing.assert_array_equal(encoded(as_objects.to_numpy())[1], numbers)
    days = pd.DataFrame({"t": [moment.date() for moment in moments]})
    of_days = encoded(days.assign(t=pd.to_datetime(days["t"])))[1]
    np.testing.assert_array_equal(encoded(days)[1], of_days)


def test_a_time_of_day_is_seconds_and_a_circle() -> None:
    times = [dt.time(hour, 30) for hour in range(24)]
    for frame in (pl.DataFrame({"t": times}), pd.DataFrame({"t": times})):
        encoder = TableEncoder.fit(read(frame))
        assert encoder.columns[0].parts == ("time", "day_sin", "day_cos")
        raw = encoder.raw(read(frame))
        np.testing.assert_allclose(raw[:, 0], np.arange(24) * 3600 + 1800)
        angle = 23400 / 86400 * 2 * np.pi
        np.testing.assert_allclose(raw[6], [23400, np.sin(angle), np.cos(angle)])


def test_sparse_columns_of_a_frame_are_dense_ones() -> None:
    frame = pd.get_dummies(pd.Series(list("abcd") * 20)).assign(n=np.arange(80.0))
    sparse = frame.astype({"a": "Sparse[bool]", "n": "Sparse[float]"})
    np.testing.assert_array_equal(encoded(sparse)[1], encoded(frame)[1])


def test_what_is_no_kind_of_column_is_named_by_its_own_type() -> None:
    frame = pd.DataFrame({"month": pd.period_range("2020", periods=30, freq="M")})
    with pytest.raises(TypeError, match=r"column 'month' must hold .* however: period\[M\]; conv"):
        TableEncoder.fit(read(frame))
    encoder = TableEncoder.fit(read(pd.DataFrame({"t": ["x", "y"] * 20})))
    with pytest.raises(TypeError, match="'t' held text when the model was fitted.* dates now"):
        encoder.transform(read(pd.DataFrame({"t": pd.date_range("2020", periods=3)})))


def test_one_hot_codes_of_a_wide_category_take_the_memory_of_their_rows() -> None:
    import tracemalloc

    frame = pd.DataFrame({"zip": [str(i // 20) for i in range(60_000)]})
    encoder = TableEncoder.fit(read(frame))
    rows = encoder.transform(read(frame.iloc[:5]))
    tracemalloc.start()
    one_hot = encoder.dense(rows)
    assert tracemalloc.get_traced_memory()[1] < 5 * 8 * 3001 * 4
    tracemalloc.stop()
    assert one_hot.shape == (5, 3001)
    np.testing.assert_array_equal(one_hot.argmax(axis=1), rows.codes[:, 0])
    assert (one_hot.sum(axis=1) == 1).all()


def test_normal_scores_are_of_columns_that_vary_alone() -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 3))
    X[:, 1] = np.where(random.random(200) < 0.5, 1.0, np.nan)  # one value, or none
    X[::7, 2] = np.nan
    encoder = TableEncoder.fit(X, normal_scores=True)
    assert [column.parts for column in encoder.columns] == [
        ("value", "score"), ("value", "missing"), ("value", "score", "missing"),
    ]  # fmt: skip
    alone = TableEncoder.fit(X[:, [0, 2]], normal_scores=True).transform(X[:, [0, 2]]).numbers
    together = encoder.transform(X).numbers
    torch.testing.assert_close(together[:, [0, 1, 4, 5, 6]], alone, rtol=0, atol=0)


def test_a_column_that_is_constant_but_for_rounding_is_dropped() -> None:
    random = np.random.default_rng(0)
    sums = random.dirichlet(np.ones(7), 300).sum(axis=1)
    assert len(set(sums)) > 1
    steps = 2.0**52 + np.arange(300) % 2  # whole numbers, whose differences are exact
    X = np.column_stack((random.normal(size=300), sums, steps, 1e9 + 1e-3 * random.random(300)))
    assert list(TableEncoder.fit(X).dropped) == ["x1"]
