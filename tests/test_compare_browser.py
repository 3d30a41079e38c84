"""The page of `onecycle compare` in a real browser: what it shows, and to whom."""

from pathlib import Path

import numpy as np
import pytest
from browsing import (
    CONTRASTS,
    PAPER,
    needs_browser,
    open_all_details,
    page_width,
    wait_until,
)
from simulated_runs import CLASSES, write_run

from onecycle.experiments import compare, to_html
from onecycle.run_dir import RunDir

pytestmark = needs_browser

COUNT = 120
"""Test images of the runs here."""
LONG = "a-recipe-with-a-name-that-nobody-would-choose-but-somebody-will-" + "x" * 60


def make_runs(runs: Path) -> Path:
    """Two recipes of two seeds, five of one, and a run that has not finished.

    The first ten images are wrong in every run, and one run keeps pictures of them.
    """
    index_N = np.arange(COUNT)
    for seed in range(2):
        for cutout, wrong in ((8, 20), (16, 40)):
            write_run(runs / f"{cutout}-{seed}", index_N >= wrong + seed, seed=seed, cutout=cutout)
    for cutout in range(5):
        odd = np.roll(index_N >= 110, cutout) & (index_N >= 10)
        name = LONG if cutout == 4 else f"<i>single</i> & {cutout}"
        write_run(runs / f"single-{cutout}", odd, cutout=cutout, recipe=name.replace("/", "-"))
    (write_run(runs / "begun", index_N > 9, cutout=7) / "result.json").unlink()
    images = np.random.default_rng(0).integers(0, 256, (10, 16, 16, 3), dtype=np.uint8)
    RunDir(runs / "8-0").save_arrays("examples.npz", indices=np.arange(10), images=images)
    return runs


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("compared")
    page = folder / "page.html"
    page.write_text(to_html(compare(make_runs(folder / "runs"))), encoding="utf-8")
    return page.as_uri()


def test_the_tables_the_curves_and_the_mistakes_are_there(opened):
    page = opened()
    figures = page.get_by_role("region", name="Figures of each recipe").get_by_role("row")
    assert figures.count() == 1 + 7
    assert "66.25 ± 0.59" in figures.nth(1).inner_text()  # 80 and 79 of 120 images
    pairs = page.get_by_role("region", name="Differences in test accuracy").get_by_role("row")
    assert pairs.count() == 1 + 7 * 6 // 2
    for what in ("accuracy", "loss"):
        box = page.get_by_role("img", name=f"Test {what} of each recipe after").bounding_box()
        assert box["width"] > 300
        assert box["height"] > 200
    lines = page.locator(".charts path").evaluate_all(STROKES)
    assert len(set(lines) - {"none"}) >= 6 + 1  # a colour for each of six groups, and the paper's
    assert page.locator(".images img").evaluate_all(
        "images => images.map(image => image.naturalWidth)"
    ) == [16] * 10  # fmt: skip
    assert f"{CLASSES[0]}, predicted {CLASSES[1]}" in page.locator(".images").inner_text()
    assert "begun: it has not finished" in page.get_by_role("list", name="Notes").inner_text()


STROKES = "lines => lines.map(line => getComputedStyle(line).stroke)"


def test_names_are_text_and_no_tags(opened):
    page = opened()
    assert page.locator("i").count() == 0
    assert page.get_by_text("<i>single<-i> & 1").count() >= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_texts_and_lines_is_that_of_wcag_aa(opened, scheme):
    page = opened(color_scheme=scheme)
    open_all_details(page)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER[scheme]
    found = page.evaluate(CONTRASTS)
    assert len(found) > 200
    assert min(found)[0] >= 4.5, min(found)
    shapes = page.evaluate(LINES)
    assert len(shapes) > 2 * 7
    assert min(shapes)[0] >= 3, min(shapes)


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_no_sideways_scroll(opened, width):
    page = opened(width)
    open_all_details(page)
    assert page_width(page) <= width


def test_a_phone_shows_the_verdicts_and_whole_charts_without_scrolling(opened):
    page = opened(360)
    charts = page.locator(".chart svg")
    assert charts.count() == 3
    for chart in charts.all():
        box = chart.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    cells = page.get_by_role("cell", name="not distinguishable")
    assert cells.count()
    for cell in (cells.first, cells.last):
        box = cell.bounding_box()
        assert box["x"] + box["width"] <= 360


def test_the_keyboard_reaches_what_can_be_used(opened):
    page = opened(360)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(SAID))
    usable = page.evaluate(USABLE)
    assert len(usable) >= 5
    assert set(usable) <= reached
    summary = page.locator("summary").first
    summary.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None
    scrolled = page.get_by_role("region", name="The runs")
    scrolled.focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, "document.activeElement.scrollLeft > 0")


NAME = "(e) => e.getAttribute('aria-label') || e.textContent"
SAID = f"({NAME})(document.activeElement)"
USABLE = f"""[...document.querySelectorAll("main *")].filter((e) => e.tagName === "SUMMARY"
  || e.tagName === "A" || e.scrollWidth > e.clientWidth + 1
  && getComputedStyle(e).overflowX === "auto").map({NAME})"""
"""The names of what can be opened, followed or scrolled."""


def test_on_paper_nothing_is_lost(opened):
    page = opened(673)  # an A4 sheet of 210 mm, less two margins of 16 mm
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER["light"]
    assert page_width(page) <= 673
    for name in ("Figures of each recipe", "The runs"):
        box = page.get_by_role("region", name=name).locator("table").bounding_box()
        assert box["x"] + box["width"] <= 673
    for chart in page.locator(".chart svg").all():
        box = chart.bounding_box()
        assert box["x"] + box["width"] <= 673
    lists = page.locator(".names").evaluate_all("lists => lists.map(l => l.checkVisibility())")
    assert lists
    assert all(lists)
    assert page.pdf().startswith(b"%PDF")


def test_dark_screens_print_as_light_ones(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER["light"]
    assert min(page.evaluate(LINES))[0] >= 3


LINES = (
    CONTRASTS.partition("const found")[0]
    + """
  const found = [];
  for (const shape of document.querySelectorAll(".charts g[id^=line2d] > path")) {
    const { stroke, clipPath } = getComputedStyle(shape);
    if (stroke === "none" || shape.closest("g[id*=tick]")) continue;
    const under = background(shape.closest("div"));
    const [one, other] = [luminance(over(parse(stroke), under)), luminance(under)];
    found.push([(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), stroke]);
  }
  return found;
}"""
)
"""The contrast of each curve with its paper, after WCAG 2.2 on graphical objects."""
