"""A table's columns, one by one: what they hold, as floats, parts of dates, or text."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

import narwhals.stable.v2 as nw
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from vicreg.sources import Block, Source

__all__ = [
    "DATE_PARTS",
    "NUMBER",
    "Column",
    "Kind",
    "is_missing",
    "kind_of",
    "looks_like_numbers",
    "names_of_places",
    "numbers_of",
    "parts_of",
    "texts_of",
    "too_large",
]

Kind = Literal["number", "boolean", "duration", "datetime", "category"]

#: A number as files have it. Python's own rule takes 1_000 too.
NUMBER = re.compile(
    r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|infinity|nan)\s*",
    re.ASCII | re.IGNORECASE,
)

FLOATS = (nw.Float32, nw.Float64)
SECONDS_A_DAY = 86_400
#: Of NumPy's units, but for months and years, of which no two are alike.
SECONDS = {
    "W": 604_800,
    "D": SECONDS_A_DAY,
    "h": 3_600,
    "m": 60,
    "s": 1,
    "ms": 1e-3,
    "us": 1e-6,
    "ns": 1e-9,
    "ps": 1e-12,
    "fs": 1e-15,
    "as": 1e-18,
}
DATE_PARTS = ("time", "day_sin", "day_cos", "week_sin", "week_cos", "year_sin", "year_cos")


@dataclass(frozen=True)
class Column:
    """One column of the table that is kept.

    ``parts`` are the numbers it becomes (``"value"``, ``"missing"``, parts of a date), in the order
    of the encoder's arrays; ``categories`` are the values with codes 1, 2, ...; None stands for a
    missing value among them.
    """

    name: str
    position: int
    kind: Kind
    parts: tuple[str, ...] = ()
    categories: tuple[str | None, ...] = ()


def names_of_places(
    columns: Iterable[tuple[str, int]], names: Sequence[str] | None
) -> dict[str, str]:
    """What columns called x0, x1, ... by their places are really called; nothing if they are not.

    A matrix of an AnnData has no names of its own; ``names`` are its genes', in their order, and
    ``columns`` some of the columns with their places.

    Examples
    --------
    >>> from vicreg.columns import names_of_places
    >>> names_of_places([("x0", 0), ("x2", 2)], ["CD3", "CD4", "CD8"])
    {'x0': 'CD3', 'x1': 'CD4', 'x2': 'CD8'}
    >>> names_of_places([("CD3", 0)], ["CD3", "CD4"])
    {}
    """
    if names is None or any(name != f"x{place}" for name, place in columns):
        return {}
    return {f"x{place}": str(name) for place, name in enumerate(names)}


def kind_of(source: Source, position: int, name: str) -> Kind | None:
    """What a column holds; None if it holds nothing at all."""
    if not isinstance(source, nw.DataFrame):
        by_kind: dict[str, Kind] = {"b": "boolean", "m": "duration", "M": "datetime"}
        if source.dtype.kind in "OUS":
            return _kind_of_objects(np.asarray(source[:, position]), name)
        return by_kind.get(source.dtype.kind, "number")
    series = source.get_column(name)
    dtype = series.dtype
    if dtype.is_numeric():
        return "number"
    if dtype == nw.Boolean:
        return "boolean"
    if dtype == nw.Duration:
        return "duration"
    if dtype in (nw.Datetime, nw.Date, nw.Time):
        return "datetime"
    if dtype in (nw.String, nw.Categorical, nw.Enum, nw.Binary):
        return "category"
    if series.is_null().all():
        return None
    own: object = dtype
    if dtype == nw.Unknown:
        native = series.to_native()
        own = getattr(native, "dtype", None) or getattr(native, "type", dtype)  # PyArrow's
        if "binary" in str(own):  # other kinds than narwhals knows
            return "category"
    if dtype == nw.Object:
        return _kind_of_objects(np.asarray(series.to_list(), dtype=object), name)
    raise TypeError(
        f"column {name!r} must hold numbers, text, dates or truth values, however: {own}; "
        "convert it to one of these"
    )


def _kind_of_objects(values: NDArray[Any], name: str) -> Kind | None:
    present = [value for value in values.tolist() if not is_missing(value)]
    if not present:
        return None
    if all(isinstance(value, bool | np.bool_) for value in present):
        return "boolean"
    if all(isinstance(value, date | time | np.datetime64) for value in present):
        return "datetime"
    if all(isinstance(value, timedelta | np.timedelta64) for value in present):
        return "duration"
    for value in present:
        if not _is_plain(value):
            raise TypeError(
                f"column {name!r}: argument must be a string or a number, "
                f"however: {type(value).__name__}"
            )
    if not all(_is_number(value) for value in present if isinstance(value, str | bytes)):
        return "category"
    try:
        np.asarray(present, dtype=object).astype(np.float64)
    except OverflowError:
        raise ValueError(too_large(name)) from None
    return "number"


def numbers_of(
    source: Block,
    positions: Sequence[int],
    names: Sequence[str],
    first_row: int,
    *,
    refuse_infinite: bool = True,
) -> NDArray[np.float64]:
    """Columns as float64 (rows, columns), NaN where missing; refuses text, infinities if asked."""
    if isinstance(source, np.ndarray) and source.dtype.kind not in "OUSMm":
        everything = len(positions) == source.shape[1]
        values = (source if everything else source[:, positions]).astype(np.float64)
    else:
        values = np.empty((source.shape[0], len(positions)))
        left: Sequence[int] = range(len(positions))
        if not isinstance(source, np.ndarray):
            left = _fill_floats(source, positions, names, values)
        for place in left:
            position = positions[place]
            values[:, place] = _as_floats(source, position, names[position])
    if not refuse_infinite:
        return values
    with np.errstate(over="ignore"):
        finite_sum = np.isfinite(values.sum(dtype=np.float64))
    if not finite_sum and np.isinf(values).any():
        place = int(np.isinf(values).any(axis=0).argmax())
        row = first_row + int(np.isinf(values[:, place]).argmax())
        raise ValueError(too_large(names[positions[place]], f", row {row}"))
    return values


def too_large(name: object, told: str = "") -> str:
    """What to say of a column whose numbers cannot be worked with."""
    return (
        f"Input X contains infinity or a value too large: column {name!r}{told}. "
        "Replace it, or mark it as missing"
    )


def _fill_floats(
    frame: nw.DataFrame[Any],
    positions: Sequence[int],
    names: Sequence[str],
    values: NDArray[np.float64],
) -> Sequence[int]:
    """Set the columns that are floats, all in one go; places of those that are left."""
    schema = frame.schema
    floats = [place for place, at in enumerate(positions) if schema[names[at]] in FLOATS]
    if not floats:
        return range(len(positions))
    together = frame[:, [positions[place] for place in floats]].to_numpy()
    if together.dtype.kind != "f":  # objects: pandas' own missing values are among them
        return range(len(positions))
    values[:, floats] = together
    return sorted(set(range(len(positions))) - set(floats))


def _as_floats(
    source: Block, position: int, name: str, *, held: str = "numbers"
) -> NDArray[np.float64]:
    if isinstance(source, np.ndarray):
        column = source[:, position]
        if column.dtype.kind in "biuf":
            return column.astype(np.float64)
    else:
        series = source.get_column(name)
        if series.dtype.is_numeric() or series.dtype == nw.Boolean:
            return _as_float64(series)
        column = np.asarray(series.to_list(), dtype=object)
    missing = np.array([is_missing(value) for value in column.tolist()], dtype=bool)
    for value in column[~missing].tolist():
        if not _is_number(value):
            raise TypeError(
                f"column {name!r} held {held} when the model was fitted, "
                f"however: it holds {value!r} now"
            )
    floats = np.full(len(column), np.nan)
    try:
        floats[~missing] = column[~missing].astype(np.float64)
    except OverflowError:
        raise ValueError(too_large(name)) from None
    return floats


def _as_float64(series: nw.Series[Any]) -> NDArray[np.float64]:
    """A series of numbers, NaN where missing."""
    try:
        return np.asarray(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
    except ValueError:  # PyArrow's, of whole numbers that float64 has to round
        return np.array([math.nan if is_missing(one) else float(one) for one in series.to_list()])


def _seconds(durations: NDArray[np.timedelta64]) -> NDArray[np.float64]:
    """Of durations in any unit; NaN where missing."""
    microseconds = durations.astype("m8[us]")
    seconds = microseconds.astype(np.int64) / 1e6
    # Of a finer unit there may be something between, of a coarser one they may wrap around.
    unit, count = np.datetime_data(durations.dtype)
    is_exact = microseconds.astype(durations.dtype) == durations
    if unit in SECONDS and not is_exact.all():
        seconds = np.where(is_exact, seconds, durations.astype(np.int64) * (count * SECONDS[unit]))
    return np.where(np.isnat(durations), np.nan, seconds)


def parts_of(source: Block, position: int, name: str, kind: Kind) -> dict[str, NDArray[np.float64]]:
    """The numbers that a truth value, a duration or a date becomes."""
    if kind == "boolean":
        return {"value": _truth(source, position, name)}
    if kind == "duration":
        return {"value": _durations(source, position, name)}
    seconds = _timestamps(source, position, name)
    days = np.floor(seconds / SECONDS_A_DAY)
    of_day = (seconds - days * SECONDS_A_DAY) / SECONDS_A_DAY
    of_week = (days % 7) / 7
    of_year = (days % 365.2425) / 365.2425
    values = [seconds]
    for share in (of_day, of_week, of_year):
        values += [np.sin(2 * math.pi * share), np.cos(2 * math.pi * share)]
    return dict(zip(DATE_PARTS, values, strict=True))


def _truth(source: Block, position: int, name: str) -> NDArray[np.float64]:
    """0 and 1; NaN where missing."""
    values = _as_floats(source, position, name, held="truth values")
    odd = ~np.isnan(values) & (values != 0) & (values != 1)
    if odd.any():
        raise ValueError(
            f"column {name!r} held truth values when the model was fitted, "
            f"however: it holds {values[odd][0]:g} now"
        )
    return values


def _durations(source: Block, position: int, name: str) -> NDArray[np.float64]:
    """Seconds; NaN where missing."""
    if isinstance(source, np.ndarray):
        if source.dtype.kind == "m":
            return _seconds(source[:, position])
        values = source[:, position].tolist()
    else:
        series = source.get_column(name)
        if series.dtype == nw.Duration:
            durations = series.to_numpy()
            if durations.dtype.kind == "m":
                return _seconds(durations)
        values = series.to_list()
    if not all(
        is_missing(value) or isinstance(value, timedelta | np.timedelta64) for value in values
    ):
        raise TypeError(
            f"column {name!r} held durations when the model was fitted, "
            "however: it holds something else now"
        )
    return _seconds(np.array([None if is_missing(v) else v for v in values], dtype="m8[us]"))


def _timestamps(source: Block, position: int, name: str) -> NDArray[np.float64]:
    """Seconds since 1970, UTC; NaN where missing."""
    if isinstance(source, np.ndarray):
        if source.dtype.kind == "M":
            return _since_1970(source[:, position], name)
        if source.dtype.kind == "O":
            return _moments(source[:, position].tolist(), name)
    else:
        series = source.get_column(name)
        if series.dtype in (nw.Object, nw.Time):
            return _moments(series.to_list(), name)
        if series.dtype == nw.Date:
            series = series.cast(nw.Datetime("us"))
        if series.dtype == nw.Datetime:
            return _as_float64(series.dt.timestamp("us")) / 1e6
        if _holds_nothing(series):
            return np.full(source.shape[0], np.nan)
    raise TypeError(_no_dates(name))


def _since_1970(given: NDArray[np.datetime64], name: str) -> NDArray[np.float64]:
    """Seconds of NumPy's own dates, in any unit."""
    moments = given.astype("M8[us]")
    # Of a coarser unit they may be too far away, and would wrap around.
    coarser = np.datetime_data(given.dtype)[0] not in ("us", "ns", "ps", "fs", "as")
    if coarser and not np.array_equal(moments.astype(given.dtype), given, equal_nan=True):
        raise ValueError(too_large(name, ", a date beyond the year 294,246"))
    return _seconds(moments.astype("m8[us]"))


