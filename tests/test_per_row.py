"""Groups and weights of rows: what is accepted, what they do, and what is refused."""

from __future__ import annotations

import datetime
import itertools
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.stats import chisquare

import vicreg.fitting
from vicreg import VICReg
from vicreg.batches import weighted_batches
from vicreg.draws import typical_rows
from vicreg.history import History
from vicreg.per_row import checked_groups, checked_weights, whole_groups
from vicreg.sources import read
from vicreg.table import TableEncoder
from vicreg.training import Job

SMALL: dict[str, Any] = {
    "n_components": 8,
    "hidden": (16,),
    "projector": (16, 16),
    "steps": 20,
    "random_state": 0,
    "n_threads": 1,
}


def mixed(n: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": random.normal(size=n),
            "b": np.where(random.random(n) < 0.1, np.nan, random.normal(size=n)),
            "word": random.choice(["x", "y", "z"], n),
            "flag": random.random(n) < 0.3,
        }
    )


@pytest.mark.parametrize(
    "groups",
    [
        ["b", "a", "b", "c"],
        pd.Series(["b", "a", "b", "c"], dtype="category"),
        pl.Series(["b", "a", "b", "c"]),
        np.array([2, 1, 2, 3]),
        [datetime.date(2024, 1, day) for day in (2, 1, 2, 3)],
        ["1", 1, "1", "2"],
        np.array(["1", 1, "1", "2"], dtype=object),
        pd.Series(["1", 1, np.str_("1"), "2"], dtype="category"),
        (True, 1, True, 2),
        [2, 1.0, 2.0, 2.5],
        np.array([2, np.float64(1), np.int8(2), 3.0], dtype=object),
        np.ma.array([2, 1, 2, 3], mask=False),
    ],
)
def test_groups_of_any_kind_are_told_apart(groups: Any) -> None:
    codes = checked_groups(groups, 4).tolist()
    assert codes[0] == codes[2]
    assert sorted(codes[1:]) == [0, 1, 2]


def test_groups_of_one_type_are_counted_in_their_order() -> None:
    for groups in (
        ["b", "a", "b", "c"],
        np.array(["b", "a", "b", "c"], dtype=object),
        [2, 1, 2, 3],
    ):
        assert checked_groups(groups, 4).tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a", None, "b"], "a group for every row, however: 1 missing, the first in row 1"),
        ([1.0, 2.0, np.nan], "however: 1 missing, the first in row 2"),
        (pd.Series([pd.NA, 1, 2], dtype="Int64"), "however: 1 missing, the first in row 0"),
        ([pd.NaT, pd.Timestamp(0), pd.Timestamp(1)], "however: 1 missing, the first in row 0"),
        (["a", np.nan, "b"], "however: 1 missing, the first in row 1"),
        (
            np.ma.array([1, 2, 3], mask=[False, False, True]),
            "however: 1 missing, the first in row 2",
        ),
        (
            np.ma.array(list("abc"), mask=[False, True, True]),
            "however: 2 missing, the first in row 1",
        ),
        ([1, np.ma.masked, 2], "however: 1 missing, the first in row 1"),
        ([1, 2], r"groups must have one value per row .*\(3,\), however: its shape is \(2,\)"),
        ([[1], [2], [3]], r"however: its shape is \(3, 1\)"),
        (["a", "a", "a"], "at least two groups, however: all rows are of group a"),
    ],
)
def test_bad_groups_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VICReg(**SMALL).fit(np.eye(3), groups=groups)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -2, 1], "finite and not negative, however: -2 in row 1"),
        ([1, 1, np.nan], "however: nan in row 2"),
        ([np.inf, 1, 1], "however: inf in row 0"),
        ([0, 0, 0], "more than zero for at least two rows, however: it is for 0 of 3"),
        ([0, 2, 0], "however: it is for 1 of 3"),
        ([1, 2, 3, 4], r"\(3,\), however: its shape is \(4,\)"),
        (
            np.ma.array([1, 2, 3], mask=[False, False, True]),
            "finite and not negative, however: nan in row 2",
        ),
        (np.array([1 + 2j, 1, 1]), r"must hold numbers, however: it holds \(1\+2j\)"),
        (np.array([1j, 1, np.complex64(1)], dtype=object), "must hold numbers, however: it holds"),
        (np.arange(3).astype("M8[D]"), "must hold numbers, however: it holds datetime.date"),
        (["much", "little", "some"], "must hold numbers, however: it holds 'much'"),
    ],
)
def test_bad_weights_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VICReg(**SMALL).fit(np.eye(3), sample_weight=weights)


