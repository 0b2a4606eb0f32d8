"""The card in a model folder: for people, true to the model, harmless, and never read."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from vicreg import VICReg, evaluate, load
from vicreg.modelcard import escaped

NASTY = "a|b <script>x</script> `c` *d* [e](http://f.example) $g$ \n# h"


def model() -> VICReg:
    return VICReg(n_components=4, hidden=(8,), projector=(8,), steps=5, random_state=0, n_threads=1)


def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "height": random.normal(size=60),
            NASTY: random.normal(size=60),
            "colour": ["red", "blue", "green"] * 20,
            "same": 1.0,
        }
    )


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(text: str) -> Tags:
    """As a Markdown renderer with tables, raw HTML and links would show it."""
    found = Tags()
    found.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("card") / "m"
    model().fit(table()).save(path)
    return path


def test_the_card_says_what_the_model_is(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "a table of 60 rows and 4 columns into 4 dimensions" in card
    assert "| height | number | value |" in card
    assert "| colour | category | 4 codes |" in card
    assert "- left out, constant: same" in card
    assert "| nu | 0.1 |" in card
    assert card.index("## Columns") < card.index("must have the columns above")
    assert "5 steps" in card
    assert "not evaluated" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    names: dict[str, object] = {"table": table()}
    exec(code.replace("this folder", str(folder)), names)
    assert names["Z"].shape == (60, 4)  # type: ignore[attr-defined]


def test_text_of_the_table_is_text(folder: Path) -> None:
    found = rendered((folder / "README.md").read_text(encoding="utf-8"))
    assert not {"script", "a", "em", "img"} & found.tags
    assert "h3" not in found.tags
    assert "<script>x</script>" in found.text
    assert "*d*" in found.text


@pytest.mark.parametrize(
    "text", [NASTY, "www.x.y", "mail@x.y", "_a_b", "<!-- x", "&lt;", "\\", "1. a"]
)
def test_escaped_text_renders_as_itself(text: str) -> None:
    found = rendered(f"x {escaped(text)}")
    assert found.tags == {"p"}
    assert found.text.strip().replace("\u200b", "") == f"x {' '.join(text.split())}"


def test_loading_does_not_read_the_card(folder: Path) -> None:
    before = load(folder).transform(table())
    (folder / "README.md").write_text("something else", encoding="utf-8")
    assert np.array_equal(load(folder).transform(table()), before)
    (folder / "README.md").unlink()
    assert np.array_equal(load(folder).transform(table()), before)


def test_scores_are_on_the_card_of_an_evaluated_model(tmp_path: Path) -> None:
    card = evaluate(model(), table(), ["x", "y", "z"] * 20, controls=False, maps=False)
    card.model.save(tmp_path / "m")
    text = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert f"| raw | {card.scores['raw']['silhouette']:.3f} |" in text
    assert card.verdict in text
