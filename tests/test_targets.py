"""What was given as labels, in all the forms in which users have them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from vicreg.targets import Target

TEXTS = ["a", "b", None, "a", "b", "nan"]
AMOUNTS = [14.23, 13.2, float("nan"), 13.16, 14.37, 13.24]


@pytest.mark.parametrize(
    "given",
    [
        TEXTS,
        tuple(TEXTS),
        ["a", "b", float("nan"), "a", "b", "nan"],
        np.array(TEXTS, dtype=object),
        pd.Series(TEXTS),
        pd.Series(TEXTS, dtype="string"),
        pd.Categorical(TEXTS),
        pl.Series(TEXTS),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS]),
        np.ma.array(
            ["a", "b", "z", "a", "b", "nan"], mask=[False, False, True, False, False, False]
        ),
    ],
    ids=lambda given: type(given).__name__,
)
def test_texts_are_classes_and_only_what_is_missing_is_none(given: Any) -> None:
    target = Target.of(given, 6)
    assert target.known.tolist() == [True, True, False, True, True, True]
    assert target.values[target.known].tolist() == ["a", "b", "a", "b", "nan"]


@pytest.mark.parametrize(
    "given",
    [
        AMOUNTS,
        [None if value != value else Decimal(str(value)) for value in AMOUNTS],
        pd.Series(AMOUNTS).astype(object),
        pd.Series(AMOUNTS, dtype="Float64"),
        pl.Series(AMOUNTS),
        pa.array(AMOUNTS, from_pandas=True),
        np.ma.array(AMOUNTS, mask=np.isnan(AMOUNTS)),
    ],
    ids=["list", "Decimal", "objects", "nullable", "polars", "arrow", "masked"],
)
def test_decimal_numbers_are_no_classes_whatever_holds_them(given: Any) -> None:
    target = Target.of(given, 6)
    assert target.is_number
    assert target.known.sum() == 5
    assert target.values[target.known].tolist() == pytest.approx([14.23, 13.2, 13.16, 14.37, 13.24])


def test_a_mask_hides_a_class() -> None:
    y = np.array([0, 1, 2, 0, 1, 2])
    target = Target.of(np.ma.array(y, mask=y == 2), 6)
    assert target.known.tolist() == [True, True, False, True, True, False]
    assert target.values[:2].tolist() == ["0", "1"]
