"""What `onecycle predict` makes of images besides rows: copies, a contact sheet, Grad-CAM."""

import errno
import hashlib
import json
import os
import shutil
import signal
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_folders import CLASSES, paint
from test_contact_sheet import pixels_of, tiles
from test_plots import assert_legible, says

import onecycle
from onecycle import plots, training
from onecycle.cli import main
from onecycle.config import Recipe
from onecycle.inference.destination import Copy, Destination, Link, Written
from onecycle.interpret import grad_cam
from onecycle.plots import heat
from onecycle.writing.file_names import LONGEST, file_name, folder_names

SIZE = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for place in range(60):
        split = "train" if place < 45 else "test"
        paint(root / split / CLASSES[place % 3] / f"{place}.png", place, (SIZE, SIZE))
    recipe = Recipe(
        recipe="small", data=str(root), image_size=SIZE, width=0.125, head_scale=0.125, epochs=2,
        batch_size=16, precision="bf16", lr_max=0.05, lr_min=0.005,
    )  # fmt: skip
    return training.train(recipe, runs=tmp_path_factory.mktemp("runs"), report=False).path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven images, two of them with the same name, and a broken one."""
    folder = tmp_path / "photos"
    for place in range(6):
        paint(folder / f"{place}.png", place, (20, 13))
    paint(folder / "more" / "0.png", 70, (SIZE, SIZE))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture
def predict(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, dict[str, dict[str, str]], str]]:
    """Runs `onecycle predict` where `photos` lies; exit code, rows by path, and messages."""
    monkeypatch.chdir(tmp_path)

    def command(*words: object, model: Path = run) -> tuple[int, dict[str, dict[str, str]], str]:
        code = main(["predict", str(model), *map(str, words), "--json", "--quiet"])
        out, err = capfd.readouterr()
        rows = json.loads(out)["images"] if out else []
        return code, {row["path"]: row for row in rows}, err

    return command


def contents(folder: Path) -> dict[str, str]:
    """The hash of each file below a folder, by its path there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def entries(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Inode, time and number of links of everything below a folder."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (each.st_ino, each.st_mtime_ns, each.st_nlink) for path, each in found.items()}


# ----------------------------------------------------------------------------------------- copies


def test_copies_are_sorted_by_predicted_class_and_keep_bytes_times_and_permissions(
    predict, photos, tmp_path
):
    private = photos / "3.png"
    private.chmod(0o600)
    os.utime(private, ns=(1_000_000_000_123_456_789, 1_100_000_000_123_456_789))
    before = contents(photos)
    code, rows, err = predict("photos", "--copy-to", "sorted")
    assert code == 1
    assert err.endswith("1 image of 8 can't be read; the rows say why\n")
    assert contents(photos) == before
    found = contents(tmp_path / "sorted")
    assert len(found) == 7
    for path, row in rows.items():
        if "error" in row:
            assert path == "photos/broken.png"
            assert "copied_to" not in row
            continue
        copy = Path(row["copied_to"])
        assert copy.parent == Path("sorted", row["predicted"])
        assert found.pop(str(copy.relative_to("sorted"))) == before[os.path.relpath(path, photos)]
        assert copy.stat().st_mtime_ns == Path(path).stat().st_mtime_ns
        assert copy.stat().st_mode == Path(path).stat().st_mode
    assert not found


@pytest.mark.parametrize("flags", [(), ("--link",)])
def test_a_second_time_nothing_is_added_or_changed(flags, predict, photos, tmp_path):
    _, first, _ = predict("photos", "--copy-to", "sorted", *flags)
    before = entries(tmp_path / "sorted")
    _, second, _ = predict("photos", "--copy-to", "sorted", *flags)
    assert first == second
    assert entries(tmp_path / "sorted") == before


def test_links_lead_to_the_images(predict, photos):
    _, rows, _ = predict("photos", "--copy-to", "sorted", "--link")
    links = {path: Path(row["copied_to"]) for path, row in rows.items() if "copied_to" in row}
    assert len(links) == 7
    assert all(link.is_symlink() for link in links.values())
    assert {path: os.readlink(link) for path, link in links.items()} == {
        path: str(photos.parent / path) for path in links
    }


def test_a_name_that_is_taken_gets_a_number_and_the_other_file_stays(tmp_path):
    target = Destination(tmp_path / "to")
    for number, content in enumerate((b"a", b"bb", b"a", b"c", b"bb"), start=1):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "Photo.jpg").write_bytes(content)
    (tmp_path / "to" / "cat").mkdir(parents=True)
    (tmp_path / "to" / "cat" / "photo-2.JPG").write_bytes(b"mine")  # the same name on a Mac
    (tmp_path / "to" / "cat" / "Photo-4.jpg").symlink_to("nowhere")
    names = [
        target.add(("cat",), "Photo.jpg", Copy(str(tmp_path / f"{number}" / "Photo.jpg")))
        for number in range(1, 6)
    ]
    assert [os.path.basename(name) for name in names] == [
        "Photo.jpg", "Photo-3.jpg", "Photo.jpg", "Photo-5.jpg", "Photo-3.jpg",
    ]  # fmt: skip
    again = Destination(tmp_path / "to")  # knows only what lies there
    assert again.add(("cat",), "Photo.jpg", Written(b"c")) == names[3]
    assert (tmp_path / "to" / "cat" / "photo-2.JPG").read_bytes() == b"mine"
    assert os.readlink(tmp_path / "to" / "cat" / "Photo-4.jpg") == "nowhere"
    assert not list((tmp_path / "to").rglob(".*"))


