"""One digest for one table, in whatever form; another one for whatever differs."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from vicreg import VICReg, load
from vicreg.fingerprint import fingerprint
from vicreg.sources import read

TABLE: dict[str, list[Any]] = {
    "whole": [1, 2, 3, 4],
    "decimal": [0.1, None, -0.0, 1e300],
    "word": ["x", None, "ü, y", 'say "z"'],
    "truth": [True, False, True, True],
    "day": [datetime.date(2020, 2, 29), datetime.date(1950, 1, 1), None, datetime.date(2024, 1, 1)],
    "nothing": [None] * 4,
}


def arrow(**changed: Any) -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.table({**TABLE, **changed})


def digest(data: object) -> str:
    return str(fingerprint(read(data))["sha256"])


def test_a_csv_file_and_a_parquet_file_of_a_table_have_one_digest(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.csv
    import pyarrow.parquet

    # The same content in other types: whole numbers as decimals, dates as moments.
    pyarrow.csv.write_csv(arrow(), tmp_path / "t.csv")
    pyarrow.parquet.write_table(arrow(), tmp_path / "t.parquet")
    wanted = fingerprint(read(arrow()))
    assert (wanted["rows"], wanted["columns"]) == (4, 6)
    assert fingerprint(read(tmp_path / "t.csv")) == wanted
    assert fingerprint(read(tmp_path / "t.parquet")) == wanted


def test_frames_of_every_library_have_one_digest() -> None:
    pl = pytest.importorskip("polars")
    wanted = digest(arrow())
    assert digest(pl.DataFrame(TABLE)) == wanted
    frame = pd.DataFrame({**TABLE, "day": pd.to_datetime(pd.Series(TABLE["day"]))})
    assert digest(frame) == wanted
    assert digest(frame.astype({"word": "category", "whole": np.float32})) == wanted


@pytest.mark.parametrize("kind", [float, "datetime64[ns]", "string"])
def test_a_column_without_a_value_is_of_no_kind(kind: Any) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": pd.Series([None, None], dtype=kind)})
    assert digest(frame) == digest(pd.DataFrame({"a": [1, 2], "b": [None, None]}))


@pytest.mark.parametrize(
    "changed",
    [
        {"whole": [1, 2, 3, 5]},
        {"whole": ["1", "2", "3", "4"]},
        {"whole": [1, 2, 3, None]},
        {"decimal": [0.1, None, 0.0, np.nextafter(1e300, 0)]},
        {"word": ["x", "", "ü, y", 'say "z"']},
        {"word": ["x", None, "u, y", 'say "z"']},
        {"truth": [1, 0, 1, 1]},
        {"day": [None, *TABLE["day"][1:]]},
        {"nothing": [None, None, None, 0]},
        {"more": [1, 2, 3, 4]},
    ],
    ids=str,
)
def test_another_value_or_kind_is_another_table(changed: dict[str, Any]) -> None:
    assert digest(arrow(**changed)) != digest(arrow())


def test_order_and_names_are_of_the_table() -> None:
    frame = pd.DataFrame(TABLE).drop(columns="day")
    found = [
        digest(one)
        for one in (
            frame,
            frame[::-1],
            frame[list(frame)[::-1]],
            frame.rename(columns={"whole": "decimal", "decimal": "whole"}),
            frame[:3],
        )
    ]
    assert len(set(found)) == len(found)


def test_texts_do_not_run_into_each_other() -> None:
    one = pd.DataFrame({"a": ["x,y", "z"], "b": ["1", "2"]})
    other = pd.DataFrame({"a": ["x", "y,z"], "b": ["1", "2"]})
    across = pd.DataFrame({"a": ["1", "2"], "b": ["x,y", "z"]})
    assert len({digest(one), digest(other), digest(across)}) == 3


def test_numbers_count_as_float64_with_one_zero_and_one_nan() -> None:
    X = np.array([[0.5, 0.0], [-3.0, np.nan]])
    other_nan = X.copy()
    other_nan[1, 1] = np.frombuffer(b"\x01\x00\x00\x00\x00\x00\xf8\xff", dtype="<f8")[0]
    for same in (
        X.astype(np.float32),
        np.asfortranarray(X),
        X.astype(">f8"),
        np.where(X == 0, -0.0, X),
        other_nan,
        X.astype(object),
    ):
        assert digest(same) == digest(X)
    assert digest(np.full((1, 1), 0.1)) != digest(np.full((1, 1), 0.1, dtype=np.float32))


def test_a_sparse_array_has_the_digest_of_the_dense_one() -> None:
    X = scipy.sparse.csr_array(scipy.sparse.random(300, 40, 0.1, random_state=0))
    assert digest(X) == digest(X.toarray())


def test_blocks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"a": np.arange(50.0), "b": [f"word {i % 7}" for i in range(50)]})
    wanted = digest(table), digest(table.to_numpy())
    monkeypatch.setattr("vicreg.sources.FRAME_BLOCK", 14)
    monkeypatch.setattr("vicreg.sources.ARRAY_BLOCK", 6)
    assert (digest(table), digest(table.to_numpy())) == wanted


def test_the_digest_can_be_made_without_this_package() -> None:
    """Models and studies keep it: it must not change."""
    numbers = np.array([[1.0, np.nan], [2.0, np.nan]])
    texts = hashlib.sha256(b'"x","\\u00fc",').hexdigest()
    told = [
        2,
        ["a", "b"],
        ["number", "category"],
        hashlib.sha256(numbers.tobytes()).hexdigest(),
        [texts],
    ]
    wanted = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    assert digest(pd.DataFrame({"a": [1, 2], "b": ["x", "ü"]})) == wanted


def test_the_table_is_left_as_it_is() -> None:
    X = np.array([[-0.0, 1.0], [np.nan, 2.0]])
    before = X.tobytes()
    digest(X)
    assert X.tobytes() == before


def test_a_model_keeps_the_fingerprint_of_its_table(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    pd.DataFrame(X, columns=["a", "b", "c"]).to_csv(tmp_path / "t.csv", index=False)
    model = VICReg(4, hidden=(8,), projector=(8,), steps=2, random_state=0).fit(tmp_path / "t.csv")
    model.save(tmp_path / "m")
    assert load(tmp_path / "m").fitted_on_ == fingerprint(read(tmp_path / "t.csv"))
    model.fit(X[:30])
    assert model.fitted_on_ == fingerprint(X[:30])


def test_a_row_of_no_weight_may_hold_what_a_fit_would_refuse() -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    X[5, 1] = np.inf
    weights = np.where(np.arange(40) == 5, 0.0, 1.0)
    model = VICReg(4, hidden=(8,), projector=(8,), steps=2, random_state=0)
    model.fit(X, sample_weight=weights)
    assert model.fitted_on_ == fingerprint(X)
    with pytest.raises(ValueError, match="infinity"):
        model.fit(X)
