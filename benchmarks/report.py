"""The page of a scorecard in a real browser: first paint, selection, size; and its screenshots.

    python benchmarks/report.py [--rows 20000] [--screenshots docs/images]

A table of 20,000 rows x 20 columns in 8 clusters is embedded by a short fit and evaluated; the page
is opened from its file, with the network off, by the system's Chromium through Playwright. First
paint is the browser's own mark, "ready" when all maps are drawn; selection is from the release of
the mouse over a box around everything to the next frame that is painted, the median of five. With
``--screenshots`` digits are fitted, scored on held-out rows and pictured: desktop, dark, phone.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, make_blobs

from timing import machine
from vicreg import VICReg, evaluate

SELECTED = """() => {
    window.took = [];
    addEventListener("pointerup", () => {
        const start = performance.now();
        requestAnimationFrame(() => setTimeout(() => took.push(performance.now() - start)));
    }, true);
}"""


def opened(browser: Any, path: Path, **context: Any) -> Any:
    """A page that is ready, of a browser without a network."""
    page = browser.new_context(offline=True, **context).new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    return page


def measure(browser: Any, path: Path) -> None:
    """Print first paint, readiness and selection of a page."""
    page = opened(browser, path, viewport={"width": 1280, "height": 1000})
    paint = page.evaluate(
        "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    ready = page.evaluate("() => performance.now()")
    page.locator(".stage").first.scroll_into_view_if_needed()
    box = page.locator(".stage canvas.over").first.bounding_box()
    page.evaluate(SELECTED)
    for _ in range(5):
        page.mouse.move(box["x"] + 2, box["y"] + 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=4)
        page.mouse.up()
        page.wait_for_timeout(300)
    took = page.evaluate("() => took")
    print(f"page: {path.stat().st_size / 2**20:.1f} MiB")
    print(f"first paint: {paint / 1e3:.2f} s; all maps drawn within {ready / 1e3:.2f} s")
    print(f"selection: {statistics.median(took):.0f} ms ({min(took):.0f} to {max(took):.0f})")


def picture(browser: Any, folder: Path) -> None:
    """Screenshots of digits, scored on held-out rows."""
    X, y = load_digits(return_X_y=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "digits.html"
        evaluate(VICReg(random_state=0), X, y, title="digits", label_name="digit").to_html(path)
        desktop = {"viewport": {"width": 1280, "height": 900}}
        phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
        opened(browser, path, **desktop).screenshot(path=folder / "report-desktop.png")
        page = opened(browser, path, **desktop, color_scheme="dark")
        page.locator(".stage").first.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        page.screenshot(path=folder / "report-dark.png")
        opened(browser, path, **phone).screenshot(path=folder / "report-phone.png")
    print(f"wrote {folder}/report-desktop.png, report-dark.png and report-phone.png")


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--screenshots", type=Path)
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        parser.error(
            "the page is opened in Chromium, of which there is none: apt-get install chromium"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        if options.screenshots is not None:
            picture(browser, options.screenshots)
            return
        X, y = make_blobs(options.rows, n_features=20, centers=8, random_state=0)
        model = VICReg(n_components=16, steps=50, random_state=0).fit(X)
        card = evaluate(model, X, np.array([f"kind {one}" for one in y]), controls=False)
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "report.html"
            card.to_html(path)
            print(machine())
            print(f"{options.rows} rows")
            measure(browser, path)


if __name__ == "__main__":
    main()
