"""The report in a real browser: offline, quiet, usable by keyboard, on a phone and in the dark."""

import io
import re
from typing import Any

import numpy as np
import pytest
from browsing import CONTRASTS, PAPER, Visits, needs_browser, open_all_details, page_width
from drawn_run import make_run
from PIL import Image
from simulated_runs import RESULT

from onecycle.report import write_report

pytestmark = needs_browser


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    return write_report(make_run(tmp_path_factory.mktemp("runs"))).as_uri()


def test_a_cell_opens_its_images_and_closes(opened):
    page = opened()
    cell = page.get_by_role("link", name="airplane taken for cat: ").first
    count = int(cell.inner_text())
    assert not page.locator(".cell:visible").count()
    cell.click()
    panel = page.locator(".cell:visible")
    assert panel.count() == 1
    assert f"airplane taken for cat: {count} image" in panel.inner_text()
    assert panel.locator(".t").count() == min(24, count)
    box = panel.locator(".t").first.bounding_box()
    assert (box["width"], box["height"]) == (64, 64)
    assert "data:image/jpeg" in background(panel.locator(".t").first)
    assert cell.get_attribute("aria-current") == "true"
    page.get_by_role("link", name="Close").click()
    assert not page.locator(".cell:visible").count()


def test_the_true_count_is_shown_where_more_than_24_are(opened):
    page = opened()
    cell = page.get_by_role("link", name="cat, classified correctly: ")
    count = int(cell.inner_text())
    assert count > 24
    cell.click()
    assert page.locator(".cell:visible .t").count() == 24
    assert "24 of them shown" in page.locator(".cell:visible").inner_text()
    assert f"{count} images" in page.locator(".cell:visible").inner_text()


def background(tile) -> str:
    return tile.evaluate("element => getComputedStyle(element).backgroundImage")


def test_grad_cam_is_laid_over_and_taken_off(opened):
    page = opened()
    tile = page.locator(".gallery .t").first
    shown = {}
    for name in ("image", "Grad-CAM for the predicted class", "Grad-CAM for the actual class"):
        page.get_by_label(name, exact=True).check()
        shown[name] = background(tile)
        assert shown[name].startswith('url("data:image/jpeg;base64,')
    assert len(set(shown.values())) == 3
    page.get_by_label("image", exact=True).check()
    assert background(tile) == shown["image"]
    before, after = page.locator(".gallery").first, page.locator(".gallery").nth(1)
    assert before.locator("li").count() == 20
    assert not after.is_visible()
    page.get_by_text("40 more").click()
    assert after.is_visible()