def _moments(values: Sequence[Any], name: str) -> NDArray[np.float64]:
    """Seconds since 1970, UTC, of dates and times; of a time of day since midnight."""
    if not all(
        is_missing(value) or isinstance(value, date | time | np.datetime64) for value in values
    ):
        raise TypeError(_no_dates(name))
    return np.array([_moment(value, name) for value in values], dtype=np.float64)


def _moment(value: date | time | np.datetime64 | None, name: str) -> float:
    if value is None or is_missing(value):
        return math.nan
    if isinstance(value, np.datetime64):
        return float(_since_1970(np.array([value]), name)[0])
    if isinstance(value, time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)
    return value.timestamp()


def _no_dates(name: str) -> str:
    return (
        f"column {name!r} held dates when the model was fitted, "
        "however: it holds something else now"
    )


def looks_like_numbers(texts: Iterable[str | None]) -> bool:
    """Whether all of the texts are what :func:`texts_of` makes of numbers.

    Examples
    --------
    >>> from vicreg.columns import looks_like_numbers
    >>> looks_like_numbers(["7", "1.5", None]), looks_like_numbers(["007", "7"])
    (True, False)
    """
    return all(
        text is None or (NUMBER.fullmatch(text) and _text(float(text)) == text) for text in texts
    )


def texts_of(source: Block, position: int, name: str) -> list[str | None]:
    """A column's values as text, None where missing; 3.0 and 3 are the same text.

    Raises
    ------
    TypeError
        If one is neither text nor a number.
    """
    if isinstance(source, np.ndarray):
        return [_text(_plain(value, name)) for value in source[:, position].tolist()]
    series = source.get_column(name)
    if series.dtype in (nw.Datetime, nw.Date, nw.Duration) and not series.is_null().all():
        held = "durations" if series.dtype == nw.Duration else "dates"
        raise TypeError(_no_text(name, held))
    if series.dtype in (nw.Categorical, nw.Enum):  # of whatever: intervals, dates, tuples
        return [_text(_decoded(value, name)) for value in series.to_list()]
    return [_text(_plain(value, name)) for value in series.to_list()]