def test_groups_and_near_rows_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"not of both, however: groups and neighbours=3"):
        VICReg(**SMALL, neighbours=3).fit(np.eye(4), groups=[0, 0, 1, 1])


def test_groups_drawn_are_whole_and_as_many_as_fit() -> None:
    groups = np.random.default_rng(0).integers(0, 40, 1000)
    sizes = np.bincount(groups)
    for seed in range(20):
        chosen = whole_groups(groups, 100, np.random.default_rng(seed))
        taken = np.unique(groups[chosen])
        assert len(chosen) == sizes[taken].sum() <= 100
        assert 100 - len(chosen) < np.delete(sizes, taken).min()


def test_held_out_rows_are_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.random.default_rng(0).integers(0, 300, 1500)
    X = np.column_stack([groups, np.random.default_rng(1).normal(size=1500)])
    seen: dict[str, torch.Tensor] = {}

    def train(job: Job, **_: Any) -> History:
        assert job.held_out is not None
        seen.update(rows=job.rows.numbers, held_out=job.held_out.numbers)
        return History()

    monkeypatch.setattr(vicreg.fitting, "train", train)
    VICReg(**SMALL).fit(X, groups=[f"patient {group}" for group in groups])
    trained, held_out = (set(seen[part][:, 0].tolist()) for part in ("rows", "held_out"))
    assert not trained & held_out
    assert len(seen["rows"]) + len(seen["held_out"]) == 1500
    assert 100 <= len(seen["held_out"]) <= 150


def test_groups_too_large_to_hold_out_are_all_trained_on_with_a_note() -> None:
    X = np.random.default_rng(0).normal(size=(1200, 3))
    model = VICReg(**SMALL).fit(X, groups=np.arange(1200) % 3)
    assert model.notes_ == [
        "no rows are held out: 100 are needed, in whole groups of 120 rows in all"
    ]


def test_rows_alone_in_their_group_are_told_of() -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = VICReg(**SMALL, batch_size=40).fit(X, groups=[*range(30), *[99] * 10])
    assert model.notes_ == ["30 of 40 rows are alone in their group"]


def test_groups_teach_what_their_rows_share() -> None:
    """Six columns of the patient's own, six of the session: only the groups tell which is which."""
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(120), 5)
    X = np.column_stack([random.normal(size=(120, 6))[patient], random.normal(size=(600, 6))])

    def within(model: VICReg) -> float:
        """The share of the embedding's variance that is within patients, of patients not seen."""
        new = np.repeat(random.normal(size=(60, 6)), 5, axis=0)
        Z = model.transform(np.column_stack([new, random.normal(size=(300, 6))]))
        centred = Z.reshape(60, 5, -1) - Z.reshape(60, 5, -1).mean(axis=1, keepdims=True)
        return float((centred**2).sum() / ((Z - Z.mean(axis=0)) ** 2).sum())

    settings = {**SMALL, "steps": 300, "batch_size": 128}
    told, untold = VICReg(**settings).fit(X, groups=patient), VICReg(**settings).fit(X)
    assert within(untold) > 0.25
    assert within(told) < 0.5 * within(untold)


def test_weights_of_0_and_1_are_the_table_without_some_rows_to_the_bit() -> None:
    X, keep = mixed(), np.random.default_rng(1).random(300) < 0.7
    groups = np.arange(300) // 4
    weighted = VICReg(**SMALL, batch_size=64).fit(X, sample_weight=keep * 0.1, groups=groups)
    wanted = VICReg(**SMALL, batch_size=64).fit(X[keep], groups=groups[keep])
    assert weighted.notes_[0] == f"left out {(~keep).sum()} rows of weight 0"
    assert np.array_equal(weighted.transform(X), wanted.transform(X))


def test_equal_weights_change_nothing_to_the_bit() -> None:
    X = mixed()
    wanted = VICReg(**SMALL).fit_transform(X)
    assert np.array_equal(VICReg(**SMALL).fit_transform(X, sample_weight=np.full(300, 2.5)), wanted)


