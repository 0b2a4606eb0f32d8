"""Scorecards: scores that another library gives too, honest splits, honest words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_wine, make_blobs
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.metrics import balanced_accuracy_score, silhouette_score
from sklearn.model_selection import (
    StratifiedGroupKFold,
    cross_val_predict,
    train_test_split,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import vicreg.fitting
import vicreg.neighbourhoods
import vicreg.step
from vicreg import Scorecard, VICReg, evaluate, load
from vicreg.evaluation import PERHAPS_SEEN, REFIT, SEEN
from vicreg.intervals import Estimate
from vicreg.metrics import LabelledSplit
from vicreg.scores import cluster_count

X, Y = load_digits(return_X_y=True)
X, Y = X[:500], Y[:500]
METHODS = ["vicreg", "raw", "raw unscaled", "pca", "untrained", "shuffled"]


def small(**settings: Any) -> VICReg:
    common: dict[str, Any] = {"n_components": 8, "hidden": (16,), "projector": (16, 16)}
    return VICReg(**{**common, "steps": 30, "random_state": 0, "n_threads": 1, **settings})


@pytest.fixture(scope="module")
def card() -> Scorecard:
    return evaluate(small(), X, Y, title="digits")


def test_every_method_has_every_measure(card: Scorecard) -> None:
    assert list(card.scores) == METHODS
    for of_method in card.scores.values():
        assert set(card.measures) <= set(of_method)
        assert all(np.isfinite(value) for value in of_method.values())


def test_scores_of_raw_and_pca_equal_scikit_learns_on_the_same_split(card: Scorecard) -> None:
    train, test = train_test_split(np.arange(500), test_size=0.3, stratify=Y, random_state=0)
    train, test = np.sort(train), np.sort(test)
    kept = X[:, np.ptp(X[train], axis=0) > 0]
    raw = StandardScaler().fit(kept[train]).transform(kept).clip(-10, 10)
    pca = PCA(8, random_state=0).fit(raw[train]).transform(raw)
    for name, space in {"raw": raw, "pca": pca, "raw unscaled": kept}.items():
        neighbours = KNeighborsClassifier(10).fit(space[train], Y[train]).predict(space[test])
        wanted = balanced_accuracy_score(Y[test], neighbours)
        assert card.scores[name]["10-NN"] == pytest.approx(wanted, abs=0.011), name
        wanted = silhouette_score(space[test], Y[test])
        assert card.scores[name]["silhouette"] == pytest.approx(wanted, abs=1e-3), name


def test_scored_rows_are_not_in_the_fit(card: Scorecard) -> None:
    assert card.held_out
    assert card.n_scored == 150
    assert card.model.n_rows_ == 350
    assert "150 rows that the fit has not seen" in card.described


def test_embedding_is_the_fitted_models_own(card: Scorecard) -> None:
    _, test = train_test_split(np.arange(500), test_size=0.3, stratify=Y, random_state=0)
    wanted = silhouette_score(card.model.transform(X)[test], Y[test])
    assert card.scores["vicreg"]["silhouette"] == pytest.approx(wanted, abs=1e-4)


def test_too_few_rows_are_all_scored_and_the_card_says_so() -> None:
    few = evaluate(small(), X[:60], Y[:60], maps=False, controls=False)
    assert not few.held_out
    assert few.seen
    assert few.n_scored == few.model.n_rows_ == 60
    assert "too few rows to hold 100 out: scored on the rows of the fit" in few.notes
    assert list(few.scores) == METHODS[:4]


def test_a_fitted_model_is_scored_as_it_is_and_knows_its_own_rows(tmp_path: Path) -> None:
    model = small().fit(X)
    model.save(tmp_path / "m")
    for fitted in (model, load(tmp_path / "m")):
        card = evaluate(fitted, X.astype(np.float32), Y, maps=False, controls=False)
        assert card.model is fitted
        assert card.seen
        assert not card.held_out
        assert SEEN + REFIT in card.notes
        assert "scored on 150 of them, seen in the fit" in card.described
        assert json.loads(card.to_json())["seen"]
        note = (SEEN + REFIT).replace("these", "These", 1)
        note = note.replace("--refit", '<span class="option">--refit</span>')
        assert f"<li>{note}" in card.to_html()
    fitted.save(tmp_path / "n")
    text = (tmp_path / "n" / "README.md").read_text(encoding="utf-8")
    assert "150 rows scored, which the fit has seen." in text


def test_a_table_too_small_to_hold_rows_out_is_not_told_to_fit_anew() -> None:
    card = evaluate(small().fit(X[:200]), X[:200], Y[:200], maps=False, controls=False)
    assert SEEN in card.notes


def test_pca_is_no_straw_man_where_rows_are_few() -> None:
    wide, classes = make_blobs(100, 100, centers=10, cluster_std=5, random_state=0)
    model = small(n_components=128).fit(wide)
    card = evaluate(model, wide, classes, maps=False, controls=False)
    # On 99 components of 100 rows a logistic regression finds nothing (0.02).
    assert card.scores["pca"]["linear"] > 0.95
    assert any(note.startswith("PCA has 50 components") for note in card.notes)


@pytest.mark.parametrize("change", ["a row less", "another order", "a value", "an older model"])
def test_a_fitted_model_does_not_claim_the_rows_of_another_table(
    change: str, tmp_path: Path
) -> None:
    model = small(steps=2).fit(X)
    other, y = X.copy(), Y
    if change == "a row less":
        other, y = X[1:], Y[1:]
    elif change == "another order":
        other, y = X[::-1], Y[::-1]
    elif change == "a value":
        other[3, 20] += 1e-9
    else:
        model.fitted_on_ = None
        model.save(tmp_path / "m")
        model = load(tmp_path / "m")
    card = evaluate(model, other, y, maps=False, controls=False)
    assert not card.seen
    assert not card.held_out
    assert PERHAPS_SEEN in card.notes
    assert "seen in the fit" not in card.described


def test_a_model_that_is_fitted_for_the_card_has_seen_none_of_the_scored_rows(
    card: Scorecard,
) -> None:
    assert not card.seen
    assert not {SEEN, SEEN + REFIT, PERHAPS_SEEN} & set(card.notes)


def test_shuffled_labels_bring_every_score_down_to_chance() -> None:
    labels = np.random.default_rng(0).permutation(Y)
    scores = evaluate(small(), X, labels, maps=False).scores
    for of_method in scores.values():
        assert of_method["10-NN"] < 0.25
        assert of_method["linear"] < 0.25
        assert of_method["silhouette"] < 0.02
        assert abs(of_method["ari"]) < 0.05


def test_without_labels_clusters_are_scored() -> None:
    blobs = make_blobs(n_samples=400, n_features=6, centers=3, cluster_std=0.4, random_state=0)[0]
    card = evaluate(small(), blobs)
    assert card.n_groups == 3
    assert card.label_name is None
    assert card.measures == ("silhouette of clusters", "effective rank")
    assert "silhouette" not in card.scores["raw"]
    assert card.scores["raw"]["silhouette of clusters"] > 0.8
    assert "3 k-means clusters" in card.described
    assert card.view is not None
    assert set(card.view.maps) == {"raw", "pca", "vicreg"}


def test_clusters_are_counted_wherever_a_sorted_table_has_them() -> None:
    centres = 20 * np.eye(6).repeat(600, axis=0)
    sorted_rows = centres + np.random.default_rng(0).normal(size=centres.shape)
    assert cluster_count(sorted_rows, 0) == 6
    card = evaluate(small(steps=2), sorted_rows, test_size=0.8, maps=False, controls=False)
    assert card.n_scored > 2000
    assert card.n_groups == 6


@pytest.mark.parametrize(
    "labels",
    [
        np.array([f"digit {y}" for y in Y]),
        pd.Series(Y).astype("category"),
        pd.Series(Y, dtype="Int64"),
        Y.astype(float),
        list(Y),
    ],
    ids=["text", "categorical", "nullable", "whole decimals", "list"],
)
def test_labels_of_every_kind_score_alike(labels: Any, card: Scorecard) -> None:
    other = evaluate(small(), X, labels, maps=False, controls=False)
    assert other.n_groups == 10
    wanted = {name: card.scores[name] for name in other.scores}
    for name, of_method in other.scores.items():
        assert of_method["10-NN"] == pytest.approx(wanted[name]["10-NN"], abs=0.06)


def test_rows_without_a_label_are_fitted_but_not_scored() -> None:
    labels = np.array([f"{y}" for y in Y], dtype=object)
    labels[::5] = None
    card = evaluate(small(), X, labels, maps=False, controls=False)
    assert card.n_groups == 10
    assert card.model.n_rows_ + 150 == 500
    assert card.n_scored < 150
    assert "100 of 500 rows have no label: they are not scored" in card.notes


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Y[:-1], r"one value for each of the 500 rows, however: shape \(499,\)"),
        (np.ones(500), r"at least two classes, however: 1 \(all 500 rows have '1.0'\)"),
        ([None] * 500, r"at least two classes, however: 0 \(none\)"),
        (np.zeros((500, 2)), r"however: shape \(500, 2\)"),
    ],
)
def test_labels_that_cannot_be_scored_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(small(), X, labels)


def test_a_share_of_rows_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="test_size must be between 0 and 1, however: test_size=1"):
        evaluate(small(), X, Y, test_size=1)


def test_a_table_of_two_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 rows to be scored, however: 2"):
        evaluate(VICReg(), np.ones((2, 3)), maps=False)


def test_a_class_with_one_row_is_missed_by_all_and_the_card_says_so() -> None:
    labels = np.array([0] * 20 + [1] * 19 + [2])
    table = np.column_stack((10.0 * (labels == 1), X[:40, 2:4]))  # the others are known for sure
    card = evaluate(small(), table, labels, maps=False, controls=False)
    for measure in ("10-NN", "linear"):
        assert 0.6 < card.scores["raw unscaled"][measure] < 0.67
    told = "fewer than 3 rows of '2' are scored: by a mean over classes they count as much as"
    assert any(note.startswith(told) for note in card.notes)


def test_groups_are_neither_learnt_from_and_scored_nor_resampled_in_parts() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 12)
    table = random.normal(size=(20, 10))[groups] + 0.05 * random.normal(size=(240, 10))
    labels = random.integers(0, 2, 20)[groups].astype(str)  # of a group, and of nothing else
    common: dict[str, Any] = {"maps": False, "controls": False}
    rows = evaluate(small(), table, labels, **common)
    whole = evaluate(small(), table, labels, groups=groups, **common)
    assert rows.scores["raw"]["10-NN"] == 1
    raw = StandardScaler().fit_transform(table)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    wanted = cross_val_predict(KNeighborsClassifier(10), raw, labels, groups=groups, cv=folds)
    assert whole.scores["raw"]["10-NN"] == pytest.approx(
        balanced_accuracy_score(labels, wanted), abs=0.03
    )
    assert whole.scores["raw"]["10-NN"] < 0.75
    assert whole.estimates["raw"]["10-NN"].half_width > 0.15


def test_groups_of_classes_smaller_than_the_folds_are_crossed_all_the_same() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])  # six groups, and no class of five rows
    split = LabelledSplit.crossed(labels, 0, np.arange(6))
    assert split is not None
    assert sorted(np.concatenate([test for _, test in split.folds])) == list(range(6))
    assert LabelledSplit.crossed(labels, 0, np.array([0, 0, 0, 0, 0, 0])) is None


def test_a_gap_in_a_scored_row_alone_is_the_mean() -> None:
    table = X[:400, 2:6].astype(float)
    for row in range(4):  # three of ten rows are scored
        holed = table.copy()
        holed[row, 1] = np.nan
        card = evaluate(small(steps=2), holed, Y[:400], maps=False, controls=False)
        assert np.isfinite(card.scores["vicreg"]["10-NN"])


@pytest.mark.parametrize("as_number", [True, False])
def test_labels_of_hardly_any_row_are_refused(as_number: bool) -> None:
    labels = np.full(400, np.nan) if as_number else np.full(400, None)
    labels[:4] = [0.5, 1.5, 2.5, 3.5] if as_number else ["a", "b", "a", "b"]
    with pytest.raises(ValueError, match="label must be known of at least 3 of the rows that are"):
        evaluate(small(steps=2), X[:400], labels, maps=False, controls=False)


@pytest.mark.parametrize("seed", [None, np.random.RandomState(0)])
def test_controls_have_the_models_seed(seed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    fitted = vicreg.fitting.fit_embedder

    def noted(*arguments: Any, seed: int, **others: Any) -> Any:
        seeds.append(seed)
        return fitted(*arguments, seed=seed, **others)

    monkeypatch.setattr("vicreg.estimator.fit_embedder", noted)
    evaluate(small(steps=2, random_state=seed), X[:400], maps=False)
    assert len(seeds) == 3
    assert len(set(seeds)) == 1


def test_errors_of_a_small_target_are_told_by_their_first_digits() -> None:
    noise = np.random.default_rng(0).normal(size=len(X))
    card = evaluate(small(), X, 1e-6 * (X[:, 10] + noise), maps=False, controls=False)
    assert "0.000" not in card.verdict
    assert re.search(r"10-NN error \(\d\.\d+e-06 ± \d\.?\d*e-0[678] against", card.verdict)
    assert "e-06 |" in card.to_markdown()


def test_mixed_tables_are_scored_with_their_categories() -> None:
    wine = load_wine(as_frame=True)
    table = wine.data.assign(kind=np.where(wine.data["alcohol"] > 13, "strong", "light"))
    card = evaluate(small(), table, wine.target, maps=False, controls=False)
    assert "raw unscaled" not in card.scores
    assert card.scores["raw"]["10-NN"] > 0.9


def test_forms_of_a_card(card: Scorecard, tmp_path: Path) -> None:
    told = json.loads(card.to_json())
    assert told["scores"]["vicreg"] == pytest.approx(card.scores["vicreg"])
    assert set(told["intervals"]) == set(METHODS)
    table = card.to_markdown().splitlines()
    assert table[0] == "| method | silhouette | 10-NN | linear | ari | effective rank |"
    assert len(table) == 2 + len(METHODS)
    assert card.verdict in str(card)
    page = card.to_html(tmp_path / "card.html")
    assert (tmp_path / "card.html").read_text(encoding="utf-8") == page


def test_numbers_that_are_none_become_null() -> None:
    few = evaluate(small(), X[:12], maps=False, controls=False)
    few.estimates["vicreg"]["silhouette of clusters"] = Estimate(float("nan"), np.array([np.nan]))
    assert json.loads(few.to_json())["scores"]["vicreg"]["silhouette of clusters"] is None
    assert "| vicreg |  |" in few.to_markdown()


def test_a_frame_has_a_line_per_score_with_its_interval(card: Scorecard) -> None:
    frame = card.to_frame().set_index(["method", "measure"])
    assert len(frame) == sum(map(len, card.scores.values()))
    line = frame.loc[("raw", "silhouette")]
    assert line["low"] < line["value"] < line["high"]
    wanted = card.scores["vicreg"]["silhouette"] - card.scores["raw"]["silhouette"]
    assert line["vicreg_minus"] == pytest.approx(wanted)
    assert line["vicreg_minus_low"] < wanted < line["vicreg_minus_high"]


def test_a_quantity_is_scored_as_scikit_learn_would() -> None:
    amount = X.sum(axis=1) + np.random.default_rng(0).normal(size=500)
    amount[:10] = np.nan
    card = evaluate(small(), X, amount, maps=False, controls=False, label_name="amount")
    assert card.measures == ("R²", "10-NN error", "effective rank")
    assert "by amount, a quantity" in card.described
    train, test = (np.sort(one) for one in train_test_split(np.arange(500), test_size=0.3,
                                                           random_state=0))  # fmt: skip
    kept = X[:, np.ptp(X[train], axis=0) > 0]
    raw = StandardScaler().fit(kept[train]).transform(kept).clip(-10, 10)
    train, test = train[train >= 10], test[test >= 10]
    assert card.n_scored == len(test)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 5, 8)))
    wanted = ridge.fit(raw[train], amount[train]).score(raw[test], amount[test])
    assert card.scores["raw"]["R²"] == pytest.approx(wanted, abs=1e-3)
    near = KNeighborsRegressor(10).fit(raw[train], amount[train]).predict(raw[test])
    wanted = np.abs(near - amount[test]).mean()
    assert card.scores["raw"]["10-NN error"] == pytest.approx(wanted, rel=1e-3)


def test_a_number_that_one_training_row_has_leaves_out_what_cannot_be_learnt() -> None:
    _, test = train_test_split(np.arange(500), test_size=0.3, random_state=0)
    amount = np.full(500, np.nan)
    amount[test] = 10 + np.random.default_rng(0).normal(size=150)
    amount[np.setdiff1d(np.arange(500), test)[0]] = 10.3
    card = evaluate(small(), X, amount, target="number", maps=False, controls=False)
    assert card.n_scored == 150
    for of_method in card.scores.values():
        assert not {"R²", "10-NN error"} & set(of_method)
    assert card.measures == ("effective rank",)
    assert "R²" not in card.verdict


def test_whole_numbers_are_a_quantity_if_told_so() -> None:
    card = evaluate(small(), X, Y, target="number", maps=False, controls=False)
    assert card.scores["raw"]["R²"] > 0.3
    with pytest.raises(ValueError, match="target must be 'auto', 'classes' or 'number'"):
        evaluate(small(), X, Y, target="digits")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="y must hold numbers, however: it holds 'a'"):
        evaluate(small(), X, ["a", "b"] * 250, target="number")


def test_a_batch_that_shifts_the_table_leaks_and_one_by_chance_does_not() -> None:
    batch = np.random.default_rng(1).integers(0, 2, 500)
    shifted = X + 8.0 * batch[:, None]
    card = evaluate(small(), shifted, Y, batches=batch, batch_name="plate", maps=False,
                    controls=False)  # fmt: skip
    assert card.scores["raw"]["leakage"] == 1
    assert card.scores["vicreg"]["leakage"] > 0.95
    assert any("tells batches apart" in one.title for one in card.advice)
    by_chance = evaluate(small(), X, Y, batches=batch, maps=False, controls=False)
    assert abs(by_chance.scores["vicreg"]["leakage"] - 0.5) < 0.15
    assert not any("tells batches apart" in one.title for one in by_chance.advice)


@pytest.mark.parametrize("each", [1, 2])
def test_leakage_is_of_batches_that_a_probe_can_learn(each: int) -> None:
    group = np.random.default_rng(1).integers(0, 30, 500)
    batch = group // each
    seen = X.copy()
    seen[:, :15] = 16 * np.eye(30)[batch][:, :15]  # in plain sight, where there are few
    seen[:, 15:30] = 16 * np.eye(30)[batch][:, 15:]
    card = evaluate(small(), seen, Y, batches=batch, groups=group, maps=False, controls=False)
    told = [note for note in card.notes if note.startswith("leakage")]
    if each == 2:
        assert card.scores["raw"]["leakage"] > 0.9
        assert "no row of the others is among those that a probe learns from" in told[0]
        return
    assert not any("leakage" in scores for scores in card.scores.values())
    assert "as where groups are batches" in told[0]


def test_a_label_of_one_class_among_the_scored_rows_says_nothing() -> None:
    rare = np.array(["m"] * 500)
    rare[0] = "z"  # of a group that is learnt from
    group = np.arange(500) // 4
    model = small(steps=5).fit(X)
    for seed in range(20):
        card = evaluate(model, X, rare, groups=group, maps=False, controls=False, random_state=seed)
        if card.n_groups == 1:
            break
    assert card.n_groups == 1
    assert "by label, 1 class\n" in str(card)
    assert not set(card.scores["vicreg"]) & {"silhouette", "10-NN", "linear", "ari"}
    assert any("are of one class, 'm'" in note for note in card.notes)


def test_more_than_a_hundred_classes_leave_out_what_takes_too_long() -> None:
    labels = np.repeat([f"c{i}" for i in range(125)], 4)
    card = evaluate(small(steps=5), X, labels, controls=False)
    assert card.measures == ("silhouette", "10-NN", "effective rank")
    assert any("label has 125 classes: above 100" in note for note in card.notes)
    assert "125 classes" in card.to_html()


def test_the_number_of_scored_rows_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vicreg.scored_rows.MOST_SCORED", 120)
    monkeypatch.setattr("vicreg.scored_rows.MOST_PROBED", 200)
    card = evaluate(small(), X, Y, maps=False, controls=False)
    assert card.n_scored == 120
    assert card.scores["raw"]["linear"] > 0.8


def test_a_model_of_another_table_is_refused() -> None:
    model = small().fit(X)
    with pytest.raises(ValueError, match="expecting 64 features"):
        evaluate(model, X[:, :10], Y)


def test_ids_that_are_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="ids must name each of the 500 rows, however: 3"):
        evaluate(small(), X, Y, ids=["a", "b", "c"])


def test_a_column_to_show_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="show must name columns of the table, however: 'y'"):
        evaluate(small(), X, Y, show=["x3", "y"])


@pytest.mark.parametrize(
    ("of", "name", "at"),
    [
        (vicreg.step.TrainingStep, "__call__", 10),  # of the embedding itself
        (vicreg.step.TrainingStep, "__call__", 30),  # of the shuffled control
        (vicreg.neighbourhoods, "warmup_cosine", 15),  # of the control without training
    ],
)
def test_ctrl_c_in_one_of_its_fits_ends_a_scorecard(
    of: Any, name: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = getattr(of, name), []

    def interrupting(*arguments: Any) -> Any:
        calls.append(name)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(of, name, interrupting)
    X = make_blobs(n_samples=150, n_features=9, random_state=0)[0]
    model = VICReg(n_components=160, hidden=(16,), projector=(16,), steps=20, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, X, maps=False)
    assert len(calls) == at


def test_no_group_is_learnt_from_and_scored() -> None:
    # Replicates of patients, whose labels say nothing of them: neighbours know the replicates.
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 10)
    labels = random.integers(0, 2, 60)[patient]
    table = random.normal(size=(60, 10))[patient] + 0.05 * random.normal(size=(600, 10))
    told: dict[str, Any] = {"maps": False, "controls": False}
    torn = evaluate(small(), table, labels, **told)
    assert torn.scores["raw"]["10-NN"] > 0.9
    whole = evaluate(small(), table, labels, groups=patient, **told)
    assert abs(whole.scores["raw"]["10-NN"] - 0.5) < 0.25
    assert whole.model.fitted_with_ == ["groups"]


def test_controls_are_told_what_the_fit_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []
    fit = VICReg._fit

    def watched(self: VICReg, *args: Any, **named: Any) -> VICReg:
        seen.append((named.get("groups") is not None, named.get("sample_weight") is not None))
        return fit(self, *args, **named)

    monkeypatch.setattr(VICReg, "_fit", watched)
    beside: dict[str, Any] = {
        "groups": np.arange(500) // 2,
        "sample_weight": 1 + np.arange(500) % 2,
    }
    evaluate(small(), X, Y, maps=False, **beside)
    assert seen == [(True, True)] * 3
    model = small().fit(X, **beside)
    assert model.fitted_with_ == ["groups", "sample_weight"]
    note = "controls are fitted without the groups and sample_weight of the model"
    assert note in evaluate(model, X, Y, maps=False).notes
    assert note not in evaluate(model, X, Y, maps=False, **beside).notes


@pytest.mark.parametrize(
    ("model", "more", "match"),
    [
        (make_pipeline(StandardScaler(), VICReg()), {}, "model must be a VICReg.*: Pipeline"),
        (VICReg(), {"random_state": None}, "random_state must be an integer, however: .*None"),
        (VICReg(), {"random_state": 0.5}, "random_state must be an integer, however: .*0.5"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_a_fit(
    model: Any, more: dict[str, Any], match: str
) -> None:
    with pytest.raises(TypeError, match=match):
        evaluate(model, X, Y, **more)


def test_infinite_numbers_to_be_told_are_left_out() -> None:
    y = X[:, 20] + 0.5
    y[3] = np.inf
    told = evaluate(small(), X, y, maps=False, controls=False)
    assert any("1 of 500 rows have no label" in note for note in told.notes)


def test_too_few_groups_to_fit_some_and_score_others_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 groups, to fit some.* however: 2; leave"):
        evaluate(small(), X, Y, groups=np.arange(500) % 2)
