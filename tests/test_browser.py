"""The page in a real browser: opened from a file, with the network off.

Needs Playwright and a Chromium. Without them the tests are skipped and say so; where
``VICREG_REQUIRE_BROWSER=1`` is set, as in ``.ci/run``, they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

from vicreg import VICReg, evaluate
from vicreg.live import LiveState, write_live_page

NASTY = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
CHROMIUM = os.environ.get("VICREG_BROWSER") or shutil.which("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    missing = "" if CHROMIUM else "no chromium (apt-get install chromium, or VICREG_BROWSER=PATH)"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "Playwright is not installed (pip install playwright)"
    if missing:
        if os.environ.get("VICREG_REQUIRE_BROWSER") == "1":
            pytest.fail(f"the browser tests must run here, however: {missing}")
        pytest.skip(f"browser tests: {missing}")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wine = load_wine(as_frame=True)
    table = wine.data.assign(word=[NASTY if i % 9 == 0 else "plain" for i in range(178)])
    model = VICReg(
        n_components=4, hidden=(8,), projector=(8,), steps=30, random_state=0, n_threads=1
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    evaluate(
        model,
        table,
        np.array([f"{NASTY} {y}" if y == 0 else f"kind {y}" for y in wine.target]),
        ids=[f"{NASTY}{i}" if i == 3 else f"bottle {i}" for i in range(178)],
        title=NASTY,
        label_name="kind",
        controls=False,
    ).to_html(path)
    return path


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 1000}, offline=True)
    opened = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    # The tests read the canvas back, which the page itself never does.
    opened.on(
        "console",
        lambda message: None if "readback" in message.text else complaints.append(message.text),
    )
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready]")
    settle(opened)
    yield opened
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert opened.title() == f"VICReg on {NASTY}"  # no script of the table ran
    context.close()


def settle(page: Any) -> None:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")


def colours(page: Any, panel: int = 0) -> dict[tuple[int, int, int], int]:
    """Opaque colours of a map's canvas and how many pixels have them."""
    found = page.evaluate(
        """panel => {
            const canvas = document.querySelectorAll(".stage canvas:first-child")[panel];
            const { data } = canvas.getContext("2d")
                .getImageData(0, 0, canvas.width, canvas.height);
            const counts = new Map();
            for (let i = 0; i < data.length; i += 4) {
                if (data[i + 3] < 255) continue;
                const colour = (data[i] << 16) + (data[i + 1] << 8) + data[i + 2];
                counts.set(colour, (counts.get(colour) || 0) + 1);
            }
            return [...counts];
        }""",
        panel,
    )
    return {(one >> 16, one >> 8 & 255, one & 255): count for one, count in found}


def stage(page: Any, panel: int) -> Any:
    page.locator(".stage").nth(panel).scroll_into_view_if_needed()
    return page.locator(".stage canvas.over").nth(panel).bounding_box()


def drag(page: Any, panel: int, path: list[tuple[float, float]], **modifiers: bool) -> None:
    """Drag over a map along shares of its width and height."""
    box = stage(page, panel)
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in path]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    settle(page)


def count_selected(page: Any) -> int:
    head = page.locator(".selection h4").inner_text()
    return int(head.split(" of ")[0]) if " of " in head else 0


def test_it_opens_and_every_map_shows_its_points(page: Any) -> None:
    assert page.locator(".stage").count() == 3
    for panel in range(3):
        shown = colours(page, panel)
        assert sum(shown.values()) > 500
        for wanted in ((0, 114, 178), (230, 159, 0), (0, 158, 115)):  # of three labels
            assert shown.get(wanted, 0) > 50
    assert page.locator(".chart > svg").count() == 5
    assert page.locator(".chart > svg path").count() >= 10


def test_text_of_the_table_is_text(page: Any) -> None:
    assert page.locator("h2").first.inner_text() == NASTY
    assert page.locator("main img, main script").count() == 0
    assert page.locator(".legend .word").first.inner_text().startswith("<img src=x")
    page.get_by_label("Find a row").fill("<script>")
    page.locator(".find li button").click()
    assert page.locator(".detail h4").first.inner_text() == f"{NASTY}3 (row 3)"
    assert page.locator(".detail dd").first.inner_text().startswith("<img src=x")


