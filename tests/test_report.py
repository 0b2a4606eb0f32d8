"""The page as a file: self-contained, escaped, small, with everything of the card in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

from vicreg import Scorecard, VICReg, evaluate
from vicreg.importance import Importance
from vicreg.packing import pack_view, safe_json
from vicreg.report import render_report
from vicreg.shown_columns import shown_column
from vicreg.sources import read
from vicreg.view import View

VOID = {"meta", "img", "br", "link", "hr", "input"}
NASTY = "<script>alert('x')</script></script><!-- $x_1$ _ü \u2028"


class Balance(HTMLParser):
    """Notes tags that are not closed in order, what is loaded from elsewhere, and texts by id."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.metas: dict[str, str] = {}
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.sources += [told[name] for name in ("src", "href") if name in told]
        self.inline += [name for name in told if name.startswith("on") or name == "style"]
        if tag == "meta":
            self.metas[told.get("http-equiv", told.get("name", ""))] = told.get("content", "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            (self.scripts if self.open[-1] == "script" else self.styles).append(data)


@pytest.fixture(scope="module")
def card() -> Scorecard:
    wine = load_wine(as_frame=True)
    table = pd.DataFrame(
        {**wine.data, NASTY: np.arange(178.0) % 7, "word": [NASTY] * 80 + ["b"] * 98}
    )
    labels = np.array([f"{NASTY} {y}" for y in wine.target])
    ids = [f"{NASTY}{i // 2}" for i in range(178)]  # each of them twice
    model = VICReg(
        n_components=4, hidden=(8,), projector=(8,), steps=20, random_state=0, n_threads=1
    )
    return evaluate(model, table, labels, ids=ids, title=NASTY, label_name=NASTY, controls=False)


@pytest.fixture(scope="module")
def page(card: Scorecard) -> str:
    return render_report([card, card], title=NASTY)


@pytest.fixture(scope="module")
def parsed(page: str) -> Balance:
    parser = Balance()
    parser.feed(page)
    return parser


def test_page_is_balanced_and_loads_nothing_from_elsewhere(page: str, parsed: Balance) -> None:
    assert parsed.open == []
    assert all(source.startswith(("data:", "#")) for source in parsed.sources)
    assert not {"iframe", "object", "link", "form"} & set(parsed.tags)
    assert not re.search(r"@import|fetch\(|XMLHttpRequest|import\(", page)
    # One address, the name of SVG's elements, which nothing is loaded from.
    assert set(re.findall(r"https?://[^\"']+", page)) == {"http://www.w3.org/2000/svg"}


def test_only_the_pages_own_script_and_style_may_run(parsed: Balance) -> None:
    policy = parsed.metas["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    data, script = parsed.scripts
    json.loads(data)
    for kind, text in (("script", script), ("style", parsed.styles[0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert parsed.inline == []


def test_text_from_the_table_is_escaped(page: str) -> None:
    assert "<script>alert" not in page
    assert "</script></script" not in page
    assert "\u2028" not in page.split('id="data">')[1].split("</script>")[0]
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


@pytest.mark.parametrize("text", ["</script>", "<!--", "\u2028\u2029", "&amp;", "\ud800", 'a"\\b'])
def test_json_survives_a_script_element(text: str) -> None:
    packed = safe_json({"a": [text, float("nan")]})
    assert packed.isascii()
    assert not set("<>&") & set(packed)
    assert json.loads(packed) == {"a": [text, None]}


def carried(parsed: Balance) -> Any:
    return json.loads(parsed.scripts[0])["cards"][0]


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_the_page_carries_the_rows_as_they_are(parsed: Balance, card: Scorecard) -> None:
    told, view = carried(parsed), card.view
    assert view is not None
    assert told["n"] == 178 == len(told["ids"])
    assert told["ids"][3] == f"{NASTY}1"
    assert told["kinds"] == ["PCA", "t-SNE"]
    by_name = {one["name"]: one for one in told["colours"]}
    wine = load_wine(as_frame=True).data
    alcohol = array(by_name["alcohol"]["values"], "<f4")
    np.testing.assert_allclose(alcohol, wine["alcohol"].iloc[told["rows"]], rtol=1e-6)
    word = by_name["word"]
    assert word["names"] == [NASTY, "b"]
    assert array(word["codes"], "<u2").tolist() == [0] * 80 + [1] * 98
    for space in told["spaces"]:
        near = array(space["neighbours"], "<u2").reshape(178, 10)
        assert (near == view.neighbours[space["key"]]).all()
        points = array(space["maps"]["PCA"], "<u2").reshape(178, 2).astype(float)
        original = view.maps[space["key"]]["PCA"]
        scale = np.ptp(original, axis=0).max() / 65_534
        np.testing.assert_allclose(points * scale, original - original.min(axis=0), atol=scale)


def test_dates_are_carried_to_the_second_and_numbers_in_half_the_room() -> None:
    days = pd.Series(pd.to_datetime(["2024-05-17 10:31:07", "2024-05-17 10:32:07", None]))
    table = pd.DataFrame({"when": days, "number": [1.5, 2.5, 3.5]})
    source = read(table)
    columns = [column for place in (0, 1) if (column := shown_column(source, place))]
    told = pack_view(View(np.arange(3), ["a", "b", "c"], columns=columns), None, 10**6)
    when, number = json.loads(safe_json(told))["colours"]
    assert when["date"]
    found = pd.to_datetime(array(when["values"], "<f8"), unit="s")
    pd.testing.assert_index_equal(found, pd.DatetimeIndex(days), exact="equiv", check_names=False)
    assert "date" not in number
    assert array(number["values"], "<f4").tolist() == [1.5, 2.5, 3.5]


def test_repeated_ids_are_noted(page: str) -> None:
    assert "89 of the 178 row ids shown repeat another one" in page


def test_scores_intervals_and_verdict_are_on_the_page(page: str, card: Scorecard) -> None:
    estimate = card.estimates["raw"]["silhouette"]
    assert f'{estimate.value:.3f} <span class="pm">± {estimate.half_width:.3f}</span>' in page
    for sentence in card.judgement.sentences:
        assert sentence in page
    assert card.facts["table"]["sha256"] in page
    assert page.count('<section class="card"') == 2


def told_of(page: str) -> str:
    """The page's words, without its scripts and tags."""
    words = re.sub(r"(?s)<(script|style).*?</\1>|<[^>]*>", " ", page)
    return " ".join(words.split())


def test_the_heading_says_that_the_rows_were_seen(card: Scorecard) -> None:
    assert not card.held_out
    assert card.seen
    headline = card.judgement.headline
    assert f"{headline}, on rows that the fit has seen" in told_of(card.to_html())
    unseen = replace(card, seen=False)
    assert "on rows that the fit has seen" not in told_of(unseen.to_html())


def test_notes_begin_with_a_capital_and_keep_options_whole(card: Scorecard) -> None:
    notes = ["use --refit, not a-b --", "<b> is --no-x<i>", f"{NASTY} has 300 classes"]
    page = replace(card, notes=notes).to_html()
    assert '<li>Use <span class="option">--refit</span>, not a-b --</li>' in page
    assert '<li>&lt;b&gt; is <span class="option">--no-x</span>&lt;i&gt;</li>' in page
    assert "<li>&lt;script&gt;alert" in page  # a name stays as it is


def test_methods_and_measures_are_explained_where_there_are_any(card: Scorecard) -> None:
    words = told_of(card.to_html())
    for shown, meaning in (
        (True, "principal components, as many"),
        (True, "how much nearer a row"),
        (False, "numbers as they came"),  # the table has text
        (False, "as it was initialised"),
        (False, "logistic regression for the batch"),
    ):
        assert (meaning in words) == shown
    numbers = load_wine().data
    model = VICReg(n_components=2, hidden=(4,), projector=(4,), steps=3, random_state=0)
    batches = np.arange(178) % 2
    of_numbers = evaluate(model, numbers, batches=batches, maps=False)
    words = told_of(of_numbers.to_html())
    for meaning in ("numbers as they came", "as it was initialised", "for the batch"):
        assert meaning in words


def test_a_ranking_within_the_errors_is_no_ranking(card: Scorecard) -> None:
    view = card.view
    assert view is not None

    def notes(*columns: Importance) -> list[str]:
        page = replace(card, view=replace(view, importance=list(columns))).to_html()
        return re.findall(r"The lines of the first (\d+) columns overlap", page)

    far, near, least = (
        Importance(name, moved, 0.1) for name, moved in (("a", 1.0), ("b", 0.7), ("c", 0.2))
    )
    assert notes(far, near, least) == ["2"]
    assert notes(far, least) == []


def test_columns_left_out_by_the_fit_are_not_counted() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(60, 24)), columns=[f"c{i}" for i in range(24)])
    table["id"] = [f"i{i}" for i in range(60)]
    model = VICReg(n_components=2, hidden=(4,), projector=(4,), steps=3, random_state=0)
    for more, note in ((0, ""), (6, "hover and colour have 24 of the 30 columns of the fit")):
        wide = table.assign(**{f"d{i}": random.normal(size=60) for i in range(more)})
        view = evaluate(model, wide, controls=False).view
        assert view is not None
        assert [one.partition(":")[0] for one in view.notes] == [note] * bool(note)


def test_more_pictures_are_images_in_which_nothing_runs(card: Scorecard) -> None:
    svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"
    card.pictures.append(("A study", "its trials", svg))
    page = card.to_html()
    card.pictures.clear()
    assert 'alt="its trials"' in page
    assert base64.b64encode(svg.encode()).decode() in page
    assert "<script>1" not in page


def test_columns_are_left_out_before_a_page_is_too_large(
    card: Scorecard, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = card.to_html()
    monkeypatch.setattr("vicreg.report.MOST_BYTES", 340_000)
    small = card.to_html()
    assert len(small) < len(whole)
    assert "columns were left out of the page to keep it below 8 MB" in small


def test_a_notebook_gets_the_page_in_a_frame_of_its_own(card: Scorecard) -> None:
    parser = Balance()
    parser.feed(card._repr_html_())
    assert parser.tags == ["iframe"]
    assert parser.open == []


@pytest.mark.parametrize("rows", [4, 12])
def test_a_table_of_a_few_rows_has_a_page(rows: int) -> None:
    X = np.random.default_rng(0).normal(size=(rows, 3))
    model = VICReg(n_components=2, hidden=(4,), projector=(4,), steps=3, random_state=0)
    page = evaluate(model, X, controls=False).to_html()
    assert ("Too few rows for maps" in page) == (rows == 4)
    assert f"{rows} rows" in page


def test_whole_numbers_keep_every_digit() -> None:
    days = np.array([20200107.0, 20200109.0, np.nan])
    shares = np.array([0.5, 1e6, 1.0])
    others = {"moment": [1700000150.25, 0.5, 1], "beyond": [0.5, 1e39, 1], "tiny": [1e-300, 0.5, 0]}
    columns = {"day": days, "share": shares, **{k: np.array(v) for k, v in others.items()}}
    view = View(np.arange(3), ["a", "b", "c"], columns)
    view.colours["cluster of the embedding"] = np.array(["", "cluster 1", ""])
    day, share, *wide, clusters = pack_view(view, None, 10**6)["colours"]
    for one, values in zip(wide, others.values(), strict=True):
        assert array(one["values"], "<f8").tolist() == values
    assert clusters["none"] == "not scored"  # of the others it is missing
    assert np.array_equal(array(day["values"], "<f8"), days, equal_nan=True)
    assert np.array_equal(array(share["values"], "<f4"), shares.astype(np.float32))
    assert (day["wide"], share["wide"]) == (True, False)