def _plain(value: Any, name: str) -> Any:
    """A value that is text, a number or missing; others are refused."""
    if not (_is_plain(value) or is_missing(value)):
        raise TypeError(_no_text(name, f"{type(value).__name__} {value!r}"))
    return _decoded(value, name)


def _decoded(value: Any, name: str) -> Any:
    """Bytes as text, which some write it as; what is none stays as it is."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(
            f"column {name!r}: text that is bytes must be UTF-8, however: {value[:40]!r}; "
            "decode it, or leave the column out"
        ) from None


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _no_text(name: str, held: str) -> str:
    return f"column {name!r} held text when the model was fitted, however: it holds {held} now"


def _is_plain(value: Any) -> bool:
    """Whether a value is text or a number, and no date, duration, list or other object."""
    if isinstance(value, str | bytes | bool | int | float):
        return True
    if isinstance(value, np.generic):
        return not isinstance(value, np.timedelta64 | np.datetime64 | np.complexfloating)
    return hasattr(value, "__float__") and not isinstance(value, np.ndarray)


def _holds_nothing(series: nw.Series[Any]) -> bool:
    """Whether all of it is missing, NaN of floats too."""
    if series.dtype in FLOATS:
        return bool(np.isnan(_as_float64(series)).all())
    return bool(series.is_null().all())


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN or NaT of any kind, pandas' NA, or NumPy's masked.

    Examples
    --------
    >>> from decimal import Decimal
    >>> from vicreg.columns import is_missing
    >>> is_missing(None), is_missing(Decimal("NaN")), is_missing("nan"), is_missing([1.0])
    (True, True, False, False)
    """
    # pandas' own marks are known by name, so that pandas need not be imported.
    if value is None or type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):
        return True
    try:
        return bool(value != value)  # what equals nothing, not even itself
    except (TypeError, ValueError, ArithmeticError):  # an array; a decimal that signals
        return False


def _is_number(value: Any) -> bool:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        return NUMBER.fullmatch(value) is not None
    try:
        float(value)
    except OverflowError:  # too large a whole number
        return True
    except (ValueError, TypeError):
        return False
    return not isinstance(value, np.timedelta64)
