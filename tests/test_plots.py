"""Static pictures: what is drawn is what was measured, into the axes given, in every format."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.datasets import load_wine

import vicreg
from vicreg import Scorecard, VICReg, evaluate
from vicreg.plots import PALETTE

NAMES = ["$x_1$", "_hidden", "猫"]


@pytest.fixture(scope="module")
def card() -> Scorecard:
    wine = load_wine(as_frame=True)
    model = VICReg(
        n_components=4, hidden=(8,), projector=(8,), steps=30, random_state=0, n_threads=1
    )
    labels = np.array(NAMES)[wine.target]
    return evaluate(model, wine.data, labels, controls=False, label_name="_cultivar$")


ALL = [name for name in vicreg.__all__ if name.startswith("plot_")]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
@pytest.mark.filterwarnings("ignore:Glyph .* missing from")
def test_every_picture_goes_into_every_format(
    card: Scorecard, name: str, suffix: str, tmp_path: Path
) -> None:
    ax = getattr(vicreg, name)(card)
    path = tmp_path / f"p.{suffix}"
    ax.figure.savefig(path)
    starts = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert path.read_bytes().startswith(starts[suffix])


@pytest.mark.parametrize("name", ALL)
def test_every_picture_is_drawn_into_the_axes_given(card: Scorecard, name: str) -> None:
    axes = Figure().subplots(1, 2)
    assert getattr(vicreg, name)(card, ax=axes[1]) is axes[1]
    assert axes[1].has_data()
    assert not axes[0].has_data()


def test_scores_are_drawn_at_their_values(card: Scorecard) -> None:
    ax = vicreg.plot_scores(card, "10-NN")
    lines = [np.asarray(line.get_xdata()).tolist() for line in ax.lines]
    drawn = [line[0] for line in lines if len(line) == 1]
    assert drawn == [of_method["10-NN"] for of_method in card.scores.values()]
    bars = [tuple(line) for line in lines if len(line) == 2]
    assert bars[0] == card.estimates["vicreg"]["10-NN"].interval


def test_a_map_has_every_row_once_and_its_label(card: Scorecard) -> None:
    ax: Any = vicreg.plot_map(card, "raw", "PCA")
    assert sum(len(one.get_offsets()) for one in ax.collections) == 178
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [r"\$x_1\$", " _hidden", "猫"]
    assert ax.get_legend().get_title().get_text() == r" _cultivar\$"
    by_number: Any = vicreg.plot_map(card, "vicreg", "t-SNE", "alcohol")
    np.testing.assert_allclose(
        np.sort(by_number.collections[0].get_array()), np.sort(load_wine().data[:, 0])
    )


def test_rows_that_have_none_are_crosses_of_their_own(card: Scorecard) -> None:
    assert card.view is not None
    labels = card.view.colours["_cultivar$"].copy()
    labels[:5] = ""
    numbers = np.where(np.arange(178) < 7, np.nan, np.arange(178.0))
    view = replace(card.view, colours={"class": labels, "number": numbers})
    for colour, count in (("class", 5), ("number", 7)):
        ax: Any = vicreg.plot_map(replace(card, view=view), "raw", "PCA", colour)
        assert len(ax.collections[0].get_offsets()) == count
        assert ax.get_legend().get_texts()[0].get_text() == "missing"
        assert sum(len(one.get_offsets()) for one in ax.collections) == 178


def test_history_and_importance_are_the_cards(card: Scorecard) -> None:
    ax: Any = vicreg.plot_history(card, "terms")
    assert [line.get_label() for line in ax.lines] == ["invariance", "variance", "covariance"]
    assert list(ax.lines[2].get_ydata()) == card.model.history_["covariance"]
    assert card.view is not None
    bars: Any = vicreg.plot_importance(card, 5).patches
    widths = [bar.get_width() for bar in bars]
    assert widths == [one.moved for one in card.view.importance[:5]]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("plot_scores", {"measure": "beauty"}, "measure must be one of silhouette, 10-NN"),
        ("plot_map", {"kind": "UMAP"}, "space and kind must be of the card's maps"),
        ("plot_map", {"colour": "taste"}, "colour must be shown by the card"),
        ("plot_history", {"what": "time"}, "what must be one of loss, terms, rank"),
        ("plot_confusion", {"space": "pca"}, "must have labels and the space"),
    ],
)
def test_what_is_not_there_is_refused(
    card: Scorecard, name: str, given: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(vicreg, name)(card, **given)


def test_pictures_need_no_window_and_no_pyplot() -> None:
    code = (
        "import sys, numpy as np\nfrom vicreg import VICReg, evaluate, plot_history\n"
        "card = evaluate(VICReg(steps=3), np.eye(12), controls=False, maps=False)\n"
        "plot_history(card).figure.canvas.draw()\nprint('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def palettes_of_the_page() -> list[list[str]]:
    """As the page's script has them."""
    script = Path(vicreg.__file__).with_name("templates") / "data.js"
    lines = re.findall(r"(?:light|dark): (\[.*?\])", script.read_text(encoding="utf-8"))
    return [json.loads(line) for line in lines]


def test_the_page_and_the_pictures_have_the_same_colours() -> None:
    light, dark = palettes_of_the_page()
    assert light == list(PALETTE)
    assert len(dark) == 8


@pytest.mark.parametrize("palette", palettes_of_the_page(), ids=["light", "dark"])
def test_colours_differ_also_for_colour_blind_readers(palette: list[str]) -> None:
    """Machado's matrices (2009, severity 1) for protanopia and deuteranopia, linear RGB."""
    matrices = {
        "full": np.eye(3),
        "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                       [-0.003882, -0.048116, 1.051998]],
        "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]],
    }  # fmt: skip
    digits = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in palette]) / 255
    linear = np.where(digits <= 0.04045, digits / 12.92, ((digits + 0.055) / 1.055) ** 2.4)
    for name, matrix in matrices.items():
        seen = (linear @ np.asarray(matrix).T).clip(0, 1) ** (1 / 2.4)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)[np.triu_indices(8, 1)]
        assert apart.min() > 0.15, name
