"""The report of a hundred classes in a real browser: the matrix and the tables stay usable."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CONTRASTS, Visits, needs_browser, open_all_details, page_width
from drawn_run import make_run

from onecycle.report import write_report

pytestmark = needs_browser

ODD = (
    "<b>bold", 'a "quoted" one', "it's", "&amp; entity", "100% {{ jinja }}", "<!-- comment -->",
    "Ärztliche Öffnung", "emoji 🦊", "日本の猫", "عربي", "back\\slash",
    "a class with a really very long name that goes on and on until nobody reads it any more",
    "Pneumonoultramicroscopicsilicovolcanoconiosis_without_any_break_whatsoever_at_all",
)  # fmt: skip
CLASSES = [*ODD, *(f"class {index:03d}" for index in range(len(ODD), 100))]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("runs"), CLASSES, 10_000, lead=4.5))


@pytest.fixture(scope="module")
def visits(browser, report: Path) -> Iterator[Visits]:
    found = Visits(browser, report.as_uri())
    yield found
    found.close()
    assert set(found.heard) <= {report.as_uri()}, "a request or a message in the console"


@pytest.fixture(scope="module")
def desk(visits: Visits):
    """The page on a desk, opened once, since it takes a second."""
    return visits(1200)


@pytest.fixture(scope="module")
def phone(visits: Visits):
    return visits(360)


@pytest.fixture(params=[360, 1200])
def page(request, phone, desk):
    return {360: phone, 1200: desk}[request.param]


def test_the_file_stays_below_six_megabytes(report):
    assert report.stat().st_size < 6e6


def test_no_sideways_scroll_of_the_page(page):
    width = page.viewport_size["width"]
    page.locator("#matrix td.error a").first.click()
    open_all_details(page)
    assert page_width(page) <= width


def middle_of(region: Any) -> dict[str, float]:
    """Where on the screen a scrolled region is, which then shows the middle of what it holds."""
    region.evaluate(MIDDLE)
    region.scroll_into_view_if_needed()
    return region.bounding_box()


MIDDLE = """e => e.scrollTo(
  (e.scrollWidth - e.clientWidth) / 2, (e.scrollHeight - e.clientHeight) / 2)"""


def test_the_matrix_keeps_its_names_in_sight(page):
    box = middle_of(page.get_by_role("region", name="Confusion matrix"))
    assert box["height"] <= 900
    row = page.locator("#matrix tbody th").nth(50).bounding_box()
    assert row["x"] == pytest.approx(box["x"], abs=3)
    assert row["width"] < 0.45 * box["width"]  # leaves room for cells
    column = page.locator("#matrix thead th").nth(51).bounding_box()
    assert column["y"] == pytest.approx(box["y"], abs=3)
    cell = page.locator("#matrix tbody tr").nth(50).locator("td").nth(50).bounding_box()
    assert box["x"] < cell["x"] < box["x"] + box["width"]
    assert box["y"] < cell["y"] < box["y"] + box["height"]
    assert cell["width"] >= 24
    assert cell["height"] >= 24
    corner = page.locator("#matrix .corner").bounding_box()
    assert (corner["x"], corner["y"]) == pytest.approx((box["x"], box["y"]), abs=3)


def test_a_cell_tells_what_it_is_and_opens_its_images(desk):
    page = desk
    link = page.locator("#matrix td.error a").first
    told = link.get_attribute("title")
    assert " taken for " in told
    assert page.get_by_role("link", name=told, exact=True).count() >= 1
    link.click()
    panel = page.locator(".cell:visible")
    assert told in panel.inner_text()
    assert panel.locator(".t").count() >= 1
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.title") == told
    page.keyboard.press("ArrowDown")
    focused, head = page.evaluate(UNCOVERED)
    assert focused >= head - 1  # the names do not lie over the cell that has the focus


UNCOVERED = """[document.activeElement.getBoundingClientRect().top,
  document.querySelector("#matrix thead th").getBoundingClientRect().bottom]"""


def test_names_are_told_as_they_are(desk):
    page = desk
    assert page.locator("b, i").count() == page.locator(".whisker, figcaption b").count()
    names = page.locator("#matrix tbody th").evaluate_all("cells => cells.map(c => c.title)")
    assert names == CLASSES


def test_the_most_frequent_confusions_have_images(desk):
    page = desk
    pairs = page.get_by_role("region", name="Most frequent confusions").locator("tbody tr")
    assert pairs.count() == 10
    assert pairs.locator("a").count() == 10


def test_a_long_name_pushes_no_figure_out_of_the_table_of_classes(page):
    width = page.viewport_size["width"]
    region = page.get_by_role("region", name="Accuracy of each class")
    assert region.locator("tbody tr").count() == 100
    assert region.bounding_box()["height"] <= 900
    room, needed = region.evaluate("e => [e.clientWidth, e.querySelector('table').scrollWidth]")
    if width == 1200:
        assert needed <= room
    accuracy = region.locator("tbody tr").first.locator("td").nth(1).bounding_box()
    assert accuracy["x"] + accuracy["width"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_that_of_wcag_aa(desk, scheme):
    desk.emulate_media(color_scheme=scheme)
    found = desk.evaluate(CONTRASTS)
    assert len(found) > 500
    assert min(found)[0] >= 4.5, min(found)


def test_on_paper_the_whole_matrix_and_all_classes_are_there(desk):
    page = desk
    page.set_viewport_size(
        {"width": 673, "height": 950}
    )  # an A4 sheet of 210 mm, less two margins of 16 mm
    page.emulate_media(media="print")
    for name in ("Confusion matrix", "Accuracy of each class"):
        table = page.get_by_role("region", name=name).locator("table").bounding_box()
        assert table["x"] + table["width"] <= 673 + 1
        region = page.get_by_role("region", name=name)
        assert region.evaluate("e => getComputedStyle(e).maxHeight") == "none"
    columns = (
        page.locator("#matrix tr")
        .nth(1)
        .locator("td")
        .evaluate_all("cells => cells.map(cell => cell.getBoundingClientRect().width)")
    )
    assert max(columns) < 1.1 * min(columns)  # no long name widens its column
    matrix = page.locator("#matrix").bounding_box()
    assert matrix["height"] < 950  # one sheet
