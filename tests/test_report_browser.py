"""The report in a real browser: offline, quiet, usable by keyboard, on a phone and in the dark."""

import pytest
from browsing import CONTRASTS, PAPER, needs_browser, open_all_details, page_width
from drawn_run import make_run

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
    cell = page.get_by_role("link", name="cat, classified rightly: ")
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
    assert "cat, classified rightly" in panel.inner_text()
    page.keyboard.press("Escape")
    assert not panel.count()
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("cat, classified rightly")
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