def test_hover_names_the_row_and_its_columns(page: Any) -> None:
    page.get_by_label("Find a row").fill("bottle 77")
    page.locator(".find li button").first.click()
    x, y = page.evaluate("""() => {
        const canvas = document.querySelectorAll(".stage canvas.over")[2];
        const ctx = canvas.getContext("2d");
        const { data, width, height } = ctx.getImageData(0, 0, canvas.width, canvas.height);
        let [left, right, top, bottom] = [width, 0, height, 0];
        for (let i = 0; i < width * height; i++) {  // the ring of the row is the orange one
            if (data[4 * i] < 180 || data[4 * i + 2] > 60 || data[4 * i + 3] < 128) continue;
            left = Math.min(left, i % width); right = Math.max(right, i % width);
            const y = Math.floor(i / width);
            top = Math.min(top, y); bottom = Math.max(bottom, y);
        }
        return [(left + right) / 2 / width, (top + bottom) / 2 / height];
    }""")
    page.keyboard.press("Escape")
    box = stage(page, 2)
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    tip = page.locator(".tip:visible")
    lines = tip.inner_text().split("\n")
    assert lines[0] == "bottle 77 (row 77)"
    assert lines[1] == "kind: kind 1"
    assert len(lines) > 4
    page.mouse.move(0, 0)
    assert page.locator(".tip:visible").count() == 0


def test_search_finds_a_row_and_its_neighbours_in_every_space(page: Any) -> None:
    search = page.get_by_label("Find a row")
    search.fill("bottle 12")
    assert page.locator(".find li").first.inner_text() == "bottle 12 (row 12)"
    assert page.locator(".find li").count() == 11  # 12 and 120 to 129
    search.press("Enter")
    assert page.locator(".detail h4").all_inner_texts() == [
        "bottle 12 (row 12)", "raw table", "PCA", "embedding",
    ]  # fmt: skip
    wine = load_wine().data
    assert f"{wine[12, 0]:g}" in page.locator(".detail dl").inner_text()
    assert [page.locator(".near ol").nth(i).locator("li").count() for i in range(3)] == [10] * 3
    page.locator(".near li button").nth(4).click()
    assert page.locator(".detail h4").first.inner_text() != "bottle 12 (row 12)"
    search.fill("no such bottle")
    assert page.locator(".find li").inner_text() == "no such row on the maps"


def test_a_box_over_everything_selects_all_and_escape_none(page: Any) -> None:
    drag(page, 0, [(0.005, 0.005), (0.995, 0.995)])
    assert count_selected(page) == 178
    ids = page.get_by_label("Ids of the selected rows").input_value().split("\n")
    assert len(ids) == 178
    page.locator(".stage canvas.over").first.focus()
    page.keyboard.press("Escape")
    assert count_selected(page) == 0


def test_a_selection_is_shown_in_every_map_and_grows_with_shift(page: Any) -> None:
    drag(page, 2, [(0.01, 0.01), (0.5, 0.99)])
    left = count_selected(page)
    assert 0 < left < 178
    for panel in range(3):  # the others are grey
        assert colours(page, panel).get((211, 217, 224), 0) > 50
    page.keyboard.down("Shift")
    drag(page, 2, [(0.45, 0.01), (0.99, 0.99)])
    page.keyboard.up("Shift")
    assert count_selected(page) == 178


def test_a_lasso_selects_what_it_encloses(page: Any) -> None:
    page.get_by_role("button", name="Lasso").click()
    triangle = [(0.01, 0.01), (0.99, 0.01), (0.01, 0.99)]
    drag(page, 0, triangle)
    above = count_selected(page)
    other = [(0.99, 0.01), (0.99, 0.99), (0.01, 0.99)]
    drag(page, 0, other)
    assert 0 < above < 178
    assert abs(above + count_selected(page) - 178) <= 2  # one may lie on the edge itself
    page.get_by_role("button", name="Clear").click()
    assert count_selected(page) == 0


def test_the_legend_selects_a_label(page: Any) -> None:
    wanted = (load_wine().target == 2).sum()
    page.locator(".legend button", has_text="kind 2").click()
    assert count_selected(page) == wanted
    assert "kind: kind 2 100 %" in page.locator(".selection").inner_text()


def test_another_colour_repaints_the_maps(page: Any) -> None:
    before = colours(page, 1)
    page.get_by_label("Colour by").select_option(label="alcohol")
    settle(page)
    after = colours(page, 1)
    assert len(set(after) - set(before)) > 10  # steps of a ramp
    low = page.locator(".legend li").inner_text()
    assert low.startswith("11.")
    assert "14." in low
    page.get_by_label("Colour by").select_option(label="cluster of the embedding")
    assert page.locator(".legend button").count() == 3


