"""Tables of images against the csv module and Pillow; bad tables are in the hostile tests."""

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_folders import Recorder, by_name, left_out, load, make_flat, make_table, paint

from onecycle.cli import main
from onecycle.config import Recipe
from onecycle.data import load_splits
from onecycle.data.folder import kept, manifest
from onecycle.data.image_set import BadImage
from onecycle.errors import InputError
from onecycle.training import prepare

ROWS = [
    ("b/1.png", "bee", "train"),
    ("a/0.png", "ant", "test"),
    ("a/1.png", "ant", "train"),
    ("b/0.png", "bee", "test"),
    ("b/2.png", "ant", "train"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two folders of images, which are not classes."""
    return make_flat(tmp_path / "place", 4, ("a", "b"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_images_have_the_tables_labels_splits_and_order(place, cache):
    table = make_table(place / "photos.csv", ROWS, "path,label,split")
    train, test = load(table, cache)
    assert train.classes == test.classes == ("ant", "bee")
    assert train.names == ("b/1.png", "a/1.png", "b/2.png")
    assert [train.classes[label] for label in train.labels_N] == ["bee", "ant", "ant"]
    assert test.names == ("a/0.png", "b/0.png")
    for name, image in by_name(train, test).items():
        with Image.open(place / name) as opened:
            assert np.array_equal(image, np.asarray(opened))


def test_without_splits_a_seeded_fifth_of_each_class_is_held_out(tmp_path, cache):
    root = make_flat(tmp_path / "photos", 10)
    rows = [(path.relative_to(root).as_posix(), path.parent.name) for path in root.glob("*/*")]
    table = make_table(root / "photos.csv", rows)
    train, test = load(table, cache)
    assert list(train.class_counts()) == [8, 8, 8]
    assert list(test.class_counts()) == [2, 2, 2]
    assert load(table, cache)[1].names == test.names
    assert load(table, cache, split_seed=1)[1].names != test.names
    empty = make_table(root / "empty.csv", [(*row, " ") for row in rows], "path,label,split")
    assert load(empty, cache)[1].names == test.names


def test_the_same_images_are_equal_from_a_folder_and_from_a_table(tmp_path, cache):
    for split in ("train", "test"):
        make_flat(tmp_path / "photos" / split, 3)
    names = sorted(path.relative_to(tmp_path) for path in tmp_path.glob("photos/*/*/*"))
    rows = [(name.as_posix(), name.parts[2], name.parts[1]) for name in names]
    table = make_table(tmp_path / "photos.csv", rows, "path,label,split")
    prints = [
        load_splits(str(path), cache_dir=cache).fingerprint for path in (table, tmp_path / "photos")
    ]
    assert prints[0] == prints[1]


@pytest.mark.parametrize("how", ["plain", "bom", "crlf", "quotes", "blanks", "columns", "capitals",
                                 "no last line break", "spaces"])  # fmt: skip
def test_tables_of_other_programs_are_read(how, place, cache):
    lines = ["path,label,split", *(",".join(row) for row in ROWS)]
    if how == "quotes":
        lines = [",".join(f'"{word}"' for word in line.split(",")) for line in lines]
    elif how == "blanks":
        lines = [word for line in lines for word in (line, "", "  \t")]
    elif how == "columns":
        lines = [f"{i},{line},x" for i, line in enumerate(lines)]
        lines[0] = "id,path,label,split,note"
    elif how == "capitals":
        lines = [lines[0].upper(), *(line.replace("train", "Train") for line in lines[1:])]
    elif how == "spaces":
        lines = [line.replace(",", ", ") for line in lines]
    text = ("\r\n" if how == "crlf" else "\n").join(lines) + ("" if "last" in how else "\n")
    table = place / "photos.CSV"
    table.write_bytes(text.encode("utf-8-sig" if how == "bom" else "utf-8"))
    train, test = load(table, cache)
    assert train.names + test.names == ("b/1.png", "a/1.png", "b/2.png", "a/0.png", "b/0.png")
    assert train.classes == ("ant", "bee")


ODD = ["a,b.png", 'a"b.png', "a\nb.png", " a .png", "ünï 猫.png", "a;b.png", "'.png"]


def test_odd_names_and_labels_are_read(tmp_path, cache):
    for index, name in enumerate(ODD):
        paint(tmp_path / name, index)
    rows = [(name, label) for name, label in zip(ODD, ["a,b", "ü"] * 4, strict=False)]
    train, test = load(make_table(tmp_path / "photos.csv", rows), cache)
    assert set(train.names + test.names) == set(ODD)
    assert train.classes == ("a,b", "ü")


def test_paths_may_be_absolute_or_lead_out_of_the_folder(place, cache, tmp_path, monkeypatch):
    outside = paint(tmp_path / "outside.png", 50)
    rows = [("../outside.png", "x"), (str(place / "a" / "0.png"), "x"), ("a/1.png", "y"),
            ("./a/../b/0.png", "y")]  # fmt: skip
    make_table(place / "photos.csv", rows)
    monkeypatch.chdir(place)
    sets = load(Path("photos.csv"), cache)
    found = by_name(*sets)
    assert set(found) == {row[0] for row in rows}
    with Image.open(outside) as opened:
        assert np.array_equal(found["../outside.png"], np.asarray(opened))


def test_missing_and_unreadable_files_are_skipped_and_reported_also_from_the_cache(
    place, cache, monkeypatch
):
    (place / "a" / "2.png").write_bytes(b"no image")
    rows = [*ROWS, ("a/2.png", "ant", "train"), ("gone.png", "bee", "test"), ("a", "bee", "test")]
    table = make_table(place / "photos.csv", rows, "path,label,split")
    with pytest.raises(InputError, match=r"2 images \('gone.png', 'a'\): No such file .*line 8"):
        load(table, cache)
    for _ in range(2):
        recorder = Recorder()
        found = left_out(table, cache, on_bad_image="skip", progress=recorder)
        assert found.bad_images == (
            BadImage("gone.png", "No such file or directory (line 8)"),
            BadImage("a", "it is not a file (line 9)"),
            BadImage("a/2.png", "not an image in a known format"),
        )
        assert "3 unreadable images ('gone.png', 'a', 'a/2.png')" in recorder.notes[-1]
        monkeypatch.setattr(kept, "decode", lambda *_: pytest.fail("it was decoded again"))
    train, test = load(table, cache, on_bad_image="skip")
    assert set(train.names + test.names) == {row[0] for row in ROWS}


def test_other_labels_need_no_decoding(place, cache, monkeypatch):
    table = make_table(place / "photos.csv", ROWS, "path,label,split")
    load(table, cache)
    monkeypatch.setattr(kept, "decode", lambda *_: pytest.fail("it was decoded again"))
    make_table(table, [(row[0], {"ant": "bee", "bee": "cat"}[row[1]], row[2]) for row in ROWS],
               "path,label,split")  # fmt: skip
    train, _ = load(table, cache)
    assert train.classes == ("bee", "cat")
    assert [train.classes[label] for label in train.labels_N] == ["cat", "bee", "bee"]


def test_a_pipe_in_a_table_does_not_hang(place, cache):
    os.mkfifo(place / "pipe.png")
    table = make_table(place / "photos.csv", [*ROWS, ("pipe.png", "ant", "train")],
                       "path,label,split")  # fmt: skip
    with pytest.raises(InputError, match=r"'pipe.png': it is not a file \(line 7\)"):
        load(table, cache)


def test_line_ends_of_old_macs_are_named(place):
    table = place / "photos.csv"
    table.write_bytes(b"path,label\ra/0.png,ant\rb/0.png,bee\r")
    with pytest.raises(InputError, match="line 1: has the line ends of old Macs; save it with"):
        manifest.read(table)


def test_a_row_over_several_lines_is_named_by_its_first_line(place):
    table = place / "photos.csv"
    table.write_text('path,label\n"a\nb",\n')
    with pytest.raises(InputError, match="line 2: has no label"):
        manifest.read(table)


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=6)


@given(
    labels=st.lists(st.sampled_from(["ant", "bee", " bee", "Ant", "ü,"]), min_size=6, max_size=6),
    more=st.lists(WORDS, min_size=6, max_size=6),
    dialect=st.sampled_from(["excel", "unix"]),
)
def test_tables_written_by_the_csv_module_are_read(labels, more, dialect, tmp_path_factory):
    """Against the rows themselves."""
    place = tmp_path_factory.getbasetemp() / "written"
    names = [f"{index}.png" for index in range(6)]
    if not place.exists():
        for index, name in enumerate(names):
            paint(place / name, index)
    with (place / "t.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, dialect)
        rows.writerow(["more", "label", "path"])
        rows.writerows(zip(more, labels, names, strict=True))
    counts = Counter(label.strip() for label in labels)
    if len(counts) < 2 or min(counts.values()) < 2:
        with pytest.raises(InputError):
            manifest.read(place / "t.csv")
        return
    listing = manifest.read(place / "t.csv")
    assert [file.name for file in listing.files] == names
    assert [file.label for file in listing.files] == [label.strip() for label in labels]
    assert listing.classes == tuple(sorted(counts))


def test_the_command_and_a_training_take_a_table(place, capsys):
    table = make_table(place / "photos.csv", ROWS, "path,label,split")
    assert main(["data", str(table)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "train 3 images, 1 to 2 in a class" in out
    assert "test 2 images, 1 in each class" in out
    assert main(["data", "--help"]) == 0
    assert ".csv" in capsys.readouterr().out
    recipe = Recipe(data=str(table), image_size=8, cutout=2, batch_size=2, width=0.05, device="cpu")
    training, splits = prepare(recipe)
    assert splits.train.image_shape == (8, 8, 3)
    assert training.recipe.data == str(table)
