"""A report with too many classes for a matrix: its size, its lists, and its search in a browser."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browsing import CONTRASTS, Visits, needs_browser, page_width
from drawn_run import make_run
from PIL import Image
from reliability import fault

from onecycle import examples, pictures, plots
from onecycle.audit import audit
from onecycle.evaluate import Evaluation
from onecycle.report import wilson, write_report
from onecycle.run_dir import RunDir

HOSTILE = "</script><script>alert(1)</script>"
ODD = (HOSTILE, "Ärztliche Öffnung", "日本の猫", 'a "quoted" one', "<!--", "a" * 200)
CLASSES = [*ODD, *(f"class {index:04d}" for index in range(len(ODD), 1000))]
COUNT = 3000


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    """Three test images of most classes, and none of `class 0999`."""
    run = make_run(tmp_path_factory.mktemp("runs"), CLASSES, COUNT, lead=4.5)
    arrays = run.load_arrays("predictions.npz")
    arrays["labels"][arrays["labels"] == 999] = 998
    run.save_arrays("predictions.npz", **arrays)
    return run


@pytest.fixture(scope="module")
def evaluation(run: RunDir) -> Evaluation:
    arrays = run.load_arrays("predictions.npz")
    return Evaluation(arrays["logits"], arrays["labels"])


@pytest.fixture(scope="module")
def report(run: RunDir) -> Path:
    return write_report(run)


def searched(report: Path) -> dict:
    (text,) = re.findall(
        r'<script type="application/json"[^>]*>(.*?)</script>', report.read_text(encoding="utf-8")
    )
    return json.loads(text)


def test_the_search_knows_every_class_and_its_most_frequent_confusions(report, evaluation):
    """Against counting one image at a time."""
    data = searched(report)
    assert data["names"] == CLASSES
    pairs = Counter(
        zip(evaluation.labels_N.tolist(), evaluation.predictions_N.tolist(), strict=True)
    )
    for index in (0, 1, 7, 500, 998, 999):
        images = sum(count for (actual, _), count in pairs.items() if actual == index)
        assert (data["images"][index], data["right"][index]) == (images, pairs[index, index])
        assert data["intervals"][index] == (wilson(pairs[index, index], images) if images else "")
        for key, own, other in (("as", 0, 1), ("of", 1, 0)):
            errors = [
                (-count, pair[other], count)
                for pair, count in pairs.items()
                if pair[own] == index != pair[other]
            ]
            expected = [value for _, name, count in sorted(errors)[:5] for value in (name, count)]
            assert data[key][index] == expected


@pytest.mark.parametrize(("classes", "matrix"), [(100, True), (101, False)])
def test_up_to_a_hundred_classes_have_a_matrix(tmp_path, classes, matrix):
    run = make_run(tmp_path, [f"class {index}" for index in range(classes)], 300)
    text = write_report(run).read_text(encoding="utf-8")
    assert ('<table class="matrix' in text) is matrix
    assert ('id="find"' in text) is not matrix


@pytest.mark.faults
def test_ten_thousand_classes_take_little_room_and_no_matrix(tmp_path, monkeypatch):
    """A matrix of them would take 800 MB."""

    def dense(_: Evaluation) -> np.ndarray:
        raise AssertionError("a matrix of 10,000 classes")

    monkeypatch.setattr(Evaluation, "confusion_KK", property(dense))
    classes = [f"a species with a long name, number {index:05d}" for index in range(10_000)]
    run = make_run(tmp_path, classes, 200, lead=4.5)
    report = write_report(run)
    audit(run)
    arrays = run.load_arrays("predictions.npz")
    found = Evaluation(arrays["logits"], arrays["labels"])
    examples.images_of_cells(found)
    assert found.balanced_accuracy <= 1
    plots.save(pictures.confusion(found, classes), tmp_path / "confusion.png")
    assert report.stat().st_size < 6e6
    assert len(searched(report)["names"]) == 10_000


def test_figures_of_blocks_are_those_of_the_whole(monkeypatch, evaluation):
    """To the last bit: golden losses stay."""
    logits_NK = evaluation.logits_NK.astype(np.float64)
    shifted = logits_NK - logits_NK.max(axis=1, keepdims=True)
    log_NK = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    losses_N = -log_NK[np.arange(len(log_NK)), evaluation.labels_N]
    monkeypatch.setattr("onecycle.evaluate.BLOCK", 7000)
    again = Evaluation(evaluation.logits_NK, evaluation.labels_N)
    assert np.array_equal(again.losses_N, losses_N)
    assert np.array_equal(again.confidence_N, np.exp(log_NK.max(axis=1)))
    assert np.array_equal(evaluation.losses_N, losses_N)


@fault("there are 10,000 classes")
def test_a_training_with_ten_thousand_classes(tmp_path):
    """Two images of 8 by 8 pixels each; one is a test image."""
    rng = np.random.default_rng(0)
    for label in range(10_000):
        folder = tmp_path / "images" / f"{label:05d}"
        folder.mkdir(parents=True)
        for index in range(2):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    # In a process of its own: the peak of this one is that of all tests before.
    child = [sys.executable, "-c", TEN_THOUSAND, str(tmp_path / "images"), str(tmp_path / "runs")]
    printed = subprocess.run(child, capture_output=True, text=True, check=True).stdout
    size, failed, seconds, peak = json.loads(printed.splitlines()[-1])
    assert size < 6e6
    assert failed == []
    assert seconds < 60  # of two threads on a busy machine
    assert peak < 4e9


TEN_THOUSAND = """
import json, sys, time, torch
from onecycle import training
from onecycle.audit import audit, failures
from onecycle.config import override
from onecycle.recipes import RECIPES
from onecycle.report import write_report
from onecycle.run_dir import RunDir
from onecycle.runtime import peak_memory_bytes

