"""What a column is taken for, and what it may hold once a model knows it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from vicreg import VICReg
from vicreg.columns import kind_of
from vicreg.sources import read
from vicreg.table import TableEncoder

NUMBERS = np.random.default_rng(0).normal(size=60)


def encoder(**columns: Any) -> TableEncoder:
    return TableEncoder.fit(read(pd.DataFrame({"x": NUMBERS, **columns})))


def encoded(table: TableEncoder, **columns: Any) -> Any:
    return table.transform(read(pd.DataFrame({"x": NUMBERS, **columns}))).numbers.numpy()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1_02", "10_2", "102"], "category"),  # Python reads all three as 102
        ([1, "1_000"], "category"),
        (["1.5", " 2 ", "-3e4", "nan", ".5"], "number"),
        ([1, "2.5"], "number"),
        (["１"], "category"),
    ],
)
def test_text_is_a_number_where_files_would_have_it_so(values: list[Any], kind: str) -> None:
    array = np.array(values, dtype=object)[:, np.newaxis]
    assert kind_of(array, 0, "x0") == kind
    if all(isinstance(value, str) for value in values):
        assert kind_of(array.astype("U"), 0, "x0") == kind
        plain = array.astype("S") if all(value.isascii() for value in values) else array
        assert kind_of(plain, 0, "x0") == kind


def test_a_column_of_numbers_stays_one() -> None:
    array = np.array([["1.5", "2"], ["3", "7"]] * 30)
    table = TableEncoder.fit(array)
    with pytest.raises(TypeError, match="column 'x0' held numbers .* however: it holds '1_5' now"):
        table.transform(np.array([["1_5", "2"]]))


def test_durations_are_seconds_in_every_form() -> None:
    seconds = np.round(NUMBERS * 1e6) / 1e3
    moments = [dt.timedelta(seconds=second) for second in seconds]
    forms = {
        "pandas": pd.to_timedelta(moments),
        "objects": np.array(moments, dtype=object),
        "numpy": np.array(moments, dtype="m8[us]"),
        "numpy's in objects": np.array(
            [np.timedelta64(one, "us") for one in moments], dtype=object
        ),
    }
    wanted = (seconds - seconds.mean()) / seconds.std()
    for name, column in forms.items():
        table = encoder(b=column)
        assert [one.kind for one in table.columns] == ["number", "duration"], name
        found = encoded(table, b=forms["pandas"])[:, 1]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    gaps = pd.Series(forms["pandas"]).where(np.arange(60) > 5)
    table = encoder(b=gaps)
    assert table.columns[1].parts == ("value", "missing")
    array = np.array(moments, dtype="m8[ms]")[:, np.newaxis]
    assert TableEncoder.fit(array).columns[0].kind == "duration"


def test_categories_may_be_of_anything() -> None:
    days = pd.to_datetime(["2020-01-01", "2021-01-01"] * 30)
    for column in (
        pd.cut(NUMBERS, 4),
        pd.Categorical(days),
        pd.Categorical(days - days[0]),
        pd.Categorical(days.to_period("M")),
        pd.Categorical([("a", 1), ("b", 2)] * 30),
    ):
        table = encoder(b=column)
        assert table.columns[1].kind == "category"
        codes = table.transform(read(pd.DataFrame({"x": NUMBERS, "b": column}))).codes
        assert sorted(set(codes[:, 0].tolist())) == list(range(1, len(column.categories) + 1))
    dates = pa.array(days.date).dictionary_encode()
    assert TableEncoder.fit(read(pa.table({"b": dates}))).columns[0].kind == "category"


def test_durations_of_any_unit_are_what_they_are() -> None:
    for unit in ("Y", "M", "W", "D", "h", "ms", "ns", "as"):
        some = np.arange(60).astype(f"m8[{unit}]")
        some[3] = "NaT"
        scaled = TableEncoder.fit(some[:, np.newaxis]).transform(some[:, np.newaxis]).numbers[:, 0]
        wanted = np.delete(np.arange(60.0), 3)
        wanted = (wanted - wanted.mean()) / wanted.std()
        np.testing.assert_allclose(np.delete(scaled.numpy(), 3), wanted, atol=1e-6)
    far = np.arange(1, 61) * 10**11  # seconds, which microseconds cannot hold
    table = TableEncoder.fit(far.astype("m8[s]")[:, np.newaxis])
    assert table.mean[0] == pytest.approx(far.mean(), rel=1e-12)
    fine = pd.to_timedelta(np.arange(1, 61), unit="ns")
    frame = pd.DataFrame({"b": fine})
    for form in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame)):
        assert TableEncoder.fit(read(form)).mean[0] == pytest.approx(30.5e-9, rel=1e-9)


def test_whole_numbers_and_dates_that_float64_rounds_are_the_same_everywhere() -> None:
    stamps = 1_700_000_000_000_000_000 + np.random.default_rng(0).integers(0, 10**15, 60)
    dates = [dt.date(9999, 12, 31), dt.date(1, 1, 1), *[dt.date(2000, 1, 1)] * 58]
    frame = pl.DataFrame({"stamp": stamps, "date": dates})
    gaps = frame.with_columns(pl.when(pl.int_range(60) > 3).then(pl.col("stamp")).alias("stamp"))
    for one in (frame, gaps):
        wanted = TableEncoder.fit(read(one))
        arrow = one.to_arrow()
        for other in (arrow, arrow.to_pandas(types_mapper=pd.ArrowDtype)):
            found = TableEncoder.fit(read(other))
            assert np.array_equal(found.mean, wanted.mean)
            numbers = found.transform(read(other)).numbers
            assert np.array_equal(numbers, wanted.transform(read(one)).numbers)


def test_what_is_no_text_is_not_taken_for_one() -> None:
    table = encoder(b=["u", "v"] * 30)
    days = pd.to_timedelta(np.arange(60), unit="D")
    for odd, held in (
        ([[1]] * 60, r"list \[1\]"),
        (days, "durations"),
        (pd.Timestamp(0) + days, "dates"),
        (pd.Series([dt.date(2020, 1, 1)] * 60, dtype=object), "date "),
    ):
        with pytest.raises(TypeError, match=f"column 'b' held text .* it holds {held}"):
            encoded(table, b=odd)
    missing = [np.full(60, pd.NaT), np.full(60, None), np.full(60, np.nan)]
    one, other, last = (encoded(table, b=pd.Series(values)) for values in missing)
    assert np.array_equal(one, other)
    assert np.array_equal(last, other)
    dates = TableEncoder.fit(read(pl.DataFrame({"b": pd.Timestamp(0) + days})))
    nothing = pl.DataFrame({"b": [float("nan")] * 60})
    assert (dates.transform(read(nothing)).numbers == 0).all()


def test_bytes_are_the_text_that_they_encode() -> None:
    texts = ["ü", "v", "wide"] * 20
    raw = [text.encode() for text in texts]
    own = read(pl.DataFrame({"b": texts, "x": np.arange(60)}))
    table = TableEncoder.fit(own)
    codes = table.transform(own).codes
    arrow = [
        pa.table({"b": pa.array(raw, kind), "x": np.arange(60)})
        for kind in (pa.binary(), pa.large_binary())
    ]
    for made in (
        *(one({"b": raw, "x": range(60)}) for one in (pd.DataFrame, pl.DataFrame)),
        *arrow,
    ):
        assert TableEncoder.fit(read(made)).columns == table.columns
        assert np.array_equal(table.transform(read(made)).codes, codes)
    plain = np.array([["u"], ["v"], ["w"]] * 20)
    as_bytes = TableEncoder.fit(read(plain.astype("S1")))
    assert as_bytes.columns == TableEncoder.fit(read(plain)).columns
    with pytest.raises(ValueError, match=r"column 'b': text that is bytes must be UTF-8, .*\\xff"):
        table.transform(read(pd.DataFrame({"b": [b"\xff"] * 60, "x": range(60)})))


def test_a_kind_that_is_no_columns_is_named() -> None:
    odd = pa.table({"a": pa.array([1, 2, 3]).cast(pa.decimal256(50, 2))})
    with pytest.raises(TypeError, match=r"column 'a' must hold .*, however: decimal256\(50, 2\)"):
        TableEncoder.fit(read(odd))


def test_numpys_own_dates_and_complex_numbers_among_objects() -> None:
    dates = np.datetime64("2020-01-01") + np.arange(60)
    for unit in ("D", "ns"):
        column = np.empty((60, 1), dtype=object)
        column[:, 0] = list(dates.astype(f"M8[{unit}]"))
        found = TableEncoder.fit(column)
        assert found.columns[0].kind == "datetime"
        plain = TableEncoder.fit(dates[:, np.newaxis])
        numbers = found.transform(column).numbers
        assert np.array_equal(numbers, plain.transform(dates[:, np.newaxis]).numbers)
    column[:, 0] = [np.complex128(1j * one) for one in range(60)]
    with pytest.raises(TypeError, match="column 'x0': argument must be .* however: complex128"):
        TableEncoder.fit(column)


def test_numbers_are_no_durations_and_durations_no_numbers() -> None:
    durations = pd.to_timedelta(NUMBERS, unit="D")
    table = encoder(b=durations)
    with pytest.raises(TypeError, match="column 'b' held durations .* something else now"):
        encoded(table, b=durations.astype(np.int64))
    with pytest.raises(TypeError, match="column 'b' held numbers .* it holds .*imedelta"):
        encoded(encoder(b=NUMBERS), b=durations)
    mixed = np.array([1.0, np.timedelta64(3, "s")] * 30, dtype=object)
    with pytest.raises(TypeError, match="column 'b': argument must be .* however: timedelta64"):
        encoder(b=mixed)


@pytest.mark.parametrize("odd", [np.inf, 7.0, -1.0])
def test_truth_values_stay_true_or_false(odd: float) -> None:
    table = encoder(b=NUMBERS > 0)
    told = np.where(NUMBERS > 0, 1.0, 0.0)
    assert np.array_equal(encoded(table, b=told), encoded(table, b=NUMBERS > 0))
    told[7] = odd
    with pytest.raises(ValueError, match=f"column 'b' held truth values .* it holds {odd:g} now"):
        encoded(table, b=told)


def test_dates_too_far_away_are_refused() -> None:
    far = np.array(["300000-01-01", "2000-01-01"], dtype="M8[s]")[:, np.newaxis]
    with pytest.raises(ValueError, match="too large: column 'x0', a date beyond the year 294,246"):
        TableEncoder.fit(far)
    objects = np.empty((2, 1), dtype=object)
    objects[:, 0] = list(far[:, 0])
    objects[0, 0] = np.datetime64("300000-01-01", "s")
    with pytest.raises(ValueError, match="too large: column 'x0', a date beyond the year 294,246"):
        TableEncoder.fit(objects)
    near = np.array(["1999-01-01", "2000-01-01", "NaT"], dtype="M8[M]")[:, np.newaxis]
    assert TableEncoder.fit(near).columns[0].kind == "datetime"


def test_a_row_of_weight_0_does_not_say_what_a_column_is() -> None:
    table = pd.DataFrame({"a": [*NUMBERS, "oops"], "b": [*NUMBERS[::-1], 0.0]})
    model = VICReg(n_components=4, projector=(8,), steps=5, random_state=0)
    for weights in (np.ones(60), np.linspace(0.1, 1, 60)):
        model.fit(table, sample_weight=np.append(weights, 0))
        assert [one.kind for one in model.embedder_.table.columns] == ["number", "number"]
    model.fit(table)
    assert model.notes_[0].startswith("dropped 1 identifier-like column: 'a'")
