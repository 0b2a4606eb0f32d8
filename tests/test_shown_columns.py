"""Columns for people: values as they came."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from vicreg.shown_columns import columns_at, shown_column
from vicreg.sources import column_names, read

DAYS = pd.to_datetime(pd.Series(["2020-02-29", None, "1969-12-31T12:00"]), format="ISO8601")
FRAME = pd.DataFrame(
    {
        "number": [1.5, np.nan, -2.0],
        "word": ["a", None, "b"],
        "truth": [True, False, True],
        "day": DAYS,
        "wait": pd.to_timedelta([90.0, None, 0.5], unit="s"),
    }
)
SOURCE = read(FRAME)


def test_numbers_durations_and_dates_are_numbers() -> None:
    for place, wanted in (
        (0, FRAME["number"].to_numpy()),
        (3, [1582934400.0, np.nan, -43200.0]),
        (4, [90.0, np.nan, 0.5]),
    ):
        column = shown_column(SOURCE, place)
        assert column is not None
        np.testing.assert_array_equal(np.asarray(column.values, dtype=float), wanted)
        assert column.name == FRAME.columns[place]
        assert column.is_date == (place == 3)
        assert column.with_unit().name == (column.name if place < 4 else "wait (s)")


def test_truth_values_are_two_texts() -> None:
    for values in ([True, False, None], pd.array([True, False, None], dtype="boolean")):
        column = shown_column(read(pd.DataFrame({"truth": values})), 0)
        assert column is not None
        assert column.values == ["True", "False", None]


def test_words_are_text_and_a_column_of_nothing_is_none() -> None:
    words = shown_column(SOURCE, 1)
    assert words is not None
    assert words.values == ["a", None, "b"]
    pa = pytest.importorskip("pyarrow")
    assert shown_column(read(pa.table({"nothing": pa.nulls(3)})), 0) is None


def test_chosen_rows_come_in_their_order() -> None:
    index = np.array([2, 0])
    words, numbers = (shown_column(SOURCE, place, index) for place in (1, 0))
    assert words is not None
    assert numbers is not None
    assert words.values == ["b", "a"]
    assert list(numbers.values) == [-2.0, 1.5]


def test_a_sparse_tables_column_is_the_dense_ones() -> None:
    X = scipy.sparse.csr_array(scipy.sparse.random(30, 5, 0.3, random_state=0))
    found = shown_column(read(X), 3, np.arange(10, 20))
    assert found is not None
    assert found.name == "x3"
    np.testing.assert_array_equal(np.asarray(found.values), X.toarray()[10:20, 3])


def test_columns_are_found_by_name() -> None:
    names = [str(name) for name in column_names(SOURCE)]
    assert columns_at(names, ["day", "number"]) == [3, 0]
    with pytest.raises(ValueError, match="show must name columns of the table, however: 'z'"):
        columns_at(names, ["word", "z"])
