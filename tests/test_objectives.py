"""Objectives on real fits: no leaks, no loss weights, and every one of them alive."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from torch import Tensor, nn

import vicreg.training
from vicreg import VICReg
from vicreg.config import Config
from vicreg.history import Pulse
from vicreg.holdout import hold_out
from vicreg.metrics import silhouette
from vicreg.objectives import OBJECTIVES, UNKNOWN, Bench, Fits, objectives_named
from vicreg.per_row import PerRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vicreg.networks import JointEmbedding, Rows
    from vicreg.objectives import Side, Which

    Matrix = NDArray[np.floating]

X, Y = load_wine(return_X_y=True)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
FAST = Config(n_components=8, hidden=(16,), projector=(16, 16), steps=30)


@pytest.fixture(scope="module")
def fits() -> Fits:
    return Fits(Bench(X, Y, seed=0), FAST, seed=0)


@pytest.fixture(scope="module")
def again() -> Fits:
    """Of the same seed, with fits and splits of its own."""
    return Fits(Bench(X, Y, seed=0), FAST, seed=0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_a_finite_number_that_follows_from_the_seed(
    name: str, fits: Fits, again: Fits
) -> None:
    score = OBJECTIVES[name].score(fits)
    assert np.isfinite(score)
    assert OBJECTIVES[name].score(again) == score
    assert fits.embedder() is not again.embedder()


def test_another_seed_gives_other_scores(fits: Fits) -> None:
    other = Fits(fits.bench, FAST, seed=1)
    for name in ("silhouette", "rankme", "lidar"):
        assert OBJECTIVES[name].score(other) != OBJECTIVES[name].score(fits)


def test_rows_are_fitted_or_judged_and_never_both() -> None:
    bench = Bench(X, Y, seed=3)
    assert not set(bench.train) & set(bench.test)
    assert len(bench.train) + len(bench.test) == len(X)
    counts = np.unique(Y[bench.test], return_counts=True)[1] / np.unique(Y, return_counts=True)[1]
    assert counts == pytest.approx(np.full(3, 0.3), abs=0.03)


def test_an_embedder_of_a_trial_has_not_seen_the_judged_rows() -> None:
    bench = Bench(X, seed=0)
    changed = X.copy()
    changed[bench.test] = 1e3 * np.random.default_rng(0).normal(size=(len(bench.test), X.shape[1]))
    one, other = (Fits(Bench(table, seed=0), FAST, seed=0).spaces()[0] for table in (X, changed))
    assert np.array_equal(one, other)


def test_a_blind_fit_has_not_seen_the_hidden_columns() -> None:
    bench = Bench(X, seed=0)
    changed = X.copy()
    changed[:, bench.hidden] = np.random.default_rng(0).normal(size=(len(X), len(bench.hidden)))
    one, other = (
        Fits(Bench(table, seed=0), FAST, seed=0).spaces("blind")[0] for table in (X, changed)
    )
    assert len(bench.hidden) == round(X.shape[1] / 3)
    assert np.array_equal(one, other)


def test_hidden_columns_of_noise_cannot_be_predicted() -> None:
    noise = np.random.default_rng(0).normal(size=(200, 12))
    score = OBJECTIVES["hidden_columns"].score
    assert score(Fits(Bench(noise, seed=0), FAST, seed=0)) < 0.05
    assert score(Fits(Bench(X, seed=0), FAST, seed=0)) > 0.2


def test_the_silhouette_is_that_of_an_estimator_fitted_on_the_same_rows(fits: Fits) -> None:
    bench = fits.bench
    embedder = fits.embedder()
    model = VICReg(n_components=8, hidden=(16,), projector=(16, 16), steps=30, n_threads=1)
    model.n_features_in_ = X.shape[1]
    model._adopt(embedder, len(bench.train), paired_columns=None, fitted_on=None, fitted_with=[])
    expected = silhouette(model.transform(X[bench.test]), Y[bench.test])
    assert OBJECTIVES["silhouette"].score(fits) == pytest.approx(expected)


def test_unlabelled_rows_train_and_are_not_scored() -> None:
    few = np.where(np.arange(len(X)) % 2 == 0, Y, UNKNOWN)
    bench = Bench(X, few, seed=0)
    train, test = bench.labelled
    assert len(train) + len(test) == 89
    assert len(bench.train) > len(train)
    assert np.isfinite(OBJECTIVES["linear"].score(Fits(bench, FAST, seed=0)))


class Unfitted(Fits):
    """Fits whose embedding is the table itself."""

    def space(self, side: Side, which: Which = "plain", repeat: int = 0) -> Matrix:
        return np.asarray(self.bench.rows(which)[side == "test"])


def two_orders() -> list[tuple[Matrix, NDArray[np.int_]]]:
    """A table sorted by class and its permutation; the first five classes are easy, others not."""
    random = np.random.default_rng(0)
    classes = np.repeat(np.arange(10), 400)
    centres = np.zeros((10, 8))
    centres[:5, :5] = 9 * np.eye(5)
    table = centres[classes] + random.normal(size=(4000, 8))
    order = random.permutation(4000)
    return [(table, classes), (table[order], classes[order])]


def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few rows, at the most, that most of 4,000 are cut."""
    for name, most in (("MOST_PROBED", 1000), ("MOST_TEST", 500), ("FIXED_ROWS", 400)):
        monkeypatch.setattr(f"vicreg.objectives.{name}", most)