def test_a_name_that_somebody_else_takes_meanwhile_is_left_alone(tmp_path):
    target = Destination(tmp_path)
    target.add((), "first.png", Written(b"first"))
    (tmp_path / "next.png").write_bytes(b"theirs")
    assert target.add((), "next.png", Written(b"ours")) == str(tmp_path / "next-2.png")
    assert (tmp_path / "next.png").read_bytes() == b"theirs"


def test_without_hard_links_a_taken_name_is_left_alone_too(tmp_path, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    test_a_name_that_somebody_else_takes_meanwhile_is_left_alone(tmp_path)


def test_thousands_of_equal_names_take_no_time_that_grows_with_their_square(tmp_path):
    looked = 0

    class Item:
        mark = None

        def equals(self, *_: object) -> bool:
            nonlocal looked
            looked += 1
            return False

        def put(self, *_: object) -> None:
            pass

    target = Destination(tmp_path)
    for number in range(2000):
        item = Item()
        item.mark = number  # type: ignore[assignment]
        target.add((), "frame.png", item)  # type: ignore[arg-type]
    assert looked == 0


HOSTILE = ("../../etc", "/abs", "con")


def test_classes_of_a_stranger_never_lead_out_of_the_folder(predict, run, photos, tmp_path):
    stranger = tmp_path / "a" / "b" / "run"
    shutil.copytree(run, stranger)
    about = json.loads((stranger / "network.json").read_text())
    (stranger / "network.json").write_text(json.dumps(about | {"classes": list(HOSTILE)}))
    before = {path for path in tmp_path.rglob("*") if "sorted" not in path.parts}
    _, rows, _ = predict("photos", "--copy-to", "a/b/sorted", model=stranger)
    assert {row["predicted"] for row in rows.values() if "predicted" in row} <= set(HOSTILE)
    assert len([row for row in rows.values() if "copied_to" in row]) == 7
    after = {path for path in tmp_path.rglob("*") if "sorted" not in path.parts}
    assert after == before
    made = {path.name for path in (tmp_path / "a" / "b" / "sorted").iterdir()}
    assert made <= {"_._.._etc", "_abs", "con_"}


def test_no_link_in_the_folder_is_followed(predict, photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sorted").mkdir()
    for name in CLASSES:
        (tmp_path / "sorted" / name).symlink_to(tmp_path / "elsewhere")
    code, rows, err = predict("photos", "--copy-to", "sorted")
    assert (code, rows) == (2, {})
    assert err == (
        f"onecycle: error: sorted/{CLASSES[0]}: is a link, not a folder; remove it, or name "
        "another folder\n"
    )
    assert not list((tmp_path / "elsewhere").iterdir())


@given(st.lists(st.text(max_size=120), unique=True, max_size=6))
def test_folders_of_classes_are_safe_names_that_differ_on_every_system(classes):
    found = folder_names(classes)
    assert sorted(found) == sorted(classes)
    assert len({unicodedata.normalize("NFD", name).casefold() for name in found.values()}) == len(
        classes
    )
    for name in found.values():
        assert name not in ("", ".", "..")
        assert name.isprintable()
        assert not set(name) & set('/\\:*?"<>|')
        assert not name.startswith((".", " "))
        assert not name.endswith((".", " "))
        assert len(name.encode()) <= LONGEST
        assert name.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "com1", "lpt9")


def test_classes_keep_their_names_where_they_can():
    found = {
        "a/b": "a_b-2", "a_b": "a_b", "Cat": "Cat", "cat": "cat-2", "": "_", "..": "_-2",
        "con": "con_", "nul.txt": "nul.txt_", "ok name": "ok name", "x" * 300: "x" * 100,
        "\ud800": "_-3",
    }  # fmt: skip
    assert folder_names(tuple(found)) == found
    assert file_name("é" * 300) == "é" * 127


MISTAKES = {
    "photos --link": "--link: needs --copy-to DIR; give both",
    "photos --copy-to photos/sorted": "--copy-to: 'photos/sorted' is in 'photos', so the next "
    "prediction would read it too; name a place elsewhere",
    "photos --copy-to photos": "--copy-to: 'photos' is in 'photos', so the next prediction would "
    "read it too; name a place elsewhere",
    "photos --grad-cam through/cams": "--grad-cam: 'through/cams' is in 'photos', so the next "
    "prediction would read it too; name a place elsewhere",
    "photos --copy-to photos/0.png": "--copy-to: 'photos/0.png' is a file; name a folder",
    "photos --grad-cam no/cams": "--grad-cam: there is no folder 'no'; make it first",
    "photos --contact-sheet photos/s.png": "--contact-sheet: 'photos/s.png' is in 'photos', so "
    "the next call would read it too; name a place elsewhere",
    "photos --contact-sheet no/sheet.png": "--contact-sheet: there is no folder 'no'; make it "
    "first",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing_behind(words, predict, photos, tmp_path):
    (tmp_path / "through").symlink_to("photos")
    before = sorted(tmp_path.rglob("*"))
    assert predict(*words.split()) == (2, {}, f"onecycle: error: {MISTAKES[words]}\n")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_one_line_and_leaves_whole_copies(predict, photos, tmp_path, monkeypatch):
    copied = 0

    def copyfileobj(source, target, length):
        nonlocal copied
        copied += 1
        target.write(source.read(10))
        if copied == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        target.write(source.read())

    monkeypatch.setattr(shutil, "copyfileobj", copyfileobj)
    code, _, err = predict("photos", "--copy-to", "sorted", "--output", "rows.json")
    assert code == 1
    assert "can't be written: No space left on device; free space" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "rows.json").exists()
    assert set(contents(tmp_path / "sorted").values()) < set(contents(photos).values())
    assert len(contents(tmp_path / "sorted")) == 2


STOPPED = """
import shutil, signal

def copyfileobj(source, target, length, count=[]):
    count.append(1)
    target.write(source.read(10))
    if len(count) == 2:
        os.kill(os.getpid(), signal.SIGINT)
    target.write(source.read())

shutil.copyfileobj = copyfileobj
"""
"""Ctrl-C comes while the second copy is half written."""


def test_stopped_in_the_middle_it_leaves_whole_copies(run, photos, tmp_path, forks):
    done = forks.run(f"predict {run} photos --copy-to sorted", code=STOPPED, cwd=tmp_path)
    assert done.code == 128 + signal.SIGINT
    assert done.err.endswith("onecycle: stopped\n")
    found = contents(tmp_path / "sorted")
    assert len(found) == 1
    assert set(found.values()) < set(contents(photos).values())


# ----------------------------------------------------------------------------------- contact sheet


def test_the_contact_sheet_shows_each_image_with_its_confidence(
    predict, run, photos, tmp_path, monkeypatch
):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append((figure, path)))
    _, rows, _ = predict("photos", "--contact-sheet", "sheet.png")
    ((figure, path),) = figures
    assert path == Path("sheet.png")
    assert_legible(figure)
    good = [row for row in rows.values() if "predicted" in row]
    counts = {name: sum(row["predicted"] == name for row in good) for name in CLASSES}
    order = sorted(filter(counts.get, CLASSES), key=lambda name: -counts[name])
    expected = sorted(good, key=lambda row: (-counts[row["predicted"]], row["confidence"]))
    told = says(figure).splitlines()
    assert "Predictions for 7 images" in told
    assert "By predicted class and confidence, the least confident first" in told
    assert [line for line in told if line in CLASSES] == order
    assert [line for line in told if line.endswith(" %")] == [
        f"{int(100 * row['confidence'])} %" for row in expected
    ]
    drawn, preprocess = pixels_of(figure), onecycle.load(run).preprocess
    for row, (left, top, right, bottom) in zip(expected, tiles(figure), strict=True):
        factor = (bottom - top) // SIZE
        image = preprocess.pixels(row["path"])[0].repeat(factor, axis=0).repeat(factor, axis=1)
        assert np.array_equal(drawn[top:bottom, left:right], image)