data, runs = sys.argv[1:]
recipe = override(RECIPES["demo"].recipe, data=data, epochs=1, peak_epoch=0.5, width=0.0625)
recipe = override(recipe, lr_max=0.1, lr_min=0.01)
run = RunDir.open(training.train(recipe, runs=runs).path)
size = (run.path / "report.html").stat().st_size
started = time.process_time()
write_report(run)
failed = [str(line) for line in failures(audit(run))]
seconds = time.process_time() - started
print(json.dumps([size, failed, seconds, peak_memory_bytes(torch.device("cpu"))]))
"""
"""Train with the images of one folder, audit and report; the figures of that as JSON."""


@pytest.fixture(scope="module")
def visits(browser, report: Path) -> Iterator[Visits]:
    found = Visits(browser, report.as_uri())
    yield found
    found.close()
    assert set(found.heard) <= {report.as_uri()}, "a request or a message in the console"


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_class_is_found_by_its_name_and_shows_its_figures(visits, evaluation, width):
    page = visits(width)
    search = page.get_by_label("Find a class")
    search.fill("0042")
    assert page.get_by_role("status").inner_text() == "1 class found"
    card = page.locator("#found-class")
    label = 42
    images = int((evaluation.labels_N == label).sum())
    right = int((evaluation.predictions_N[evaluation.labels_N == label] == label).sum())
    assert "class 0042" in card.inner_text()
    assert f"{images} test images, {right} right" in card.inner_text()
    assert wilson(right, images) in card.inner_text()
    assert page_width(page) <= width
    search.fill("class")
    assert "994 classes found; the first 20 are shown" in page.get_by_role("status").inner_text()
    assert page.locator("#found button").count() == 20
    search.fill("OFFNUNG arzt")
    assert page.get_by_role("status").inner_text() == "No class found"
    search.fill("ARZTLICHE off")
    assert "Ärztliche Öffnung" in card.inner_text()
    search.fill("0999")
    assert "No test images." in card.inner_text()
    search.fill("</script")
    assert HOSTILE in card.inner_text()
    search.fill("aaaa")
    assert "a" * 200 in card.inner_text()
    assert page_width(page) <= width


@needs_browser
def test_the_search_works_from_the_keyboard_and_leads_from_class_to_class(visits):
    page = visits()
    page.get_by_label("Find a class").focus()
    page.keyboard.type("class 00")
    page.keyboard.press("Enter")
    card = page.locator("#found-class")
    first = page.locator("#found button").first.inner_text()
    assert card.locator("h3").inner_text() == first
    assert page.evaluate("document.activeElement.id") == "found-class"
    button = card.locator("li button").first
    other = button.inner_text()
    button.focus()
    page.keyboard.press("Enter")
    assert card.locator("h3").inner_text() == other
    assert first in card.inner_text()  # what confuses the one is confused with the other
    name = page.get_by_role("region", name="Accuracy of each class").locator("button").first
    name.click()
    assert card.locator("h3").inner_text() == name.inner_text()


@needs_browser
def test_a_listed_confusion_opens_its_images_and_closes(visits):
    page = visits()
    pairs = page.get_by_role("region", name="Most frequent confusions").locator("tbody tr")
    assert pairs.count() == 20
    link = pairs.locator("a").first
    link.click()
    panel = page.locator(".cell:visible")
    assert panel.locator(".t").count() == int(link.inner_text())
    page.keyboard.press("Escape")
    assert not panel.count()
    assert page.evaluate("document.activeElement.tagName") == "A"


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_that_of_wcag_aa(visits, scheme):
    page = visits(color_scheme=scheme)
    page.get_by_label("Find a class").fill("0042")
    found = page.evaluate(CONTRASTS)
    assert min(found)[0] >= 4.5, min(found)


@needs_browser
def test_without_scripts_the_lists_are_there_and_the_search_is_not(visits):
    page = visits(java_script_enabled=False)
    assert not page.get_by_label("Find a class").is_visible()
    assert page.get_by_text("needs scripts").is_visible()
    assert page.locator(".classes tbody tr").count() == 20
