"""The page on the mistakes of all folds: against counting by hand from the runs' predictions."""

import base64
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browsing import CONTRASTS, PAPER, needs_browser, open_all_details, page_width
from drawn_folds import CLASSES, HOSTILE, colour_of, make_folds
from PIL import Image

from onecycle.errors import TrainingError
from onecycle.experiments import join_folds
from onecycle.experiments.folds_page import to_html
from onecycle.statistics import wilson

FOLDS = 3


@dataclass(frozen=True)
class Truth:
    """An image, from the predictions of its fold's run."""

    name: str
    fold: int
    actual: str
    predicted: str
    loss: float


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return make_folds(tmp_path_factory.mktemp("folds") / "trials", FOLDS)


@pytest.fixture(scope="module")
def truths(runs) -> list[Truth]:
    found = []
    for fold in range(FOLDS):
        with np.load(runs / f"fold={fold},seed=0" / "predictions.npz") as arrays:
            rows = zip(arrays["logits"], arrays["labels"], arrays["names"], strict=True)
            for logits_K, label, name in rows:
                exact_K = logits_K.astype(np.float64)
                loss = np.log(np.exp(exact_K).sum()) - exact_K[label]
                names = CLASSES[label], CLASSES[int(exact_K.argmax())]
                found.append(Truth(str(name), fold, *names, float(loss)))
    return found


@dataclass
class Card:
    """A picture in the page's lists of mistakes."""

    text: str = ""
    strong: list[str] = field(default_factory=list)
    place: tuple[int, int] | None = None


class Page(HTMLParser):
    """The cards of the first list, the cells of the matrix by what they say, and all words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.words, self.cells = text, "", Counter[str]()
        self.cards: list[Card] = []
        self.lists, self.path = 0, list[str]()
        self.tags = Counter[str]()
        self.feed(text)
        assert self.path == []

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        if tag not in ("meta", "br", "input", "img"):
            self.path.append(tag)
        if given.get("class") == "gallery":
            self.lists += 1
        if tag == "li" and self.lists == 1 and "details" not in self.path:
            self.cards.append(Card())
        place = re.fullmatch(r"--x:(\d+);--y:(\d+)", given.get("style", ""))
        if place and self.lists == 1:
            self.cards[-1].place = int(place[1]), int(place[2])
        if tag == "a" and given.get("title", "").endswith(("image", "images")):
            said, count = given["title"].rsplit(": ", 1)
            self.cells[said] = int(count.split()[0])

    def handle_endtag(self, tag):
        assert self.path.pop() == tag
        if tag == "ul" and self.lists == 1:
            self.lists = 2

    def handle_data(self, data):
        if self.path and self.path[-1] not in ("style", "script", "title"):
            self.words += f" {data}"
        if self.lists == 1 and self.cards:
            self.cards[-1].text += data
            if self.path[-1] == "strong":
                self.cards[-1].strong.append(data)


def picture_of(page: Page, card: Card) -> tuple[int, ...]:
    """The mean colour of a card's tile on the sheet of plain images."""
    rule = r"\.gallery \.t \{ background-image: url\(data:image/jpeg;base64,([^)]+)\)"
    (content,) = re.findall(rule, page.text)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert card.place
    x, y = (64 * index for index in card.place)
    return tuple(pixels[y : y + 64, x : x + 64].mean(axis=(0, 1)).round().astype(int).tolist())


@pytest.fixture(scope="module")
def page(runs) -> Page:
    return Page(to_html(join_folds([runs]), "dropout=0.25"))


def test_the_matrix_counts_each_held_out_image_once(page, truths):
    expected = Counter(
        f"{each.actual}, classified correctly"
        if each.actual == each.predicted
        else f"{each.actual} taken for {each.predicted}"
        for each in truths
    )
    assert page.cells == expected
    assert sum(expected.values()) == 60


def test_the_first_mistakes_are_those_of_largest_loss_and_tell_their_fold(page, truths):
    wrong = [each for each in truths if each.actual != each.predicted]
    assert len(wrong) > 20
    expected = sorted(wrong, key=lambda each: -each.loss)[:20]
    assert len({each.fold for each in expected}) == FOLDS
    assert len(page.cards) == 20
    for card, truth in zip(page.cards, expected, strict=True):
        assert card.strong == [truth.actual, truth.predicted]
        assert f"{truth.name}fold {truth.fold}, loss {truth.loss:.2f}" in card.text
        number = int(truth.name[-7:-4])
        off = np.subtract(picture_of(page, card), colour_of(number))
        assert np.abs(off).max() <= 6, "another image's picture"