def test_weighted_statistics_are_those_of_the_table_that_repeats_its_rows() -> None:
    X, times = mixed(), np.random.default_rng(2).integers(1, 4, 300)
    weighted = TableEncoder.fit(read(X), weights=times.astype(float))
    repeated = TableEncoder.fit(read(X.loc[X.index.repeat(times)]))
    assert [one.name for one in weighted.columns] == [one.name for one in repeated.columns]
    assert weighted.columns == repeated.columns
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-12)
    np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=1e-12)


def test_rows_stand_in_batches_as_often_as_they_weigh() -> None:
    weights = torch.tensor([0.0, 1.0, 2.0, 0.0, 5.0, 0.0])
    batches = weighted_batches(weights, 64, torch.Generator().manual_seed(0))
    counts = torch.bincount(torch.cat(list(itertools.islice(batches, 500))), minlength=6)
    assert counts[[0, 3, 5]].tolist() == [0, 0, 0]
    wanted = weights[weights > 0] / weights.sum() * 32_000
    assert chisquare(counts[weights > 0].numpy(), wanted.numpy()).pvalue > 1e-3


def test_heavy_rows_are_what_the_network_is_trained_on() -> None:
    """Batch normalisation's running mean, of inputs that tell the two kinds of rows apart."""
    X = np.column_stack([np.repeat([0.0, 1.0], 200), np.random.default_rng(0).normal(size=400)])
    settings = {**SMALL, "steps": 300, "lr": 1e-9, "swap": 0.0, "batch_size": 128}
    weight = np.repeat([1.0, 9.0], 200)
    model = VICReg(**settings).fit(X, sample_weight=weight)
    encoder: Any = model.embedder_.network.encoders[0]
    inputs = encoder.first(model.embedder_.table.transform(X)).detach().numpy()
    running = encoder.rest[0].running_mean.numpy()
    np.testing.assert_allclose(running, np.average(inputs, axis=0, weights=weight), atol=0.05)
    assert np.abs(running - inputs.mean(axis=0)).max() > 0.2


def test_weights_are_read_once_they_are_numbers() -> None:
    assert checked_weights(pl.Series([1, 2]), 2).tolist() == [0.5, 1.0]


def test_rows_of_hardly_any_weight_choose_as_little_as_rows_of_none() -> None:
    random = np.random.default_rng(0)
    alone = random.normal(size=(300, 12))
    together = random.normal(size=(300, 2)) @ random.normal(size=(2, 12))
    X = np.concatenate((alone, together + 0.05 * random.normal(size=(300, 12))))
    found = []
    for little in (0.0, 1e-9):
        weights = np.repeat([little, 2.0], 300)
        weights[-1] = 1.0  # not all of them weigh the same
        model = VICReg(**SMALL | {"n_components": 40}, detail_share=0.5).fit(
            X, sample_weight=weights
        )
        config = model.embedder_.config
        found.append((config.sides, config.swap, config.spectrum, config.detail_power))
        embedding = model.transform(X[300:])
        deviations = embedding.std(axis=0)
        learnt, details = deviations[: config.n_learnt], deviations[-config.n_details :]
        ratio = np.linalg.norm(details) / np.linalg.norm(learnt)
        assert ratio == pytest.approx(config.detail_scale, rel=0.05)
    assert found[0] == found[1]
    assert found[0][0] == "both"
    plain = VICReg(**SMALL).fit(X).embedder_.config
    assert plain.sides == "one"


def test_typical_rows_are_drawn_by_weight() -> None:
    weights = torch.tensor([1.0, 2.0, 4.0]).repeat(2000)
    counts = torch.bincount(typical_rows(weights, torch.Generator().manual_seed(0)) % 3)
    assert int(counts.sum()) == round(7**2 / (3 * 21) * 6000)  # Kish's
    assert counts[2] > counts[1] > counts[0]
    assert counts.max() <= 2000
    equal = torch.full((50,), 0.3)
    assert typical_rows(equal, torch.Generator().manual_seed(0)).tolist() == list(range(50))


@pytest.mark.parametrize("unit", [1e-200, 1e200, 1e305])
def test_only_the_proportions_of_weights_count(unit: float) -> None:
    X = np.random.default_rng(0).normal(size=(120, 4))
    weights = 1.0 + np.arange(120) % 3
    embedded = [
        VICReg(**SMALL).fit(X, sample_weight=one).transform(X) for one in (weights, unit * weights)
    ]
    np.testing.assert_allclose(embedded[1], embedded[0], rtol=1e-3, atol=1e-3)