def test_another_map_moves_the_points(page: Any) -> None:
    def picture() -> bytes:
        shot: bytes = page.locator(".stage").first.screenshot()
        return shot

    before = picture()
    page.get_by_role("combobox", name="Map").select_option(label="PCA")
    settle(page)
    assert picture() != before
    page.get_by_role("combobox", name="Map").select_option(label="t-SNE")
    settle(page)
    assert picture() == before


def test_the_keyboard_reaches_rows_and_selects_them(page: Any) -> None:
    page.get_by_role("button", name="Clear").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "over"
    seen = set()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowRight"):
        page.keyboard.press(key)
        seen.add(page.locator(".detail h4").first.inner_text())
    assert len(seen) >= 3
    page.keyboard.press("Enter")
    assert count_selected(page) == 1
    page.keyboard.press("Escape")
    assert count_selected(page) == 0


def test_the_dark_theme_follows_the_system_and_the_button(browser: Any, report: Path) -> None:
    context = browser.new_context(color_scheme="dark", offline=True)
    page = context.new_page()
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    settle(page)

    def background() -> str:
        told: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return told

    assert background() == "rgb(18, 23, 29)"
    assert colours(page).get((74, 144, 224), 0) > 50  # a lighter blue than on white
    page.get_by_role("button", name="Dark theme").click()
    settle(page)
    assert background() == "rgb(255, 255, 255)"
    assert colours(page).get((0, 114, 178), 0) > 50
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        settle(page)
    assert background() == "rgb(18, 23, 29)"
    context.close()


def test_a_phone_reads_it_without_scrolling_sideways(browser: Any, report: Path) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, is_mobile=True, has_touch=True, offline=True
    )
    page = context.new_page()
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = stage(page, 0)
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    touch = "getComputedStyle(document.querySelector('.stage canvas.over')).touchAction"
    assert page.evaluate(touch) == "pan-y"
    page.get_by_role("button", name="Lasso").tap()
    assert page.evaluate(touch) == "none"
    context.close()


def test_every_control_has_a_name_for_a_screen_reader(page: Any) -> None:
    nameless = page.evaluate("""() => {
        const controls = "button, select, input, textarea, img, canvas.over";
        const named = e => e.getAttribute("aria-label") || e.textContent.trim() || e.alt
            || e.labels?.length;
        return [...document.querySelectorAll(controls)].filter(e => !named(e))
            .map(e => e.outerHTML.slice(0, 80));
    }""")
    assert nameless == []
    assert page.locator(".chart > svg[role=img][aria-label*='from']").count() == 5


def test_text_stands_out_from_its_background_in_both_themes(page: Any) -> None:
    for theme in ("light", "dark"):
        page.evaluate("name => { document.documentElement.dataset.theme = name; }", theme)
        style = "getComputedStyle(document.documentElement).getPropertyValue"
        read = {
            name: page.evaluate(f"{style}('--{name}').trim()")
            for name in ("ink", "soft", "accent", "good", "bad", "paper", "wash", "card")
        }
        for ground in ("paper", "wash", "card"):
            for text in ("ink", "soft", "accent", "good", "bad"):
                assert contrast(read[text], read[ground]) >= 4.5, (theme, text, ground)


