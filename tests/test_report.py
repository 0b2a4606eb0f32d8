"""The report: self-contained, escaped, with real pictures."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

from vicreg import Scorecard, VICReg, evaluate
from vicreg.plots import plot_maps
from vicreg.report import render_report

VOID = {"meta", "img", "br", "link", "hr", "input"}
NASTY = "<script>alert('x')</script> $x_1$ _ü"


class Balance(HTMLParser):
    """Notes tags that are not closed in order, and everything that is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def card() -> Scorecard:
    wine = load_wine(as_frame=True)
    table = pd.DataFrame({**wine.data, NASTY: 1.0})
    labels = np.array([f"{NASTY} {y}" for y in wine.target])
    model = VICReg(
        n_components=4, hidden=(8,), projector=(8,), steps=20, random_state=0, n_threads=1
    )
    return evaluate(model, table, labels, title=NASTY, label_name=NASTY, controls=False)


@pytest.fixture(scope="module")
def page(card: Scorecard) -> str:
    return render_report([card.for_report(), card.for_report()], title=NASTY)


def test_page_is_balanced_and_loads_nothing_from_elsewhere(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert all(source.startswith("data:image/png;base64,") for source in parser.sources)
    assert "script" not in parser.tags
    assert not re.search(r"url\(|@import|https?://", page)


def test_text_from_the_table_is_escaped(page: str) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; $x_1$ _ü" in page


def test_every_picture_is_a_real_one(page: str) -> None:
    pictures = re.findall(r"base64,([^\"]+)", page)
    assert len(pictures) == 6
    for data in pictures:
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="png")
        assert pixels.shape[1] > 800
        assert pixels[..., :3].std() > 0.02
    assert page.count("<section>") == 2


def test_scores_and_verdict_are_on_the_page(page: str, card: Scorecard) -> None:
    assert f"<td>{card.scores['raw']['silhouette']:.3f}</td>" in page
    assert card.verdict.split(" (")[0] in page


@pytest.mark.parametrize("n_labels", [1, 3, 40])
def test_maps_take_any_number_of_labels(n_labels: int) -> None:
    points = np.random.default_rng(0).normal(size=(80, 2))
    labels = np.array([f"${i % n_labels}$_" for i in range(80)])
    maps = {space: {"PCA": (points, 0.5)} for space in ("raw", "vicreg")}
    figure = plot_maps(maps, labels)
    figure.savefig(io.BytesIO(), format="png")
    offsets = [np.asarray(one.get_offsets()) for one in figure.axes[0].collections]
    assert sum(map(len, offsets)) == 80
    assert bool(figure.legends) == (n_labels <= 12)


def test_no_label_hides_its_entry_or_becomes_mathematics() -> None:
    names = ["_hidden", "", "$x_1$", "猫"]
    plane = (np.eye(4, 2), 0.0)
    figure = plot_maps({"raw": {"PCA": plane}}, np.array(names))
    (legend,) = figure.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == sorted(
        [" _hidden", " ", r"\$x_1\$", "猫"]
    )
