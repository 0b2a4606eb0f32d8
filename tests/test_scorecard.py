"""Scorecards: scores that another library gives too, honest splits, honest words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, load_wine, make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score, silhouette_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from vicreg import Scorecard, VICReg, evaluate
from vicreg.scorecard import _verdict

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
        assert set(of_method) == set(card.measures)
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
    assert few.n_scored == few.model.n_rows_ == 60
    assert "too few rows to hold 100 out: scored on the rows of the fit" in few.notes
    assert list(few.scores) == METHODS[:4]


def test_a_fitted_model_is_scored_as_it_is() -> None:
    model = small().fit(X)
    card = evaluate(model, X, Y, maps=False, controls=False)
    assert card.model is model
    assert not card.held_out
    assert "the model was scored as it was fitted: rows it has seen count in its favour" in (
        card.notes
    )


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
    assert card.scores["raw"]["silhouette of clusters"] > 0.8
    assert "3 k-means clusters" in card.described
    assert set(card.maps) == {"raw", "vicreg"}


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


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Y[:-1], r"one label for each of the 500 rows, however: shape \(499,\)"),
        (np.ones(500), "at least two classes, however: 1"),
        (np.random.default_rng(0).normal(size=500), "must hold classes, however: 500 different"),
        (np.zeros((500, 2)), r"however: shape \(500, 2\)"),
    ],
)
def test_labels_that_cannot_be_scored_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(small(), X, labels)


def test_a_share_of_rows_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="test_size must be between 0 and 1, however: test_size=1"):
        evaluate(small(), X, Y, test_size=1)


def test_a_table_of_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two rows to be scored, however: 1"):
        evaluate(VICReg(), np.ones((1, 3)), maps=False)


def test_a_class_with_one_row_leaves_out_what_cannot_be_crossed() -> None:
    labels = np.array([0] * 20 + [1] * 19 + [2])
    card = evaluate(small(), X[:40], labels, maps=False, controls=False)
    assert set(card.scores["vicreg"]) == {"silhouette", "ari", "effective rank"}


def test_mixed_tables_are_scored_with_their_categories() -> None:
    wine = load_wine(as_frame=True)
    table = wine.data.assign(kind=np.where(wine.data["alcohol"] > 13, "strong", "light"))
    card = evaluate(small(), table, wine.target, maps=False, controls=False)
    assert "raw unscaled" not in card.scores
    assert card.scores["raw"]["10-NN"] > 0.9


def test_forms_of_a_card(card: Scorecard, tmp_path: Path) -> None:
    told = json.loads(card.to_json())
    assert told["scores"]["vicreg"] == pytest.approx(card.scores["vicreg"])
    assert set(told["map_silhouettes"]["raw"]) == {"PCA", "t-SNE"}
    table = card.to_markdown().splitlines()
    assert table[0] == "| method | silhouette | 10-NN | linear | ari | effective rank |"
    assert len(table) == 2 + len(METHODS)
    assert card.verdict in str(card)
    page = card.to_html(tmp_path / "card.html")
    assert (tmp_path / "card.html").read_text(encoding="utf-8") == page


def test_numbers_that_are_none_become_null() -> None:
    few = evaluate(small(), X[:12], maps=False, controls=False)
    few.scores["vicreg"]["silhouette of clusters"] = float("nan")
    assert json.loads(few.to_json())["scores"]["vicreg"]["silhouette of clusters"] is None
    assert "| vicreg |  |" in few.to_markdown()


def scores_of(**methods: tuple[float, float, float]) -> dict[str, dict[str, float]]:
    measures = ("silhouette", "10-NN", "linear")
    return {name: dict(zip(measures, values, strict=True)) for name, values in methods.items()}


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        (
            scores_of(vicreg=(0.3, 0.9, 0.9), raw=(0.1, 0.8, 0.8), pca=(0.2, 0.85, 0.7)),
            "The embedding beats the raw table and PCA on silhouette (0.300 against 0.200 of pca), "
            "10-NN (0.900 against 0.850 of pca) and linear (0.900 against 0.800 of raw).",
        ),
        (
            scores_of(vicreg=(0.1, 0.7, 0.7), raw=(0.2, 0.8, 0.8), pca=(0.1, 0.7, 0.9)),
            "The embedding does not beat the raw table or PCA: behind on silhouette (0.100 against "
            "0.200 of raw), 10-NN (0.700 against 0.800 of raw) and linear (0.700 against 0.900 of "
            "pca).",
        ),
        (
            scores_of(vicreg=(0.3, 0.7, 0.8), raw=(0.2, 0.8, 0.8), pca=(0.1, 0.7, 0.8)),
            "The embedding beats the raw table and PCA on silhouette (0.300 against 0.200 of raw), "
            "but not on 10-NN (0.700 against 0.800 of raw), and is level on linear (0.800 against "
            "0.800 of raw).",
        ),
        (
            scores_of(vicreg=(0.2, 0.8, 0.8), raw=(0.2, 0.8, 0.8), pca=(0.1, 0.7, 0.8)),
            "The embedding does not beat the raw table or PCA: level on silhouette (0.200 against "
            "0.200 of raw), 10-NN (0.800 against 0.800 of raw) and linear (0.800 against 0.800 of "
            "raw).",
        ),
        (
            scores_of(
                vicreg=(0.3, 0.9, 0.9),
                raw=(0.2, 0.8, 0.8),
                pca=(0.2, 0.8, 0.8),
                untrained=(0.31, 0.8, 0.8),
                shuffled=(0.1, 0.8, 0.8),
            ),
            "The embedding beats the raw table and PCA on silhouette (0.300 against 0.200 of raw), "
            "10-NN (0.900 against 0.800 of raw) and linear (0.900 against 0.800 of raw); the "
            "untrained encoder has as high a silhouette, so nothing was learnt.",
        ),
    ],
)
def test_the_verdict_is_one_true_sentence(scores: dict[str, dict[str, float]], wanted: str) -> None:
    assert _verdict(scores, labelled=True) == wanted