def test_rows_of_a_sorted_table_are_those_of_all_its_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few(monkeypatch)
    for table, classes in two_orders():
        bench = Bench(table, classes, seed=0)
        learnt, scored = bench.labelled
        for rows, count in (
            (bench.train[learnt], 1000),
            (bench.train[bench.probed], 1000),
            (bench.test[scored], 500),
            (bench.test[bench.judged], 500),
            (bench.test[bench.viewed], 400),
        ):
            assert len(set(rows)) == count
            assert np.array_equal(rows, np.sort(rows))
            # Four standard deviations of a class's share in 400 rows.
            assert np.bincount(classes[rows]) / count == pytest.approx(np.full(10, 0.1), abs=0.06)


@pytest.mark.parametrize("name", ["knn", "linear", "silhouette", "rankme", "hidden_columns"])
def test_scores_of_a_sorted_table_are_those_of_its_permutation(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    one, other = (
        OBJECTIVES[name].score(Unfitted(Bench(table, classes, seed=0), FAST, seed=0))
        for table, classes in two_orders()
    )
    assert one == pytest.approx(other, abs=0.12)


def test_the_stability_of_clusters_is_that_of_all_classes_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few(monkeypatch)
    seen: list[Matrix] = []

    def recorded(train: Matrix, test: Matrix, *, random_state: int) -> float:
        seen.extend((train, test))
        return float(random_state)

    monkeypatch.setattr("vicreg.objectives.cluster_stability", recorded)
    classes = np.repeat(np.arange(10), 400)
    OBJECTIVES["cluster_stability"].score(Unfitted(Bench(classes[:, None], seed=0), FAST, seed=0))
    assert [len(rows) for rows in seen] == [1000, 500]
    for rows in seen:
        assert np.bincount(rows[:, 0]) / len(rows) == pytest.approx(np.full(10, 0.1), abs=0.06)


def test_views_are_those_of_the_chosen_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicreg.objectives.FIXED_ROWS", 20)
    monkeypatch.setattr("vicreg.objectives.FIXED_SWAP", 0.0)
    fits = Fits(Bench(X, seed=0), FAST, seed=0)
    rows = fits.space("test")[fits.bench.viewed]
    assert len(rows) == 20
    for view in range(10):
        assert np.array_equal(fits.views[:, view], rows)


class Itself(nn.Module):
    """A network that embeds every row as its own numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.anywhere = nn.Parameter(torch.zeros(1))

    def folded(self) -> Itself:
        return self

    def embed(self, rows: Rows) -> Tensor:
        return rows.numbers


def test_what_views_of_a_row_have_in_common_is_the_row_alone() -> None:
    table = np.random.default_rng(0).normal(size=(1000, 8))  # no value is there twice
    fits = Fits(Bench(table, seed=0), FAST, seed=0)
    fits.embedder().network = cast("JointEmbedding", Itself())
    rows, views = fits.space("test"), fits.views
    same = both = 0
    for one, other in combinations(range(10), 2):
        swapped = (views[:, one] != rows) & (views[:, other] != rows)
        both += int(swapped.sum())
        same += int((swapped & (views[:, one] == views[:, other])).sum())
    assert both / (45 * rows.size) == pytest.approx(0.09, abs=0.01)
    assert same / both < 0.01  # by chance once in 299 times


@on_a_gpu
@pytest.mark.parametrize("name", ["lidar", "retrieval"])
def test_views_are_embedded_on_a_gpu_too(name: str) -> None:
    scores = [
        OBJECTIVES[name].score(Fits(Bench(X, seed=0), FAST, seed=0, device=device))
        for device in ("cpu", "cuda")
    ]
    assert np.isfinite(scores).all()


def test_where_no_row_need_be_cut_none_is() -> None:
    bench = Bench(X, Y, seed=0)
    train, test = np.arange(len(bench.train)), np.arange(len(bench.test))
    for places, expected in (
        (bench.probed, train),
        (bench.judged, test),
        (bench.viewed, test),
        (bench.labelled[0], train),
        (bench.labelled[1], test),
    ):
        assert np.array_equal(places, expected)


@pytest.mark.parametrize(
    ("names", "labelled", "words"),
    [
        (["loss"], True, "objective must be among silhouette, knn.*however: objective='loss'"),
        (["knn"], False, "objective='knn' needs labels, however: y is None.*rankme"),
        (["rankme", "rankme"], False, "each once"),
        ([], False, "objectives must be some"),
    ],
)
def test_bad_objectives_are_refused(names: list[str], labelled: bool, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        objectives_named(names, labelled=labelled)


def test_too_few_columns_to_hide_any_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 4 columns that vary, however: 3"):
        _ = Bench(X[:, :3], seed=0).hidden


def test_categories_can_be_hidden_too() -> None:
    pl = pytest.importorskip("polars")
    from vicreg.sources import read

    frame = pl.DataFrame(X[:, :4], schema=["a", "b", "c", "d"]).with_columns(
        pl.Series("kind", [f"k{y}" for y in Y]), pl.Series("again", [f"m{y}" for y in Y])
    )
    score = OBJECTIVES["hidden_columns"].score(Fits(Bench(read(frame), seed=1), FAST, seed=0))
    assert np.isfinite(score)


def test_ctrl_c_in_a_fit_that_is_thrown_away_ends_it_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed: list[str] = []
    monkeypatch.setattr(vicreg.training, "PULSE", 0.0)
    for name in ("shape_spectrum", "fit_neighbourhoods", "fit_details"):

        def follow(*_: object, name: str = name, **__: object) -> bool:
            followed.append(name)
            return True

        monkeypatch.setattr(f"vicreg.embedder.{name}", follow)

    def interrupt(sign: Pulse) -> None:
        if sign.step == 3:
            raise KeyboardInterrupt

    config = replace(FAST, steps=300)
    with pytest.raises(KeyboardInterrupt):
        Fits(Bench(X, Y, seed=0), config, seed=0, pulse=interrupt).embedder()
    assert followed == []


def test_groups_are_split_so_that_labels_are_on_both_sides() -> None:
    labels = np.repeat([0, 1, 2], 50)
    groups = labels * 2 + np.arange(150) % 2  # six, each of one class
    table = np.random.default_rng(0).normal(size=(150, 3))
    others = 0
    for seed in range(12):
        bench = Bench(table, labels, seed=seed, told=PerRow(groups, None))
        bench.check_labels()
        assert not set(groups[bench.train]) & set(groups[bench.test])
        train, _ = hold_out(150, 0.3, seed, groups=groups)
        others += not np.array_equal(bench.train, train)
    assert 0 < others < 12  # the first split is taken where it will do
    same = Bench(table, labels, told=PerRow(labels, None))
    with pytest.raises(ValueError, match="too few labels, or groups that determine them"):
        same.check_labels()