def test_all_of_it_works_from_the_keyboard(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    first = page.locator("#matrix td a").first
    first.focus()
    page.keyboard.press("ArrowDown")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("cat taken for airplane")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    panel = page.locator(".cell:visible")
    assert "cat, classified correctly" in panel.inner_text()
    page.keyboard.press("Escape")
    assert not panel.count()
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("cat, classified correctly")
    page.locator("#look-plain").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#look-predicted").is_checked()
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None


def test_cells_open_without_scripts(opened):
    page = opened(java_script_enabled=False)
    page.get_by_role("link", name="airplane taken for cat: ").first.click()
    assert page.locator(".cell:visible").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_every_text_is_that_of_wcag_aa(opened, scheme):
    page = opened(color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == PAPER[scheme]
    page.locator("#matrix td.error a").first.click()
    open_all_details(page)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 300
    assert min(found)[0] >= 4.5, min(found)


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_no_sideways_scroll(opened, width):
    page = opened(width)
    page.locator("#matrix td.error a").first.click()
    open_all_details(page)
    assert page_width(page) <= width


def test_links_are_large_enough_to_be_touched(opened):
    """WCAG 2.2 asks for 24 by 24 pixels."""
    page = opened(360)
    sizes = page.locator("#matrix td a").evaluate_all(
        "links => links.map(link => [link.offsetWidth, link.offsetHeight])"
    )
    assert min(min(size) for size in sizes) >= 24


def test_on_paper_the_cells_stay_shut_and_the_pictures_stay(opened):
    page = opened()
    page.locator("#matrix td.error a").first.click()
    page.emulate_media(media="print")
    assert not page.locator(".cell:visible").count()
    assert not page.locator("nav").is_visible()
    assert (
        page.locator(".gallery .t").first.evaluate(
            "element => getComputedStyle(element).printColorAdjust"
        )
        == "exact"
    )
    assert page.pdf().startswith(b"%PDF")


# ------------------------------------------------------------------------- charts, dark and narrow


def pixels(element: Any) -> np.ndarray:
    """What is seen of an element, H W 3."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB")).astype(int)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_charts_lie_on_the_paper_of_the_page_in_its_inks(opened, scheme, width):
    """In the dark no chart is a white box; by their pixels."""
    page = opened(width, color_scheme=scheme)
    charts = page.locator(".plot svg:visible")
    assert charts.count() == 3
    assert not page.locator("img").count()  # no picture for paper is left in the page
    paper = np.array([int(value) for value in re.findall(r"\d+", PAPER[scheme])])
    for index in range(3):
        seen = pixels(charts.nth(index))
        distance = np.abs(seen - paper).max(axis=2)
        assert (distance <= 2).mean() > 0.7  # the most of it is paper
        assert (distance > 120).mean() > 0.002  # and letters and lines are seen on it
        white = (seen.min(axis=2) > 245).mean()
        assert scheme == "light" or white < 0.01


WITHIN = """() => [...document.querySelectorAll("body *")].filter((element) => {
  if (!element.checkVisibility() || element.closest(".scroll, .skip, .unseen, svg *")) return false;
  const box = element.getBoundingClientRect();
  return box.right > innerWidth + 0.5 || box.left < -0.5;
}).map((element) => element.outerHTML.slice(0, 90))"""
"""Elements that reach beyond the screen, other than within a table's own box."""


@pytest.mark.parametrize("width", [320, 390])
def test_on_a_phone_nothing_reaches_beyond_the_screen_and_charts_stay_legible(opened, width):
    page = opened(width)
    open_all_details(page)
    assert page.evaluate(WITHIN) == []
    assert page_width(page) <= width
    charts = page.locator(".plot svg:visible")
    assert charts.count() == 3
    for index in range(3):
        scale = charts.nth(index).evaluate(
            "e => e.getBoundingClientRect().width / e.viewBox.baseVal.width"
        )
        assert 9 * scale >= (10 if width == 390 else 8.5)  # pixels of letters of 9 points
    strip = page.locator(".strip").first.bounding_box()
    assert strip["width"] / 8 >= 30  # a tile of the augmented samples


def test_charts_on_paper_are_the_wide_ones(opened):
    page = opened(390)
    page.emulate_media(media="print")
    shown = page.locator(".plot svg:visible")
    assert shown.evaluate_all("all => all.map(e => e.viewBox.baseVal.width)") == [576, 576, 576]


def test_the_lines_of_the_audit_are_folded_while_they_hold(opened):
    page = opened()
    lines, count = page.locator(".audit .line"), page.locator("summary.verdict")
    assert re.match(r".*\d+ of \d+ lines hold", count.inner_text(), re.DOTALL)
    assert lines.count() > 5
    assert not lines.first.is_visible()
    curves = page.locator(".chart").first.bounding_box()
    assert curves["y"] < 1600  # a screen further down at the most
    count.focus()
    page.keyboard.press("Enter")
    assert lines.first.is_visible()
    count.click()
    assert not lines.first.is_visible()
    page.emulate_media(media="print")
    assert lines.first.bounding_box()["height"] > 5


def test_the_lines_of_the_audit_are_open_when_one_fails(browser, tmp_path):
    run = make_run(tmp_path)
    run.write_json("result.json", RESULT | {"test_accuracy": 0.999})
    page = Visits(browser, write_report(run).as_uri())()
    assert "fail" in page.locator("summary.verdict").inner_text()
    assert page.locator(".audit .line.fail").first.is_visible()


def test_each_row_of_augmented_samples_shows_its_own_images(opened):
    page = opened()
    strips = page.locator(".strip")
    assert strips.count() == 3
    seen = [pixels(strips.nth(index)) for index in range(3)]
    assert all(np.abs(seen[0] - other).mean() > 20 for other in seen[1:])
    first, second = seen[0][:, : seen[0].shape[1] // 8], seen[0][:, seen[0].shape[1] // 8 :]
    assert first.std() > 20 < second.std()
