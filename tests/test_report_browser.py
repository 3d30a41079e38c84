"""The report in a real browser: offline, quiet, usable by keyboard, on a phone and in the dark.

Needs a system Chromium. Without one the tests are skipped, or fail where they must run: in CI.
"""

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onecycle.config import override
from onecycle.evaluate import Evaluation
from onecycle.interpret import likely_label_errors, most_confidently_wrong, top_losses
from onecycle.recipes import RECIPES
from onecycle.report import PLOTS, write_report
from onecycle.report.pictures import png
from onecycle.run_dir import RunDir

BROWSERS = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
BROWSER = next(filter(None, BROWSERS), "")
MUST_RUN = bool(os.environ.get("CI") or os.environ.get("ONECYCLE_REQUIRE_BROWSER"))
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()
CLASSES = ["airplane", "cat", 'a "long" <name> of a class', "Ünï"]

pytestmark = pytest.mark.skipif(
    not BROWSER and not MUST_RUN, reason="no Chromium here; install it: apt-get install chromium"
)


def make_run(folder: Path) -> RunDir:
    """A finished run with everything that a report can show, made without a training."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    logits = rng.normal(0, 1.5, (400, 4)) + 2.0 * np.eye(4)[labels]
    logits[labels == 0, 3] -= 20.0  # a cell without images
    evaluation = Evaluation(logits.astype(np.float32), labels)
    run = RunDir.create(folder, RECIPES["demo"].recipe)
    recipe = override(RECIPES["demo"].recipe, epochs=2, lr_min=0.01, lr_max=0.1, lr_final=0.01)
    run.write_recipe(recipe)
    run.save_arrays(
        "predictions.npz", logits=evaluation.logits_NK, labels=labels, classes=np.array(CLASSES),
        names=np.array([f"test/a folder with a long name/{i:05d}.jpg" for i in range(400)]),
    )  # fmt: skip
    mistakes = {
        "wrong": most_confidently_wrong(evaluation, 20),
        "losses": top_losses(evaluation, 60),
        "labels": likely_label_errors(evaluation, 40, confidence=0.5),
    }
    mapped = np.unique(np.concatenate(list(mistakes.values())))
    run.save_arrays(
        "examples.npz", **mistakes, cam_indices=mapped, indices=np.arange(400),
        images=rng.integers(0, 256, (400, 16, 16, 3), dtype=np.uint8),
        cam_predicted=rng.integers(0, 256, (len(mapped), 16, 16), dtype=np.uint8),
        cam_actual=rng.integers(0, 256, (len(mapped), 16, 16), dtype=np.uint8),
        field_stages=np.array(["prep"]), field_sides=np.array([3.0]),
        fields=rng.random((1, 16, 16)).astype(np.float32),
    )  # fmt: skip
    layer = {"name": "prep.conv", "kind": "Conv2d", "output_shape": [8, 16, 16], "macs": 9}
    layer |= {"parameters": 216, "receptive_field": 3, "jump": 1}
    network = {"layers": [layer], "parameters": 216, "macs": 9, "image_shape": [16, 16, 3]}
    run.write_json("audit.json", {"network": network})
    run.write_environment({"command": ["onecycle", "train", "demo"], "versions": {"torch": "2"}})
    with run.lock():
        for epoch in (1, 2):
            row = {"epoch": epoch, "step": 8 * epoch, "lr": 0.01, "momentum": 0.9}
            row |= {"train_loss": 2.0, "train_accuracy": 0.4, "test_loss": evaluation.loss}
            run.append("metrics.jsonl", row | {"test_accuracy": evaluation.accuracy, "seconds": 1})
    for name in PLOTS:
        (run.plots / f"{name}.png").write_bytes(plot())
    run.write_result({"test_accuracy": evaluation.accuracy, "test_loss": evaluation.loss})
    return run


def plot() -> bytes:
    return base64.b64decode(png(np.full((80, 120, 3), 255, np.uint8)))


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    return write_report(make_run(tmp_path_factory.mktemp("runs"))).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert BROWSER, "CI needs Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def opened(browser, address):
    """Opens the page in a window of its own; afterwards nothing may have been asked or said."""
    contexts, heard = [], []

    def open_page(width: int = 1200, height: int = 900, **settings: Any) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, offline=True, **settings
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda r: r.url.startswith("data:") or heard.append(r.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert set(heard) <= {address}, "a request or a message in the console"


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


CONTRASTS = """() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a));
  const background = (element) => {
    if (!element) return [255, 255, 255];
    const colour = parse(getComputedStyle(element).backgroundColor);
    if (colour[3] === 1) return colour.slice(0, 3);
    return over(colour, background(element.parentElement));
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || ["SCRIPT", "STYLE", "TITLE", "title"].includes(element.tagName)) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const under = background(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color);
    const [one, other] = [luminance(over(ink, under)), luminance(under)];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push([ratio, text.slice(0, 40)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_every_text_is_that_of_wcag_aa(opened, scheme):
    page = opened(color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"}[scheme]
    page.locator("#matrix td.error a").first.click()
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 300
    assert min(found)[0] >= 4.5, min(found)


@pytest.mark.parametrize("width", [360, 768, 1200])
def test_no_sideways_scroll(opened, width):
    page = opened(width)
    page.locator("#matrix td.error a").first.click()
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


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