def test_of_many_images_the_least_confident_ones_are_shown(predict, run, tmp_path, monkeypatch):
    for place in range(80):
        paint(tmp_path / "many" / f"{place:02d}.png", place, (SIZE, SIZE))
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, _: figures.append(figure))
    _, rows, _ = predict("many", "--contact-sheet", "sheet.png")
    told = says(figures[0]).splitlines()
    assert "Predictions for 80 images" in told
    by_class = {
        name: sorted(row["confidence"] for row in rows.values() if row["predicted"] == name)
        for name in CLASSES
    }
    shown = sum(min(10, len(each)) for each in by_class.values())
    assert shown < 80
    assert f"{shown} shown: the 10 least confident of each class" in told
    order = sorted(filter(by_class.get, CLASSES), key=lambda name: -len(by_class[name]))
    assert [line for line in told if line.endswith(" %")] == [
        f"{int(100 * value)} %" for name in order for value in by_class[name][:10]
    ]
    assert len(tiles(figures[0])) == shown


def test_the_contact_sheet_is_a_png_and_replaces_an_older_one(predict, photos, tmp_path):
    (tmp_path / "sheet.png").write_bytes(b"older")
    predict("photos", "--contact-sheet", "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.format == "PNG"
    (photos / "bad").mkdir()
    shutil.move(photos / "broken.png", photos / "bad")
    assert predict("photos/bad", "--contact-sheet", "none.png")[0] == 1
    assert (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("classes", "shape"),
    [(1, (28, 28, 1)), (3, (120, 160, 3)), (3, (8, 200, 3)), (21, (32, 32, 3)), (100, (64, 8, 3))],
)
def test_sheets_of_any_size_are_legible(classes, shape):
    each = 10 if classes <= 20 else 6
    images = np.zeros((classes * each, *shape), np.uint8)
    rows = np.split(np.arange(len(images)), classes)
    names = [f"a class with a long name, {place}" for place in range(classes + 40)]
    counts = [5000] * len(names) if classes == 100 else [5000] * classes
    figure = plots.predicted_sheet(
        images, rows, [0.999] * len(images), names[: len(counts)], counts
    )
    assert_legible(figure)
    places = tiles(figure)
    assert len(places) == classes * each
    if classes == 100:
        assert "the 6 least confident of each of the 100 most frequent of 140 classes" in says(
            figure
        )


# ---------------------------------------------------------------------------------------- Grad-CAM


def test_overlays_are_those_of_each_image_alone(predict, run, photos, tmp_path):
    before = contents(photos)
    _, rows, _ = predict("photos", "--grad-cam", "cams")
    assert contents(photos) == before
    classifier = onecycle.load(run)
    written = {path: Path(row["grad_cam"]) for path, row in rows.items() if "grad_cam" in row}
    assert written == {path: Path("cams", path) for path in rows if path != "photos/broken.png"}
    for path, picture in written.items():
        batch_BCHW = classifier.preprocess(path)
        label = torch.tensor([classifier.classes.index(rows[path]["predicted"])])
        map_HW = grad_cam(classifier.network, batch_BCHW, label)[0].numpy()
        pixels = classifier.preprocess.pixels(path)[0]
        factor = 256 // SIZE
        large = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
        with Image.open(picture) as found:
            found_HW3 = np.asarray(found)
        side = factor * SIZE
        assert found_HW3.shape == (found_HW3.shape[0], 2 * side + 6, 3)
        image, overlay = found_HW3[-side:, :side], found_HW3[-side:, -side:]
        assert np.array_equal(image, large)
        difference = np.abs(overlay.astype(int) - heat.overlay(large, map_HW))
        assert difference.max() <= 1  # a batch of one may round differently
        assert found_HW3[:-side, :].min() < 128  # the caption


def test_pictures_that_are_there_already_stay(predict, photos, tmp_path):
    (tmp_path / "cams" / "photos").mkdir(parents=True)
    (tmp_path / "cams" / "photos" / "1.png").write_bytes(b"mine")
    _, first, _ = predict("photos", "--grad-cam", "cams")
    assert first["photos/1.png"]["grad_cam"] == "cams/photos/1-2.png"
    before = contents(tmp_path / "cams")
    assert len(before) == 8
    assert predict("photos", "--grad-cam", "cams")[1] == first
    assert contents(tmp_path / "cams") == before


def test_pictures_never_lead_out_of_their_folder(predict, photos, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "list.csv").write_text(f"path\n../photos/0.png\n{photos}/more/0.png\n")
    _, rows, _ = predict("inner/list.csv", "--grad-cam", "inner/cams")
    steps = [*photos.parts[1:], "more", "0.png"]
    assert [row["grad_cam"] for row in rows.values()] == [
        "inner/cams/photos/0.png", str(Path("inner/cams", *steps)),
    ]  # fmt: skip


def test_pictures_of_pictures_are_not_made(predict, photos):
    """`find . -name '*.png' | onecycle predict RUN - --grad-cam cams` would never end."""
    _, rows, _ = predict("photos/0.png", "photos/more/0.png", "--grad-cam", "photos/more")
    assert rows["photos/0.png"]["grad_cam"] == "photos/more/photos/0.png"
    assert "grad_cam" not in rows["photos/more/0.png"]


def test_links_are_made_where_the_system_has_them(tmp_path):
    assert Destination(tmp_path).add((), "a", Link("b")) == str(tmp_path / "a")
    assert os.readlink(tmp_path / "a") == os.path.abspath("b")