def contrast(one: str, other: str) -> float:
    """Of WCAG 2.1, from 1 to 21."""

    def luminance(colour: str) -> float:
        digits = colour.lstrip("#")
        digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_hundred_labels_are_colours_in_shapes_and_others(browser: Any, tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(360, 3))
    labels = pd.Series([f"label {i % 120}" for i in range(360)])
    model = VICReg(n_components=2, hidden=(4,), projector=(4,), steps=3, random_state=0)
    evaluate(model, X, labels, controls=False).to_html(tmp_path / "r.html")
    page = browser.new_page()
    page.goto((tmp_path / "r.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    words = page.locator(".legend .word").all_inner_texts()
    assert len(words) == 32
    assert words[-1] == "89 others"
    looks = page.locator(".legend button svg").evaluate_all("all => all.map(e => e.innerHTML)")
    assert len(set(looks)) == 32
    page.locator(".legend button").last.click()
    assert count_selected(page) == 89 * 3
    page.close()


def test_a_row_has_its_date_to_the_minute(browser: Any, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(40, 2))
    table = pd.DataFrame(numbers, columns=["a", "b"])
    table["when"] = pd.Timestamp("2024-05-17 10:31:07") + pd.to_timedelta(np.arange(40), unit="min")
    model = VICReg(n_components=2, hidden=(4,), projector=(4,), steps=3, random_state=0)
    card = evaluate(model, table, controls=False, show=["when"])
    card.to_html(tmp_path / "r.html")
    page = browser.new_page()
    page.goto((tmp_path / "r.html").as_uri())
    page.wait_for_selector("html[data-ready]")
    for row in (0, 1, 29):
        page.get_by_label("Find a row").fill(str(row))
        page.get_by_label("Find a row").press("Enter")
        assert f"2024-05-17 {10 + (31 + row) // 60}:{(31 + row) % 60:02}" in page.locator(
            ".detail dl"
        ).inner_text().split("\n")
    page.close()


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 60 rows: a tenth of the labels are missing, and every third of a number."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(60, 3)), columns=["a", "b", "c"])
    table["third"] = np.where(np.arange(60) % 3 == 0, np.nan, np.arange(60.0))
    table["truth"] = np.arange(60) % 4 == 0
    table["wait"] = pd.to_timedelta(np.arange(60) * 30, unit="s")
    labels = [None if i % 10 == 0 else "xy"[i % 2] for i in range(60)]
    path = tmp_path_factory.mktemp("gaps") / "report.html"
    model = VICReg(n_components=300, hidden=(8,), projector=(8,), steps=20, random_state=0)
    evaluate(model, table, labels, controls=False, label_name="kind").to_html(path)
    return path


@pytest.fixture
def page_of_gaps(browser: Any, gaps: Path) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1200, "height": 1000})
    opened.goto(gaps.as_uri())
    opened.wait_for_selector("html[data-ready]")
    settle(opened)
    yield opened
    opened.close()


def legend(page: Any) -> list[str]:
    entries = page.locator(".legend button").all_inner_texts()
    return [" ".join(one.split()) for one in entries]


def test_rows_without_a_value_are_crosses_that_the_legend_has(page_of_gaps: Any) -> None:
    page = page_of_gaps
    assert legend(page) == ["x 24", "y 30", "missing 6"]
    crosses = 'path[d="M1.5 1.5L10.5 10.5M1.5 10.5L10.5 1.5"]'
    for colour, entry in (
        ("third", "missing 20"),
        ("cluster of the embedding", "not scored 6"),
    ):
        page.get_by_label("Colour by").select_option(label=colour)
        assert legend(page)[-1] == entry
        assert page.locator(f".legend {crosses}").count() == 1
        page.locator(".legend button").last.click()
        assert count_selected(page) == int(entry.split()[-1])
        page.locator(".legend button").last.click()
        assert count_selected(page) == 0
    page.get_by_label("Colour by").select_option(label="a")
    assert page.locator(".legend button").count() == 0


def test_no_number_looks_like_the_page_or_like_a_row_that_is_not_selected(page: Any) -> None:
    page.get_by_label("Colour by").select_option(label="alcohol")
    for _ in range(2):
        told = page.locator(".legend stop").evaluate_all(
            "all => all.map(one => one.getAttribute('stop-color').match(/\\d+/g).map(Number))"
        )
        assert len(told) == 9
        for name in ("faint", "card"):
            style = "getComputedStyle(document.documentElement).getPropertyValue"
            text = page.evaluate(f"{style}('--{name}').trim()").lstrip("#")
            digits = text if len(text) == 6 else "".join(2 * one for one in text)
            ground = [int(digits[i : i + 2], 16) for i in (0, 2, 4)]
            assert np.linalg.norm(np.array(told) - ground, axis=1).min() > 60
        page.locator("#theme").click()


def test_truth_values_are_classes_and_durations_have_their_unit(page_of_gaps: Any) -> None:
    page = page_of_gaps
    page.get_by_label("Colour by").select_option(label="truth")
    assert legend(page) == ["False 45", "True 15"]
    page.get_by_label("Colour by").select_option(label="wait (s)")
    page.get_by_label("Find a row").fill("7")
    page.get_by_label("Find a row").press("Enter")
    told = page.locator(".detail dl").inner_text().split("\n")
    assert told[told.index("wait (s)") + 1] == "210"
    assert "thick orange ring is this row" in page.locator(".detail").inner_text()


def test_charts_say_what_they_leave_out(page_of_gaps: Any) -> None:
    words = page_of_gaps.locator(".charts").inner_text()
    assert "Of the embedding: the largest 256 of 300." in words
    assert "Of the raw table" not in words
    assert "Effective rank of the learnt components" in words
    assert "Held out: rows that the fit does not learn from" in words


