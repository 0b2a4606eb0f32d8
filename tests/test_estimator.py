"""The scikit-learn face: all conventions, and a row's embedding that is its own."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import vicreg.inference
import vicreg.precision
from vicreg import VICReg, evaluate, load, tune
from vicreg.config import PRESETS, Config, preset
from vicreg.inference import BLOCK

SMALL: dict[str, Any] = {
    "n_components": 8,
    "hidden": (16,),
    "projector": (16, 16),
    "steps": 20,
    "random_state": 0,
    "n_threads": 1,
}
WINE = load_wine(as_frame=True).data


def small(**settings: Any) -> VICReg:
    return VICReg(**{**SMALL, **settings})


def mixed(n: int = 700) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": random.normal(size=n),
            "b": np.where(random.random(n) < 0.1, np.nan, random.normal(size=n)),
            "word": random.choice(["x", "y", "z"], n),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 900, n), "D"),
            "flag": random.random(n) < 0.3,
        }
    )


def test_estimator_passes_all_of_scikit_learns_checks() -> None:
    model = VICReg(n_components=8, hidden=(16,), projector=(16, 16), steps=20)
    # Rows drawn by weight are equivalent to repeated rows on average, not draw by draw.
    drawn = {f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")}
    results = check_estimator(
        model,
        on_fail=None,
        on_skip=None,
        expected_failed_checks=dict.fromkeys(drawn, "rows are drawn by weight"),
    )
    assert len(results) > 40
    not_passed = {one["check_name"]: one for one in results if one["status"] != "passed"}
    assert all(not_passed.pop(name)["status"] == "xfail" for name in drawn)
    # Only the array API check may be skipped: it asks for an environment variable of scipy's.
    assert set(not_passed) <= {"check_array_api_input"}, not_passed
    for one in not_passed.values():
        assert one["status"] == "skipped"
        assert "SCIPY_ARRAY_API" in str(one["exception"])


def test_arguments_and_defaults_are_the_configurations() -> None:
    signature = inspect.signature(VICReg.__init__).parameters
    arguments = {name: one.default for name, one in signature.items() if name != "self"}
    runtime = {
        "device": "auto",
        "n_threads": None,
        "precision": "auto",
        "verbose": False,
        "random_state": None,
    }
    wanted = {field.name: field.default for field in dataclasses.fields(Config)}
    assert arguments == {**wanted, **runtime}


def test_every_argument_is_documented() -> None:
    told = inspect.getdoc(VICReg)
    assert told is not None
    parameters = told.split("Parameters\n")[1].split("Attributes\n")[0]
    for name in inspect.signature(VICReg.__init__).parameters:
        assert name == "self" or name in parameters, name


@pytest.mark.parametrize(
    "table", [load_digits().data.astype(float), mixed(1797)], ids=["numbers", "mixed"]
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"shared_weights": False},
        {"hidden": (300,)},
        {"hidden": (255,), "n_components": 10},
        {"hidden": (256,), "n_components": 512, "detail_share": "auto", "detail_waves": 512},
    ],
)
@pytest.mark.parametrize("library", ["fastest", "default", "float64"])
def test_a_row_is_embedded_to_the_same_bits_in_any_company(
    table: Any, settings: dict[str, Any], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library != "fastest":  # as on a processor where oneDNN would round
        monkeypatch.setattr(vicreg.precision, "onednn_is_exact", lambda: False)
    if library == "float64":  # as if no shapes were exact
        monkeypatch.setattr(vicreg.inference, "_places_are_alike", lambda *_: False)
    model = small(**settings).fit(table)
    whole = model.transform(table)
    random = np.random.default_rng(0)

    def rows(index: np.ndarray) -> Any:
        return table[index] if isinstance(table, np.ndarray) else table.iloc[index]

    order = random.permutation(1797)
    assert np.array_equal(model.transform(rows(order)), whole[order])
    for size in (1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 1500):
        chosen = random.choice(1797, size, replace=False)
        assert np.array_equal(model.transform(rows(chosen)), whole[chosen]), size


def test_clone_pipeline_and_fit_transform_agree() -> None:
    model = small()
    Z = model.fit_transform(WINE)
    assert Z.shape == (178, 8)
    assert Z.dtype == np.float32
    assert np.array_equal(clone(model).fit(WINE).transform(WINE), Z)
    piped = make_pipeline(StandardScaler(), small()).fit_transform(WINE)
    assert np.allclose(piped, Z, atol=0.1)


def test_generators_and_seeds_decide_the_fit() -> None:
    one, again, other = (
        small(random_state=np.random.RandomState(seed)).fit_transform(WINE) for seed in (0, 0, 1)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_output_containers_keep_names_and_index() -> None:
    frame = WINE.set_index(pd.Index([f"w{i}" for i in range(len(WINE))]))
    Z = small().set_output(transform="pandas").fit_transform(frame)
    assert isinstance(Z, pd.DataFrame)
    assert list(Z.columns) == [f"vicreg{i}" for i in range(8)]
    assert Z.index.equals(frame.index)
    model = small().fit(WINE)
    assert list(model.get_feature_names_out()) == list(Z.columns)
    Z_polars = model.set_output(transform="polars").transform(WINE)
    assert isinstance(Z_polars, pl.DataFrame)
    assert Z_polars.columns == list(Z.columns)


def test_libraries_sparse_matrices_and_files_give_the_same_embedding(tmp_path: Path) -> None:
    wanted = small().fit_transform(WINE.to_numpy())
    path = tmp_path / "wine.parquet"
    pyarrow.parquet.write_table(pa.Table.from_pandas(WINE), path)
    for given in (WINE, pl.from_pandas(WINE), pa.Table.from_pandas(WINE), path, str(path)):
        assert np.array_equal(small().fit_transform(given), wanted)
    sparse = scipy.sparse.csr_matrix(WINE.to_numpy())
    assert np.array_equal(small().fit_transform(sparse), wanted)


def test_fewer_rows_than_a_batch_lower_it_with_a_note() -> None:
    model = small(batch_size=256).fit(WINE)
    assert model.notes_ == ["batch_size lowered from 256 to 178: there are no more training rows"]
    assert model.embedder_.config.batch_size == 178
    assert model.batch_size == 256


def test_separate_networks_give_the_mean_of_both_encoders() -> None:
    model = small(shared_weights=False).fit(WINE)
    network, rows = model.embedder_.network, model.embedder_.table.transform(WINE.to_numpy())
    first, second = (encoder.embed(rows).detach().numpy() for encoder in network._encoders)
    np.testing.assert_allclose(model.transform(WINE), (first + second) / 2, atol=1e-4)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_fit(name: str) -> None:
    Z = VICReg(**{**preset(name), "steps": 200}, random_state=0).fit_transform(WINE)
    assert np.isfinite(Z).all()


def test_pickle_keeps_the_fitted_model() -> None:
    model = small().fit(WINE)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).transform(WINE), model.transform(WINE))


def test_unfitted_model_refuses() -> None:
    with pytest.raises(NotFittedError):
        small().transform(WINE)
    with pytest.raises(NotFittedError):
        small().save("nowhere")


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (WINE.iloc[:, :-1], "now missing:\n- proline"),
        (WINE.rename(columns={"ash": "sah"}), "unseen at fit time:\n- sah"),
        (WINE.iloc[:, ::-1], "must be in the same order"),
        (WINE.to_numpy()[:, :5], "has 5 features, but VICReg is expecting 13 features"),
        (WINE.set_axis(["alcohol"] * 13, axis=1), "unique, however: 'alcohol' more than once"),
        (WINE.assign(ash="text"), "column 'ash' held numbers.*'text' now"),
        (WINE.assign(ash=np.inf), "infinity.*column 'ash', row 0"),
        (WINE.iloc[:0], "at least one row"),
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_other_columns_at_transform_are_refused(new: Any, message: str) -> None:
    model = small(steps=2).fit(WINE)
    with pytest.raises((ValueError, TypeError), match=message):
        model.transform(new)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (WINE.iloc[:0], "at least one row"),
        (WINE.iloc[:1], "at least two rows.*n_samples=1"),
        (np.ones((20, 3)), "no column to learn from: dropped 3 constant columns"),
        (np.full((20, 2), np.nan), "no column to learn from: dropped 2 empty columns"),
        (np.array([[1.0, np.inf]] * 9), "infinity.*column 'x1', row 0"),
    ],
)
def test_tables_that_cannot_be_learnt_are_refused(table: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().fit(table)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1}, "lr must be .*however: lr=-1"),
        ({"device": "abacus"}, "device must be 'auto', 'cpu' or 'cuda', however: device='abacus'"),
        ({"n_threads": 0}, "n_threads must be None or an integer at least 1, however: n_threads=0"),
    ],
)
def test_bad_arguments_are_refused_at_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**settings).fit(WINE)


def test_an_empty_column_is_dropped_with_a_note() -> None:
    model = small(batch_size=64).fit(WINE.assign(nothing=np.nan))
    assert model.notes_ == ["dropped 1 empty column: 'nothing'"]
    assert model.n_features_in_ == 14


@pytest.mark.parametrize("names", [range(6), pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]])])
def test_columns_may_be_named_by_numbers_or_tuples(names: Any, tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(300, 6))
    data[:, 5] = 1
    frame = pd.DataFrame(data, columns=names)
    model = VICReg(**SMALL).fit(frame)
    np.testing.assert_array_equal(model.transform(frame), VICReg(**SMALL).fit_transform(data))
    last = frame.columns.tolist()[5]
    assert model.notes_[0] == f"dropped 1 constant column: {str(last)!r}"
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").transform(frame), model.transform(frame))
    card = evaluate(VICReg(**SMALL), frame, data[:, 0] > 0, controls=False)
    card.to_html(tmp_path / "report.html")
    assert card.model.transform(frame).shape[0] == 300


def test_a_fit_that_fails_leaves_the_model_as_it_was() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 5)), columns=list("abcde"))
    model = VICReg(**SMALL).fit(frame)
    wanted = model.transform(frame)
    for bad in (frame[["a", "b"]].assign(a=np.inf), frame.to_numpy()[:1]):
        with pytest.raises(ValueError, match="infinity|two rows"):
            model.fit(bad)
        np.testing.assert_array_equal(model.transform(frame), wanted)
        assert model.get_feature_names_out().shape == (wanted.shape[1],)
    model.fit(frame.to_numpy())
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("given", [{"n_threads": "2"}, {"n_threads": 1.5}, {"n_threads": True}])
def test_threads_are_a_whole_number(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="n_threads must be None or an integer at least 1"):
        VICReg(**SMALL | given).fit(np.eye(9))
    with pytest.raises(TypeError, match="device must be 'auto', 'cpu' or 'cuda', however: device="):
        VICReg(**SMALL, device=None).fit(np.eye(9))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "names", [range(6), [("a", k) for k in range(6)]], ids=["numbers", "levels"]
)
def test_columns_whose_names_are_no_text_are_known_again(names: Any) -> None:
    X = np.random.default_rng(0).normal(size=(60, 6))
    frame = pd.DataFrame(
        X, columns=pd.MultiIndex.from_tuples(names) if names != range(6) else names
    )
    model = VICReg(n_components=4, projector=(8,), steps=5, random_state=0).fit(frame)
    wanted = model.transform(frame)
    assert np.array_equal(model.transform(X), wanted)
    for other in (frame.iloc[:, ::-1], frame.set_axis([7, *range(1, 6)], axis=1)):
        with pytest.raises(
            ValueError, match="columns of the fit in their order, however: column 0"
        ):
            model.transform(other)
    array = VICReg(n_components=4, projector=(8,), steps=5, random_state=0).fit(X)
    assert np.array_equal(array.transform(frame), wanted)


def test_an_index_goes_along_with_the_second_table_alone() -> None:
    X = np.random.default_rng(0).normal(size=(60, 6))
    model: Any = VICReg(n_components=4, projector=(8,), steps=5, random_state=0)
    model.set_output(transform="pandas").fit(X, X_paired=X[:, :3])
    second = pd.DataFrame(X[:, :3], index=range(9, 69))
    assert model.transform(X_paired=second).index.equals(second.index)
    assert model.transform(X, X_paired=second).index.tolist() == list(range(60))
    both = model.transform(pd.DataFrame(X, index=second.index), X_paired=X[:, :3])
    assert both.index.equals(second.index)


@pytest.mark.parametrize("random_state", [-1, 2**32, 1.5, "a"])
def test_a_random_state_that_is_none_is_named(random_state: Any) -> None:
    told = f"random_state must be .*, however: random_state={random_state!r}"
    with pytest.raises(ValueError, match=told):
        small(random_state=random_state).fit(WINE)
    with pytest.raises(ValueError, match=told):
        tune(WINE, n_trials=1, random_state=random_state)
