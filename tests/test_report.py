"""The report: one file, true to the run folder, whatever is or is not in it, and readable."""

import base64
import hashlib
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_runs import RESULT as COMPLETE

from onecycle.config import override
from onecycle.errors import InputError
from onecycle.recipes import RECIPES
from onecycle.report import PLOTS, wilson, write_report
from onecycle.run_dir import RunDir
from onecycle.run_dir.records import Environment, Git

# The smallest PNG there is: one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
HOSTILE = '<script>alert("x")</script>'
CLASSES = ("cat", "Ünï", HOSTILE, "empty")
RESULT = COMPLETE | {
    "precision": "bf16",
    "lr_min": 0.01,
    "lr_max": 0.1234567,
    "train_accuracy": 0.9123,
    "test_accuracy": 0.75,
    "test_loss": 0.65432,
    "total_seconds": 75.2,
    "images_per_second": 1234.5,
    "finished": "2026-11-23T19:11:00+00:00",
}
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a test asks about a page; refuses one whose tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.words = text, ""
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.parents: list[tuple[str, dict[str, str]]] = []
        self.unscrolled: list[str] = []
        self.feed(text)
        self.close()
        assert self.parents == []
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        scrolls = any(parent.get("class") == "scroll" for _, parent in self.parents)
        stacked = given.get("class") == "audit"  # on a phone its rows become paragraphs
        if tag == "table" and not scrolls and not stacked:  # images and charts are scaled
            self.unscrolled.append(tag)
        if tag not in VOID:
            self.parents.append((tag, given))

    def handle_endtag(self, tag: str) -> None:
        assert self.parents.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.parents and self.parents[-1][0] not in ("style", "title", "script"):
            self.words += f" {data}"

    def all(self, wanted: str) -> Iterator[dict[str, str]]:
        return (attributes for tag, attributes in self.tags if tag == wanted)


def report(run: RunDir) -> Page:
    path = write_report(run)
    assert path == run.path / "report.html"
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def begun(tmp_path: Path) -> RunDir:
    """A run that has just begun: all that is there is its recipe."""
    run = RunDir.create(tmp_path / "runs", RECIPES["demo"].recipe)
    run.write_recipe(RECIPES["demo"].recipe)
    return run


@pytest.fixture
def finished(begun: RunDir) -> RunDir:
    """A run with everything: 3 of 4 test images right in each class that has any."""
    recipe = override(RECIPES["demo"].recipe, epochs=2, lr_min=0.01, lr_max=0.1234567)
    begun.write_recipe(recipe)
    labels = np.repeat([0, 1, 2], [40, 80, 120])
    predictions = np.where(np.arange(240) % 4 == 0, (labels + 1) % 3, labels)
    logits = np.eye(4, dtype=np.float32)[predictions]
    begun.save_arrays("predictions.npz", logits=logits, labels=labels, classes=np.array(CLASSES))
    begun.write_record(
        Environment(
            started="2026-11-23T19:10:00+00:00",
            command=["onecycle", "train", "demo", "--data", "my images"],
            versions={"torch": "2.13.0", "numpy": "2.4.6"},
            cpu_flags=["avx512_bf16", "amx_tile"],
            git=Git(commit="0123abcd", changed=True),
        )
    )
    begun.write_json(
        "lr_range_test.json",
        {
            "suggestions": {"steepest": {"lr": 0.05, "low": 0.04, "high": 0.06}},
            "why": "lr_max by 'recommended'",
            "warnings": ["the loss was still falling"],
        },
    )
    with begun.lock():
        for epoch in (1, 2):
            row = {"epoch": epoch, "step": 8 * epoch, "lr": 0.1 / epoch, "momentum": 0.9}
            row |= {"train_loss": 2.0 / epoch, "train_accuracy": 0.4 * epoch}
            row |= {
                "test_loss": 1.5 / epoch,
                "test_accuracy": 0.375 * epoch,
                "seconds": 9.6 * epoch,
            }
            begun.append("metrics.jsonl", row)
    for name in PLOTS:
        (begun.plots / f"{name}.png").write_bytes(PNG)
    begun.write_json("result.json", RESULT)
    return begun


def test_a_proven_peak_comes_with_its_probes(finished):
    found = finished.read_json("lr_range_test.json")
    probes = [{"lr": 0.02, "score": 0.71}, {"lr": 0.06, "score": 0.75}, {"lr": 0.18, "score": None}]
    proof = {"lr_max": 0.055, "best": 0.06, "probes": probes, "bracketed": True}
    proof |= {"epochs": 12, "steps": 1176, "images": 5000}
    finished.write_json("lr_range_test.json", found | {"proof": proof})
    words = report(finished).words
    assert "trainings of 12 epochs (1,176 steps) each, judged on 5,000 images" in words
    assert "0.055 is the maximum of a parabola" in words
    assert "0.02 71.00 % 0.06 75.00 % best 0.18 diverged" in words
    assert "a better one may lie beyond" not in words
    finished.write_json("lr_range_test.json", found | {"proof": proof | {"bracketed": False}})
    assert "a better one may lie beyond" in report(finished).words