def test_accuracy_and_interval_are_over_all_images_and_for_each_fold(page, truths):
    right = [each.actual == each.predicted for each in truths]
    assert f"{100 * sum(right) / 60:.2f} %" in page.words
    for fold in range(FOLDS):
        own = [ok for ok, each in zip(right, truths, strict=True) if each.fold == fold]
        low, high = wilson(sum(own), len(own))
        told = f"fold {fold}  20 {100 * sum(own) / 20:.2f} % {100 * low:.1f} to {100 * high:.1f} %"
        assert told.split() == re.findall(
            rf"fold {fold}\s+20\s+\S+ %\s+\S+ to \S+ %", page.words
        )[0].split()  # fmt: skip
    low, high = wilson(sum(right), 60)
    assert f"95 % interval {100 * low:.1f} to {100 * high:.1f} %, n = 60 images" in page.words


def test_what_differs_between_the_folds_is_told(page):
    assert "0.1 to 0.12" in page.words  # lr_max
    assert "dropout=0.25" in page.words


def test_hostile_names_are_text_and_the_page_asks_for_nothing(page):
    assert HOSTILE not in page.text
    assert page.tags["script"] == 1
    assert page.tags["i"] == page.text.count('<i class="whisker"')
    assert HOSTILE in page.words
    assert "<i>photos</i>/" in page.words
    assert not re.findall(r'(?:src|href)="(?!#)', page.text)
    assert "default-src 'none'" in page.text


def test_a_fold_without_pictures_is_named_and_its_mistakes_are_still_listed(tmp_path, truths):
    runs = make_folds(tmp_path / "trials", FOLDS)
    (runs / "fold=1,seed=0" / "examples.npz").unlink()
    (runs / "fold=2,seed=0" / "examples.npz").write_bytes(b"nothing")
    page = Page(to_html(join_folds([runs])))
    assert "Pictures are missing." in page.words
    assert "fold=1,seed=0 : examples.npz: is missing" in page.words
    assert "fold=2,seed=0 : examples.npz: is damaged" in page.words
    assert len(page.cards) == 20
    for card in page.cards:
        has_picture = "fold 0, loss" in card.text
        assert (card.place is not None) == has_picture
        assert ("no picture" in card.text) != has_picture
    for fold in (1, 2):
        (runs / f"fold={fold},seed=0" / "examples.npz").unlink(missing_ok=True)
    (runs / "fold=0,seed=0" / "examples.npz").unlink()
    bare = Page(to_html(join_folds([runs])))
    assert [card.place for card in bare.cards] == [None] * 20
    assert "Grad-CAM" not in bare.words


def test_nothing_is_written_through_a_link(runs, tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    link = tmp_path / "report.html"
    link.symlink_to(kept)
    folded = join_folds([runs])
    folded.write_report(link)
    assert kept.read_text() == "mine"
    assert not link.is_symlink()
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(TrainingError, match="folder.html: can't be written"):
        folded.write_report(tmp_path / "folder.html")


def test_more_classes_than_a_matrix_shows_are_listed(tmp_path):
    classes = [f"class {number}" for number in range(120)]
    runs = make_folds(tmp_path / "trials", 2, 120, classes)
    page = Page(to_html(join_folds([runs])))
    assert "There are 120 classes, too many for a matrix" in page.words
    assert 'data-tested="held-out"' in page.text


# -------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def address(runs, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    join_folds([runs]).write_report(path)
    return path.as_uri()


@needs_browser
@pytest.mark.faults
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_it_fits_a_phone_and_a_desk_in_light_and_dark(opened, width, scheme):
    page = opened(width, color_scheme=scheme)
    page.locator("#matrix td.error a").first.click()
    open_all_details(page)
    assert page_width(page) <= width
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER[scheme]
    found = page.evaluate(CONTRASTS)
    assert len(found) > 150
    assert min(found)[0] >= 4.5, min(found)
