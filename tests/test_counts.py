"""Counts: recognised, normalised, thinned as binomial draws, selected, and read in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from scipy.stats import binom, chisquare
from sklearn.datasets import load_digits

from vicreg import VICReg, load
from vicreg.config import Config
from vicreg.counts import looks_like_counts, most_variable
from vicreg.networks import Rows
from vicreg.sources import read
from vicreg.table import TableEncoder
from vicreg.views import COINS, Donors, Layout, Thin, _thinned

SMALL: dict[str, Any] = {
    "n_components": 8,
    "hidden": (16,),
    "projector": (16, 16),
    "steps": 10,
    "random_state": 0,
    "n_threads": 1,
}


def cells(n: int = 150, genes: int = 260, seed: int = 0) -> np.ndarray:
    """Negative binomial counts of two kinds of cells, of depths that differ fivefold."""
    random = np.random.default_rng(seed)
    profile = random.gamma(0.2, 4.0, (2, genes))[random.integers(0, 2, n)]
    depth = random.uniform(0.4, 2.0, (n, 1))
    return random.poisson(profile * depth * random.gamma(3.0, 1 / 3.0, (n, genes)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# What is recognised


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        lambda counts: counts.astype(np.float32),
        scipy.sparse.csr_matrix,
        lambda counts: pl.DataFrame(counts, schema=[f"g{i}" for i in range(260)]),
        pd.DataFrame,
    ],
)
def test_counts_are_recognised_in_every_container(make: Any) -> None:
    assert looks_like_counts(read(make(cells())))


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("too narrow", cells()[:, :150]),
        ("normalised", np.log1p(cells())),
        ("negative", cells() - 1),
        ("a missing value", np.where(np.arange(150)[:, None] == 3, np.nan, cells())),
        ("grey levels", np.tile(load_digits().data, 4)),
        ("flags", (cells() > 0).astype(float)),
        ("few zeros", cells() + 1),
        (
            "Poisson",
            np.random.default_rng(0).poisson(0.4, (150, 260)) * (np.arange(150) != 9)[:, None],
        ),
        ("text", cells().astype(str)),
    ],
)
def test_what_is_no_table_of_counts_is_left_as_it_is(name: str, table: Any) -> None:
    assert not looks_like_counts(read(table)), name


def test_recognised_counts_are_told_of_and_can_be_refused() -> None:
    counts = cells()
    model = VICReg(**SMALL, batch_size=64).fit(counts)
    assert model.notes_[-1].startswith("read as counts (whole numbers, mostly 0, overdispersed)")
    asked = VICReg(**SMALL, batch_size=64, kind="counts").fit(counts)
    assert np.array_equal(model.transform(counts), asked.transform(counts))
    assert not any("counts" in note for note in asked.notes_)
    table = VICReg(**SMALL, batch_size=64, kind="table").fit(counts)
    assert table.embedder_.table.depth is None


# How they are encoded


def test_numbers_are_logarithms_at_the_median_depth() -> None:
    counts = cells()
    depth = counts.sum(axis=1, keepdims=True)
    logs = np.log1p(counts / depth * np.median(depth))
    encoder = TableEncoder.fit(counts, holds="counts")
    varying = logs.std(axis=0) > 0
    np.testing.assert_allclose(encoder.raw(counts), logs[:, varying], rtol=1e-12)
    numbers = encoder.transform(counts).numbers.numpy()
    own = logs[:, varying].std(axis=0)
    common = np.sqrt((own**2).mean())
    wanted = (logs - logs.mean(axis=0))[:, varying] / np.sqrt(own * common)
    np.testing.assert_allclose(numbers, wanted, atol=1e-5)


def test_a_row_measured_twice_as_deep_is_the_same_row() -> None:
    counts = cells()
    model = VICReg(**SMALL, kind="counts").fit(counts)
    np.testing.assert_allclose(model.transform(2 * counts), model.transform(counts), atol=1e-5)


def test_the_rule_for_counts_is_masks_on_one_side_and_the_most_variable_columns() -> None:
    counts = np.hstack([cells(150, 260, seed) for seed in range(6)])
    config = VICReg(**SMALL, batch_size=64).fit(counts).embedder_.config
    assert (config.sides, config.swap, config.mask) == ("one", 0.0, 0.3)
    assert config.neighbourhood_scale == 0.5
    assert (config.n_top_columns, config.spectrum) == (1000, 3.0)
    model = VICReg(**SMALL, batch_size=64, n_top_columns=0, swap=0.2, sides="both").fit(counts)
    config = model.embedder_.config
    assert (config.sides, config.swap, config.n_top_columns) == ("both", 0.2, 0)
    assert model.embedder_.table.n_numbers > 1000
    plain = VICReg(**SMALL, batch_size=64, kind="table").fit(counts)
    assert plain.embedder_.config.n_top_columns == 0


def test_a_row_without_counts_is_embedded_too() -> None:
    counts = cells()
    counts[7] = 0
    assert np.isfinite(VICReg(**SMALL, kind="counts").fit_transform(counts)).all()


@pytest.mark.parametrize("layout", ["C", "F", "frame", "sparse"])
def test_a_row_alone_is_embedded_to_the_same_bits(layout: str) -> None:
    counts = cells().astype(float)
    make: dict[str, Any] = {
        "C": np.ascontiguousarray,
        "F": np.asfortranarray,
        "frame": pd.DataFrame,
        "sparse": scipy.sparse.csr_matrix,
    }
    model = VICReg(**SMALL, n_top_columns=100).fit(make[layout](counts))
    whole = model.transform(make[layout](counts))
    for row in (0, 50, 149):
        assert np.array_equal(model.transform(make[layout](counts[[row]])), whole[[row]])


def test_the_median_depth_knows_weights() -> None:
    counts, times = cells(), np.random.default_rng(1).integers(1, 5, 150)
    weighted = TableEncoder.fit(counts, holds="counts", weights=times.astype(float))
    repeated = TableEncoder.fit(np.repeat(counts, times, axis=0), holds="counts")
    assert weighted.depth is not None
    assert repeated.depth is not None
    assert weighted.depth.target == pytest.approx(repeated.depth.target, rel=0.02)
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=0.05)


def test_a_row_that_hardly_counts_is_not_far_away() -> None:
    """The only count of a column stands in a row of next to no weight."""
    counts, weights = cells(), np.ones(150)
    counts[:, 7] = 0
    counts[3, 7] = 40
    told = TableEncoder.fit(counts, holds="counts", weights=weights).transform(counts).numbers
    weights[3] = 1e-12
    found = TableEncoder.fit(counts, holds="counts", weights=weights).transform(counts).numbers
    assert float(found.abs().max()) < 1.5 * float(told.abs().max())


def test_a_sparse_table_is_never_dense_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = cells(600, 400)
    wanted = VICReg(**SMALL, n_top_columns=50).fit_transform(counts)
    real = scipy.sparse.csr_array.toarray

    def toarray(self: Any, *arguments: Any, **named: Any) -> Any:
        assert self.shape[0] * self.shape[1] <= 2**16
        return real(self, *arguments, **named)

    monkeypatch.setattr(scipy.sparse.csr_array, "toarray", toarray)
    model = VICReg(**SMALL, n_top_columns=50).fit(scipy.sparse.csr_matrix(counts))
    embedded = model.transform(scipy.sparse.csc_matrix(counts[:100]))
    assert np.array_equal(embedded, wanted[:100])


def test_saved_counts_are_the_same_to_the_bit(tmp_path: Path) -> None:
    counts = cells()
    model = VICReg(**SMALL, n_top_columns=100).fit(counts)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert np.array_equal(again.transform(counts), model.transform(counts))
    assert again.embedder_.table.depth == model.embedder_.table.depth
    assert again.n_top_columns == 100


@pytest.mark.parametrize(
    ("value", "told"), [(-1.0, "-1"), (0.5, "0.5"), (np.nan, "a missing value")]
)
def test_what_is_no_count_is_refused(value: float, told: str) -> None:
    message = f"whole numbers, not negative and none missing, however: {told} in column 'x5', row 9"
    good, bad = cells().astype(float), cells().astype(float)
    bad[9, 5] = value
    with pytest.raises(ValueError, match=message):
        VICReg(**SMALL, kind="counts").fit(bad)
    model = VICReg(**SMALL, kind="counts").fit(good)
    with pytest.raises(ValueError, match=message):
        model.transform(bad)


@pytest.mark.parametrize(
    ("settings", "table", "message"),
    [
        ({"kind": "counts"}, np.zeros((9, 4)), "holds nothing but 0"),
        ({"n_top_columns": 3}, np.random.default_rng(0).normal(size=(9, 4)), "does not seem to"),
    ],
)
def test_tables_that_are_no_counts_are_refused(settings: Any, table: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VICReg(**SMALL, **settings).fit(table)


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"however: normal_scores=True and kind='counts'"):
        Config(kind="counts", normal_scores=True)
    with pytest.raises(ValueError, match=r"however: n_top_columns=5 and kind='table'"):
        Config(kind="table", n_top_columns=5)


# Which columns are kept


def test_columns_of_planted_variation_are_kept_whatever_their_mean() -> None:
    random = np.random.default_rng(0)
    mean = np.geomspace(1.0, 40.0, 300)
    planted = np.arange(10, 300, 30)
    rate = np.tile(mean, (400, 1))
    rate[:200, planted] *= 4.0
    rate *= random.uniform(0.5, 2.0, (400, 1))  # depth alone is no reason to be kept
    kept = most_variable(random.poisson(rate), None, 10)
    assert kept.tolist() == planted.tolist()


def test_what_is_kept_comes_from_the_training_rows_and_depth_from_all_columns() -> None:
    counts = cells(400)
    train = np.arange(200)
    spoilt = counts.copy()
    spoilt[200:, ::2] *= 50
    one, other = (
        TableEncoder.fit(table, train, holds="counts", n_top_columns=40)
        for table in (counts, spoilt)
    )
    assert one.columns == other.columns
    assert len(one.columns) == 40
    assert one.notes[0].startswith("dropped 220 less variable columns: 'x0'")
    depth = one.transform(counts).depth
    assert depth is not None
    assert depth.tolist() == counts.sum(axis=1).tolist()


# How they are thinned


@pytest.mark.parametrize("count", [1, 2, COINS, COINS + 1, 20])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.93])
def test_thinned_counts_are_binomial(count: int, kept: float) -> None:
    counts = torch.full((4, 5000), float(count))
    drawn = _thinned(counts, torch.full((4, 1), kept), generator()).flatten().long()
    found = torch.bincount(drawn, minlength=count + 1).numpy()
    wanted = binom.pmf(np.arange(count + 1), count, kept) * 20_000
    often = wanted >= 5
    found = np.append(found[often], found[~often].sum())
    wanted = np.append(wanted[often], wanted[~often].sum())
    present = wanted > 0
    assert found[~present].sum() == 0
    assert chisquare(found[present], wanted[present]).pvalue > 1e-4


def test_hardly_thinned_counts_are_hardly_fewer() -> None:
    counts = torch.full((4, 5000), 3.0)
    drawn = _thinned(counts, torch.ones(4, 1), generator())
    assert float(drawn.mean()) == pytest.approx(3, rel=1e-3)


def test_half_the_rows_stay_whole_and_the_others_lose_counts() -> None:
    counts = cells(200)
    encoder = TableEncoder.fit(counts, holds="counts")
    rows, before = encoder.transform(counts), encoder.transform(counts)
    thin = encoder.thinning(0.8, torch.device("cpu"))
    assert thin is not None
    thin(rows, Donors(before, encoder.layout, 200, generator()), generator())
    same = (rows.numbers == before.numbers).all(dim=1)
    assert int(same.sum()) == 100
    assert rows.depth is not None
    kept = [column.position for column in encoder.columns]
    logs = rows.numbers.double().numpy() * encoder.scale + encoder.mean
    found = np.expm1(logs) * (rows.depth.double().numpy() / thin.target)[:, np.newaxis]
    np.testing.assert_allclose(found, np.round(found), atol=2e-3)
    found = np.round(found)
    assert (found <= counts[:, kept]).all()
    assert np.array_equal(found[same.numpy()], counts[same.numpy()][:, kept])
    shares = (found.sum(axis=1) / counts.sum(axis=1))[~same.numpy()]
    assert 0.15 < shares.min() < 0.35
    assert 0.5 < shares.mean() < 0.7  # uniform from 0.2 to 1


def test_columns_that_are_not_kept_are_part_of_the_thinned_depth() -> None:
    counts = torch.full((2000, 1), 40.0)
    depth = torch.full((2000,), 100.0)  # 60 counts stand in other columns
    rows = Rows(torch.log1p(counts), torch.zeros(2000, 0).int(), depth)
    thin = Thin(0.5, torch.zeros(1), torch.ones(1), 100.0)
    thin(rows, Donors(rows, Layout.plain(1), 2000, generator()), generator())
    assert float(rows.numbers.expm1().mean()) == pytest.approx(40, rel=0.01)