def test_every_figure_is_shown(finished):
    words = report(finished).words
    for text in (
        "Test accuracy 75.00 %",
        f"95 % interval {wilson(180, 240)}, n = 240 images",
        "Train accuracy 91.23 %",
        "Test loss 0.6543",
        "Peak rate 0.123 from 0.01",
        "Time 1 min 15 s",
        "Images per second 1,234 training alone, bf16 on cpu",
        "Parameters 6,573,130 custom-resnet",
        "2026-11-23, 19:11",
        "starts at 0.01 and peaks at 0.123. A range test was run: lr_max by 'recommended'.",
        "Warning: the loss was still falling",
        "steepest 0.05 0.04 0.06",
        "epoch lr momentum train loss train accuracy test loss test accuracy seconds of this epoch",
        "2 0.05 0.9 1.0000 80.00 % 0.7500 75.00 % 9.6",
        f"cat 40 75.00 % {wilson(30, 40)}",
        "lines hold",
        "onecycle train demo --data 'my images'",
        "torch 2.13.0, numpy 2.4.6",
        "0123abcd with changes",
    ):
        assert text in words
    assert "not finished" not in words
    assert "avx512_bf16" not in words
    assert "empty 0" not in words


def test_the_recipe_is_compared_with_the_named_one(finished):
    page = report(finished)
    changed = re.findall(r'<code>(\w+)</code></dt><dd class="(\w+)">([^<]*) <', page.text)
    assert sorted(changed) == [
        ("epochs", "other", "2"),
        ("lr_max", "open", "0.123457"),
        ("lr_min", "open", "0.01"),
    ]
    assert "epochs 2 (5 there)" in page.words
    assert "weight_decay 0.0005" in page.words


def test_the_recipe_stands_once(finished):
    words = report(finished).words
    listed = words[words.index("Values in bold differ from the named recipe") :]
    for name in ("lr_max", "epochs", "weight_decay", "crop_padding"):
        assert len(re.findall(rf"\b{name}\b", listed)) == 1


def test_a_named_recipe_unchanged_and_one_of_ones_own(begun):
    assert "Nothing differs from the named recipe." in report(begun).words
    begun.write_recipe(override(RECIPES["demo"].recipe, recipe="mine"))
    assert "no named recipe of this version" in report(begun).words


def test_the_file_stands_alone(finished):
    """One script, the page's own; nothing fetched, also by what a hostile class name would do."""
    page = report(finished)
    assert HOSTILE in page.words
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    policies = [meta for meta in page.all("meta") if "default-src" in meta.get("content", "")]
    assert policies[0]["content"].startswith("default-src 'none'")
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policies[0]["content"].endswith(f"script-src 'sha256-{digest}'")
    addresses = [a[key] for _, a in page.tags for key in ("src", "href") if key in a]
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for address in addresses:
        assert address.startswith("data:image/png;base64,") or address.removeprefix("#") in ids
    text = re.sub(r"data:image/\w+;base64,[^\")]+", "", page.text)
    assert not re.search(r"url\((?![)#])|@import|https?:|\son\w+=", text)


def test_every_plot_is_embedded_with_words_for_it(finished):
    """As an SVG that takes the page's colours where the run has its numbers, else as the PNG."""
    page = report(finished)
    images = list(page.all("img"))
    for image in images:
        assert base64.b64decode(image["src"].split(",")[1]) == PNG
    drawn = [figure["aria-label"] for figure in page.all("div") if figure.get("role") == "img"]
    assert len(drawn) == 1  # the curves: of the range test and the steps, this run has no record
    assert len(images) == 5
    assert {*drawn, *(image["alt"] for image in images)} == {alt for alt, _ in PLOTS.values()}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "record",
    [
        {"curve": {"lr": [1, 2], "loss": [1], "smoothed": [1, 2]}},
        {"curve": {"lr": [], "loss": [], "smoothed": []}},
        {"curve": {"lr": [1, 2], "loss": [1, "x"], "smoothed": [1, 2]}},
        {"curve": {"lr": [-1, 0], "loss": [1, 1], "smoothed": [1, 2]}},
        {"curve": {"lr": [1e-300, 1e300], "loss": [1, 1], "smoothed": [1, 2]}},
        {"curve": None},
        {"chosen": None, "curve": {"lr": [1, 2], "loss": [1, 1], "smoothed": [1, 2]}},
    ],
)
def test_a_record_with_gaps_or_values_of_other_kinds_is_named(finished, record):
    found = {"suggestions": {}, "chosen": {"lr_min": 0.01, "lr_max": 0.1}} | record
    finished.write_json("lr_range_test.json", found)
    with pytest.raises(InputError, match=r"lr_range_test\.json: is damaged"):
        report(finished)


