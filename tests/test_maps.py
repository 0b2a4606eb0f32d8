"""Maps of spaces: what is placed, where, and what needs UMAP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from vicreg import VICReg, evaluate
from vicreg.cli import main
from vicreg.maps import check_umap, make_maps, map_silhouette

X, Y = make_blobs(n_samples=60, n_features=5, centers=3, cluster_std=0.3, random_state=0)
EVERY_SECOND = np.arange(0, 60, 2)


def small() -> VICReg:
    return VICReg(4, hidden=(8,), projector=(8,), steps=3, random_state=0, n_threads=1)


def test_the_plane_is_scikit_learns_and_has_all_rows() -> None:
    maps = make_maps({"raw": X}, EVERY_SECOND)["raw"]
    np.testing.assert_allclose(maps["PCA"], PCA(2, random_state=0).fit_transform(X))
    assert list(maps) == ["PCA", "t-SNE"]


def test_t_sne_places_the_rows_chosen_and_keeps_far_blobs_apart() -> None:
    points = make_maps({"raw": X}, EVERY_SECOND)["raw"]["t-SNE"]
    assert np.isfinite(points[::2]).all()
    assert np.isnan(points[1::2]).all()
    wanted = silhouette_score(points[::2], Y[::2])
    assert map_silhouette(points, Y) == pytest.approx(wanted)
    assert wanted > 0.6
    # Rows without a label are no class of their own.
    some = np.where(np.arange(60) % 3 > 0, Y.astype(str), "")
    counted = (some != "") & (np.arange(60) % 2 == 0)
    wanted = silhouette_score(points[counted], Y[counted])
    assert map_silhouette(points, some) == pytest.approx(wanted)
    assert np.isnan(map_silhouette(points, np.zeros(60)))


def test_the_silhouette_of_many_points_does_not_depend_on_where_a_table_begins() -> None:
    # The first 2,000 rows are of two labels far apart; those of the others lie on one another.
    labels = np.repeat(np.arange(6), 1000)
    centres = np.array([-50.0, 50.0, 0.0, 0.0, 0.0, 0.0])
    points = np.random.default_rng(0).normal(size=(6000, 2)) + centres[labels, None]
    wanted = silhouette_score(points, labels)
    assert wanted < 0.5
    assert map_silhouette(points, labels) == pytest.approx(wanted, abs=0.03)
    points[:1000] = np.nan
    wanted = silhouette_score(points[1000:], labels[1000:])
    assert map_silhouette(points, labels) == pytest.approx(wanted, abs=0.03)


def test_maps_follow_from_the_seed() -> None:
    one, again = (make_maps({"raw": X}, EVERY_SECOND, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one["raw"]["t-SNE"], again["raw"]["t-SNE"])


def test_a_space_of_one_dimension_has_maps() -> None:
    line = X[:, :1]
    maps = make_maps({"raw": line}, EVERY_SECOND)["raw"]
    np.testing.assert_allclose(np.abs(maps["PCA"][:, 0]), np.abs(line[:, 0] - line.mean()))
    assert (maps["PCA"][:, 1] == 0).all()
    assert np.isfinite(maps["t-SNE"][::2]).all()


def test_a_table_of_one_column_has_a_page() -> None:
    card = evaluate(small(), X[:, :1], controls=False)
    assert "maps" not in " ".join(card.notes)
    assert card.view is not None
    assert set(card.view.maps["raw"]) == {"PCA", "t-SNE"}
    assert "<h2" in card.to_html()


def test_without_umap_the_error_comes_first_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vicreg.maps.find_spec", lambda name: None)
    message = r"needs the package umap-learn, however: it is not installed; pip install umap-learn"
    with pytest.raises(ImportError, match=message):
        check_umap()
    model = small()
    with pytest.raises(ImportError, match=message):
        evaluate(model, X, umap=True)
    table, folder, page = tmp_path / "t.csv", tmp_path / "m", tmp_path / "r.html"
    pd.DataFrame(X).to_csv(table, index=False)
    model.fit(table).save(folder)
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", str(folder), str(table), "--umap", "--report", str(page)])
    assert "umap-learn" in capsys.readouterr().err
    assert not page.exists()


@pytest.mark.slow
def test_umap_maps_are_on_the_page_and_keep_far_blobs_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("umap")
    monkeypatch.setattr("vicreg.view.MOST_PLACED", 50)
    card = evaluate(small(), X, Y, umap=True, controls=False)
    assert card.view is not None
    for of_space in card.view.maps.values():
        assert list(of_space) == ["PCA", "t-SNE", "UMAP"]
        assert np.isfinite(of_space["UMAP"]).all(axis=1).sum() == 50
    assert map_silhouette(card.view.maps["raw"]["UMAP"], Y) > 0.6
    assert "t-SNE and UMAP place 50 of the 60 rows" in card.view.notes
    again = make_maps({"raw": X}, EVERY_SECOND, umap=True)["raw"]["UMAP"]
    np.testing.assert_array_equal(
        again, make_maps({"raw": X}, EVERY_SECOND, umap=True)["raw"]["UMAP"]
    )

    table, folder, page = tmp_path / "t.csv", tmp_path / "m", tmp_path / "r.html"
    pd.DataFrame(X).to_csv(table, index=False)
    small().fit(table).save(folder)
    main(["evaluate", str(folder), str(table), "--umap", "--no-controls", "--report", str(page)])
    assert f"wrote {page}" in capsys.readouterr().out
    assert "UMAP" in page.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(5, 3), (30, 1)], ids=str)
def test_umap_places_few_rows_and_few_dimensions(shape: tuple[int, int]) -> None:
    pytest.importorskip("umap")
    rows = np.random.default_rng(0).normal(size=shape)
    points = make_maps({"raw": rows}, np.arange(len(rows)), umap=True)["raw"]["UMAP"]
    assert points.shape == (len(rows), 2)
    assert np.isfinite(points).all()