def test_the_legend_shows_what_is_selected_whatever_the_theme(page: Any) -> None:
    def pressed() -> list[str]:
        told: list[str] = page.locator(".legend [aria-pressed=true] .word").all_inner_texts()
        return told

    page.locator(".legend button", has_text="kind 1").click()
    page.get_by_role("button", name="Dark theme").click()
    assert pressed() == ["kind 1"]
    page.locator(".legend button", has_text="kind 2").click(modifiers=["Shift"])
    assert pressed() == ["kind 1", "kind 2"]
    page.get_by_label("Colour by").select_option(label="alcohol")
    page.get_by_label("Colour by").select_option(label="kind")
    assert pressed() == []  # the rows are still selected, by a legend that is gone
    assert count_selected(page) == (load_wine().target > 0).sum()


def test_rows_that_are_not_selected_keep_their_shape(page: Any) -> None:
    page.evaluate("""() => {
        const rect = CanvasRenderingContext2D.prototype.rect;
        window.squares = 0;
        CanvasRenderingContext2D.prototype.rect = function (...box) {
            window.squares++;
            rect.apply(this, box);
        };
    }""")
    page.locator(".legend button", has_text="kind 2").click()
    settle(page)
    assert page.evaluate("window.squares") == 0  # three classes, all of them circles


def test_the_list_of_found_rows_works_from_the_keyboard(page: Any) -> None:
    search, hits = page.get_by_label("Find a row"), page.locator(".find li")
    heading = page.locator(".detail h4").first
    search.fill("bottle 12")
    search.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    focused = page.evaluate("document.activeElement.innerText")
    assert focused == "bottle 120 (row 120)"
    page.keyboard.press("Enter")
    assert hits.count() == 0
    assert heading.inner_text() == focused
    search.fill("bottle 13")
    page.keyboard.press("Escape")
    assert hits.count() == 0
    search.press("ArrowDown")
    assert hits.count() == 11
    page.get_by_role("button", name="Lasso").focus()
    assert hits.count() == 0
    assert heading.inner_text() == focused
    search.fill("no such bottle")
    assert heading.inner_text() == "A row and its neighbours"  # not the one found before
    page.get_by_role("button", name="Clear").click()
    assert search.input_value() == ""
    assert hits.count() == 0


def test_the_tip_is_within_the_window(browser: Any, report: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 600}, offline=True)
    page = context.new_page()
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    page.locator(".stage canvas.over").first.focus()
    page.evaluate("""() => {
        const stage = document.querySelector(".stage").getBoundingClientRect();
        window.scrollBy(0, stage.top + 60);  // the map's top is above the window
    }""")
    for key in ("ArrowUp", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        for _ in range(4):
            page.keyboard.press(key)
            box = page.locator(".tip:visible").bounding_box()
            assert box["x"] >= 0
            assert box["y"] >= 0
            assert box["x"] + box["width"] <= 390
            assert box["y"] + box["height"] <= 600
    context.close()


def test_a_phone_shows_every_explanation_and_a_wide_tables_first_column(
    browser: Any, report: Path
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(report.as_uri())
    page.wait_for_selector("html[data-ready]")
    first, last = (page.locator(".scroll").first.locator(f"tbody tr:first-child > {which}-child")
                   for which in (":first", ":last"))  # fmt: skip
    before, far = first.bounding_box()["x"], last.bounding_box()["x"]
    page.evaluate("document.querySelector('.scroll').scrollLeft = 120")
    hidden = "all => all.filter(one => one.scrollHeight > one.clientHeight + 1).length"
    assert page.locator("[aria-labelledby=methods] dl").evaluate_all(hidden) == 0
    assert first.bounding_box()["x"] == before
    assert last.bounding_box()["x"] < far
    page.close()


def test_a_logarithmic_axis_has_two_numbers_at_the_least(browser: Any, tmp_path: Path) -> None:
    page = browser.new_page()
    names = ("total", "held_out", "invariance", "variance", "covariance", "effective_rank")
    for low in (0.08, 1.5, 15.6, 19.2, 300.0):
        for times in (1.1, 1.3, 2.0, 11.0, 300.0):
            values = [low, low * times**0.5, low * times]
            history = {"step": [1.0, 2.0, 3.0], **dict.fromkeys(names, values)}
            state = LiveState("fit", history=history, running=False)
            write_live_page(tmp_path / "p.html", state)
            page.goto((tmp_path / "p.html").as_uri())
            loss = page.locator(".chart > svg").first
            ticks = loss.locator("text[text-anchor=end]").all_text_contents()
            assert 2 <= len(set(ticks)) == len(ticks) <= 10, (low, times)
    page.close()