def test_it_can_be_read_on_a_phone_and_with_a_keyboard(finished):
    page = report(finished)
    assert page.unscrolled == []
    for region in (a for a in page.all("div") if a.get("class") == "scroll"):
        assert region["tabindex"] == "0"
        assert region["role"] == "region"
        assert region["aria-label"]
    assert all(head.get("scope") in ("col", "row", "rowgroup") for head in page.all("th"))
    assert next(page.all("html"))["lang"] == "en"
    assert len(list(page.all("h1"))) == 1


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, as in WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_contrast_is_that_of_wcag_aa_in_light_and_dark(begun):
    schemes = re.findall(r":root \{ color-scheme: (\w+); ([^}]*)\}", report(begun).text)
    assert [name for name, _ in schemes] == ["light", "dark"]
    for _, declarations in schemes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", declarations))
        inks = ("blue", "orange", "green", "purple", "sky", "red")  # of charts and their letters
        for ink in ("ink", "faint", "accent", "warning"):
            for paper in ("paper", "panel"):
                pair = sorted((luminance(colours[ink]), luminance(colours[paper])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (ink, paper)
        for ink in inks:
            pair = sorted((luminance(colours[ink]), luminance(colours["paper"])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, ink


def test_an_unfinished_run_shows_what_there_is(finished):
    (finished.path / "result.json").unlink()
    (finished.path / "predictions.npz").unlink()
    for name in ("confusion", "misclassified"):
        (finished.plots / f"{name}.png").unlink()
    page = report(finished)
    assert "This run has not finished: 2 of 2 epochs are done." in page.words
    assert "Test accuracy 75.00 % after 2 of 2 epochs" in page.words
    assert "Mistakes" not in page.words
    assert len(list(page.all("img"))) == 3  # the curves are drawn


def test_a_run_that_has_just_begun_has_a_report(begun):
    words = report(begun).words
    assert "0 of 5 epochs" in words
    assert "The range test has not finished." in words
    assert "No epoch is complete yet." in words


def test_given_rates_need_no_range_test(begun):
    begun.write_recipe(override(RECIPES["demo"].recipe, lr_min=0.02, lr_max=0.3))
    assert "starts at 0.02 and peaks at 0.3. Both rates were given" in report(begun).words


def test_validation_and_mirror_images_have_their_tiles(finished):
    finished.write_json("result.json", RESULT | {"val_accuracy": 0.7, "test_accuracy_tta": 0.76})
    words = report(finished).words
    assert "With mirror images 76.00 %" in words
    assert "Validation accuracy 70.00 %" in words


def test_balanced_accuracy_is_shown_where_the_test_classes_are_uneven(finished):
    balanced = {"test_balanced_accuracy": 0.6123, "val_balanced_accuracy": 0.5234}
    with finished.lock():
        row = finished.read_rows("metrics.jsonl")[-1] | {"epoch": 3, "test_balanced_accuracy": 0.61}
        (finished.path / "metrics.jsonl").unlink()
        finished.append("metrics.jsonl", row)
    for sizes, shown in (([40, 1120], True), ([40, 40], False)):
        finished.write_json("result.json", RESULT | balanced | {"test_class_sizes": sizes})
        words = report(finished).words
        tile = "Balanced accuracy 61.23 % mean over classes of 40 to 1,120 images"
        assert (tile in words) is shown
        assert ("Balanced, validation 52.34 %" in words) is shown
        assert ("test balanced accuracy" in words) is shown
        assert ("61.00 %" in words) is shown


@pytest.mark.parametrize("name", ["result.json", "lr_range_test.json", "predictions.npz"])
def test_a_damaged_file_is_named(finished, name):
    (finished.path / name).write_bytes(b"{")
    with pytest.raises(InputError, match=f"{re.escape(name)}: is damaged"):
        write_report(finished)


def test_predictions_of_something_else_are_named(finished):
    finished.save_arrays("predictions.npz", logits=np.zeros((1, 2)), labels=np.zeros(1, int))
    with pytest.raises(InputError, match=r"predictions\.npz: is damaged \(lacks classes\)"):
        write_report(finished)


def test_names_that_are_not_unicode_do_no_harm(begun):
    classes = np.array(["caf\udce9", "b"])
    logits, labels = np.eye(2, dtype=np.float32), np.arange(2)
    begun.save_arrays("predictions.npz", logits=logits, labels=labels, classes=classes)
    assert r"caf\udce9" in report(begun).words


@given(count=st.integers(1, 100_000), data=st.data())
def test_the_interval_is_wilsons_formula(count, data):
    hits = data.draw(st.integers(0, count))
    z, share = 1.959963984540054, hits / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    low, high = wilson(hits, count).removesuffix(" %").split(" to ")
    assert float(low) == pytest.approx(100 * (middle - half), abs=0.0501)
    assert float(high) == pytest.approx(100 * (middle + half), abs=0.0501)
