"""CIFAR's archives are read as by Python's own tools, and every bad one is refused in one line."""

import json
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_cifar import (
    CIFAR10_NAMES,
    COARSE_NAMES,
    FINE_NAMES,
    Made,
    Python2Pickler,
    add,
    check,
    class_names_of,
    load,
    make,
    md5,
    python2_pickle,
)

from onecycle import data
from onecycle.cli import main
from onecycle.config import Recipe
from onecycle.data import cifar, load_splits
from onecycle.data.cifar import (
    CIFAR10,
    CIFAR10_BINARY,
    CIFAR100,
    CIFAR100_BINARY,
    OFFICIAL,
    batches,
    pickles,
)
from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.training import describe, prepare

EVERY = pytest.mark.parametrize("official", OFFICIAL, ids=lambda a: f"{a.data}-{a.form}")


# ----------------------------------------------------------------------------- what is published


@pytest.mark.parametrize("official", [CIFAR10, CIFAR100], ids=lambda a: a.data)
def test_the_official_files_of_class_names_are_read(official):
    """They are made byte for byte: their checksums are the published ones."""
    content = python2_pickle(class_names_of(official.data))
    assert md5(content) == official.names[0].md5
    names = batches.class_names(official, official.names[0], content)
    assert names["fine"] == tuple(CIFAR10_NAMES if official is CIFAR10 else FINE_NAMES)
    if official is CIFAR100:
        assert names["coarse"] == tuple(COARSE_NAMES)


@EVERY
def test_the_official_sets_have_their_published_sizes(official):
    assert official.counts == (50_000, 10_000)
    assert {labels.set: labels.classes for labels in official.labels}["fine"] == (
        10 if official.data == "cifar10" else 100
    )
    sums = [official.remote.md5, *(file.md5 for file in official.files() if file.md5)]
    assert all(len(digits) == 32 and int(digits, 16) for digits in sums)
    assert len(set(sums)) == len(sums)


# -------------------------------------------------------------------------------- what is well


@EVERY
@pytest.mark.parametrize("how", ["tar.gz", "tar", "folder", "folder around it", "renamed folder"])
def test_every_form_is_recognised_by_its_content_and_read(official, how, tmp_path):
    made = make(official)
    if how == "folder":
        path = made.folder(tmp_path / official.folder)
    elif how == "renamed folder":
        path = made.folder(tmp_path / "my images")
    elif how == "folder around it":
        made.folder(tmp_path / "root" / official.folder)
        path = tmp_path / "root"
    else:
        path = made.tar(tmp_path / "any name", "w:gz" if how == "tar.gz" else "w")
    others = [archive for archive in OFFICIAL if archive.folder != official.folder]
    assert cifar.recognise(path, [*others, made.archive]) is made.archive
    check(load(path, made), made)
    if official.data == "cifar100":
        check(load(path, made, label_set="coarse"), made, "coarse")


def test_the_first_bytes_of_a_row_are_the_red_channels_first_line(tmp_path):
    """As documented by the authors; written here with plain bytes."""
    made = make(CIFAR10_BINARY)
    train, _ = load(made.tar(tmp_path / "a"), made)
    record = made.contents["data_batch_2.bin"][3 * 3073 : 4 * 3073]
    image = train.images_NHWC[made.archive.train[0].images + 3]
    assert train.labels_N[made.archive.train[0].images + 3] == record[0]
    assert bytes(image[0, :, 0]) == record[1:33]
    assert bytes(image[1, :, 0]) == record[33:65]
    assert bytes(image[0, :, 1]) == record[1025:1057]
    assert bytes(image[31, :, 2]) == record[-32:]


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_this_python_and_numpy_are_read_too(protocol, tmp_path):
    made = make(CIFAR100, pickled=partial(pickle.dumps, protocol=protocol))
    check(load(made.tar(tmp_path / "a"), made), made)


@pytest.mark.parametrize("core", ["core", "_core"])
@pytest.mark.parametrize("fortran", [False, True])
def test_arrays_of_old_and_new_numpy_equal_those_of_pythons_unpickler(core, fortran):
    rows = np.random.default_rng(0).integers(0, 256, (7, 3072), dtype=np.uint8)
    batch = {b"data": np.asfortranarray(rows) if fortran else rows, b"labels": list(range(7))}
    content = Python2Pickler(core).dump(batch)
    truth = pickle.loads(content, encoding="bytes")
    pixels, labels = batches._pickled(CIFAR10, cifar.File("data_batch_1", 7), content)
    assert np.array_equal(pixels, truth[b"data"])
    assert labels.tolist() == [truth[b"labels"]]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.text(st.characters(codec="ascii"), min_size=200, max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(value=PLAIN, protocol=st.integers(0, 5))
@settings(max_examples=300)
def test_plain_data_are_read_as_pythons_unpickler_reads_them(value, protocol):
    content = pickle.dumps(value, protocol)
    assert pickles.load(content, 10_000) == pickle.loads(content) == value


@EVERY
def test_both_forms_hold_the_same_and_have_the_same_fingerprint(official, tmp_path, monkeypatch):
    made = make(official, images=60 if official.data == "cifar100" else 10)
    other = {"python": "binary", "binary": "python"}[official.form]
    twin = next(a for a in OFFICIAL if (a.data, a.form) == (official.data, other))
    second = make(twin, images=made.archive.train[0].images)
    monkeypatch.setattr(
        data.cifar, "recognise", partial(cifar.recognise, archives=[made.archive, second.archive])
    )
    prints = [
        load_splits(str(m.tar(tmp_path / m.archive.form))).fingerprint for m in (made, second)
    ]
    assert prints[0] == prints[1]


def test_images_are_resized_as_by_pillow(tmp_path):
    made = make(CIFAR10)
    train, test = load(made.tar(tmp_path / "a"), made, image_size=20)
    assert test.image_shape == (20, 20, 3)
    expected = Image.fromarray(made.images_NHWC[4]).resize((20, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(train.images_NHWC[4], np.asarray(expected))


def test_progress_counts_every_image(tmp_path):
    class Counter(Progress):
        total = done = 0

        def start(self, title, total, unit="steps"):
            self.title, self.total, self.unit = title, total, unit

        def advance(self, count=1, **figures):
            self.done += count

    made, counter = make(CIFAR10), Counter()
    load(made.tar(tmp_path / "a"), made, progress=counter)
    assert (counter.title, counter.unit) == ("reading CIFAR-10", "images")
    assert counter.done == counter.total == 36


def test_the_recipe_chooses_the_labels_and_the_command_line_the_archive(
    tmp_path, monkeypatch, capsys
):
    made = make(CIFAR100, images=200)
    path = made.tar(tmp_path / "cifar-100-python.tar.gz")
    monkeypatch.setattr(data.cifar, "recognise", partial(cifar.recognise, archives=[made.archive]))
    recipe = Recipe(data=str(path), label_set="coarse", width=0.05, device="cpu")
    training, splits = prepare(recipe)
    check((splits.train, splits.test), made, "coarse")
    assert training.evaluate(splits.test).logits_NK.shape == (200, 20)
    assert describe(Recipe(data="cifar100", label_set="coarse")).layers[-1].output_shape == (20,)
    assert main(["data", str(path), "--train-limit", "100", "--quiet"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "what it is CIFAR-100, official archive, Python form train 100 images, " in out
    assert " test 200 images, " in out
    assert main(["data", str(path), "--label-set", "coarse", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == COARSE_NAMES


# -------------------------------------------------------------------------------------- bad inputs


def rows(
    made: Made, count: int | None = None, shape: tuple[int, ...] | None = None, **changes: Any
):
    """The first batch with a change."""
    batch = pickle.loads(made.contents["data_batch_1"], encoding="bytes")
    if shape:
        batch[b"data"] = np.zeros(shape, np.uint8)
    if count is not None:
        batch = {key: value[:count] if key == b"labels" else value for key, value in batch.items()}
    batch |= {key.encode(): value for key, value in changes.items()}
    return python2_pickle({key: value for key, value in batch.items() if value is not None})


def spoil_first(change: Callable[[Made], bytes], official: cifar.Archive = CIFAR10) -> Callable:
    """The archive with another first batch, its checksum included."""

    def write(tmp_path: Path) -> tuple[Path, Made]:
        made = make(official)
        name = made.archive.train[0].name.replace(".", "__")
        made = made.with_contents(**{name: change(made)})
        return made.tar(tmp_path / "cifar.tar.gz"), made

    return write


def spoil_names(change: bytes | list[bytes], official: cifar.Archive = CIFAR10) -> Callable:
    def write(tmp_path: Path) -> tuple[Path, Made]:
        content = change if isinstance(change, bytes) else python2_pickle({b"label_names": change})
        name = official.names[0].name.replace(".", "__")
        made = make(official).with_contents(**{name: content})
        return made.tar(tmp_path / "cifar.tar.gz"), made

    return write


def lacking(name: str) -> Callable:
    def write(tmp_path: Path) -> tuple[Path, Made]:
        made = make(CIFAR10)
        return made.tar(
            tmp_path / "cifar.tar.gz", order=[n for n in made.contents if n != name]
        ), made

    return write


def cut(share: float, mode: str = "w:gz") -> Callable:
    def write(tmp_path: Path) -> tuple[Path, Made]:
        made = make(CIFAR10)
        path = made.tar(tmp_path / "cifar.tar.gz", mode)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        return path, made

    return write


def in_folder(change: Callable[[Path], object], official: cifar.Archive = CIFAR10) -> Callable:
    def write(tmp_path: Path) -> tuple[Path, Made]:
        made = make(official)
        change(folder := made.folder(tmp_path / official.folder))
        return folder, made

    return write


def shorten(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1])


def flip(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def replace_by_pipe(folder: Path) -> None:
    (folder / "data_batch_2").unlink()
    os.mkfifo(folder / "data_batch_2")


def flipped_in_archive(tmp_path: Path) -> tuple[Path, Made]:
    path, made = tmp_path / "cifar.tar.gz", make(CIFAR10)
    made.tar(path, "w")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    return path, made


def another_cifar100_binary(tmp_path: Path) -> tuple[Path, Made]:
    """Its files have no published checksums, so the archive's counts."""
    made = make(CIFAR100_BINARY)
    made = replace(made, archive=replace(made.archive, train=CIFAR100_BINARY.train))
    path = made.tar(tmp_path / "cifar-100-binary.tar.gz")
    made = replace(made, archive=replace(made.archive, train=(cifar.File("train.bin", 6),)))
    return path, made


def not_an_archive(tmp_path: Path, content: str = "503 Unavailable") -> tuple[Path, Made]:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_text(content)
    return path, make(CIFAR10)


def empty_file(tmp_path: Path) -> tuple[Path, Made]:
    path, made = not_an_archive(tmp_path)
    path.write_bytes(b"")
    return path, made


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def pointer(tmp_path: Path) -> tuple[Path, Made]:
    path = tmp_path / CIFAR10.remote.name
    path.write_bytes(LFS)
    return path, make(CIFAR10)


def other_archive(tmp_path: Path) -> tuple[Path, Made]:
    path = tmp_path / "photos.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "photos/ant/1.txt", b"words")
    return path, make(CIFAR10)


def two_sets(tmp_path: Path) -> tuple[Path, Made]:
    made = make(CIFAR10)
    for official in (CIFAR10, CIFAR100):
        make(official).folder(tmp_path / official.folder)
    return tmp_path, made


BAD = {
    "no archive, but named like one": (not_an_archive, "is not an archive despite its name"),
    "a web page, but named like an archive": (
        lambda place: not_an_archive(place, "<html><body>503 Service Unavailable</body></html>"),
        "is a web page, probably from a failed download",
    ),
    "an empty file named like one": (empty_file, "is empty; fetch it again"),
    "another archive": (other_archive, "is an archive, but not CIFAR's, and has no images in it"),
    "a folder with two sets": (two_sets, "holds several sets; give one of "),
    "an archive cut off in a file": (cut(0.5), "is damaged or cut off"),
    "an archive cut off in a file, not packed": (cut(0.5, "w"), "is damaged or cut off"),
    "an archive cut off at its beginning": (cut(0.0005), "is damaged or cut off"),
    "a bit of the archive flipped": (flipped_in_archive, "is not the published file: its MD5 is"),
    "a batch missing": (lacking("data_batch_4"), "lacks data_batch_4 of CIFAR-10"),
    "the class names missing": (lacking("batches.meta"), "lacks batches.meta"),
    "a batch missing in a folder": (
        in_folder(lambda folder: (folder / "test_batch").unlink()),
        "lacks test_batch",
    ),
    "a pipe in a batch's place": (in_folder(replace_by_pipe), "lacks data_batch_2"),
    "a batch cut off": (in_folder(shorten("data_batch_5")), "data_batch_5 in .* ends too early"),
    "a batch cut off, binary": (
        in_folder(shorten("test_batch.bin"), CIFAR10_BINARY),
        "test_batch.bin in .* has 18,437 bytes, but 18,438 are expected: 6 images of 3,073",
    ),
    "a batch too long": (
        in_folder(
            lambda folder: (folder / "test_batch.bin").write_bytes(bytes(18_439)), CIFAR10_BINARY
        ),
        "test_batch.bin in .* has 18,439 bytes, but at most 18,438 are expected",
    ),
    "a bit of a batch flipped": (
        in_folder(flip("data_batch_2")),
        "data_batch_2 in .* is not the published file: its MD5 is",
    ),
    "a bit of a batch flipped, binary": (
        in_folder(flip("data_batch_2.bin"), CIFAR10_BINARY),
        "data_batch_2.bin in .* is not the publ",
    ),
    "a bit of the class names flipped": (in_folder(flip("batches.meta")), "batches.meta in .* "),
    "another archive without checksums of its files": (
        another_cifar100_binary,
        "is not the published archive: its MD5 is",
    ),
    "images of another size": (
        spoil_first(lambda made: rows(made, shape=(6, 784))),
        r"has pixels of shape \(6, 784\) and type u1, but \(6, 3072\) and u1 are expected",
    ),
    "too few images": (
        spoil_first(lambda made: rows(made, shape=(5, 3072))),
        r"has pixels of shape \(5, 3072\) and type u1",
    ),
    "images with an axis more": (
        spoil_first(lambda made: rows(made, shape=(6, 3072, 1))),
        r"has pixels of shape \(6, 3072, 1\)",
    ),
    "pixels of another type": (
        spoil_first(
            lambda made: pickle.dumps(
                {b"labels": [0] * 6, b"data": np.zeros((6, 3072), np.float32)}, 2
            )
        ),
        "and type f4",
    ),
    "no pixels": (spoil_first(lambda made: rows(made, data=None)), "has no data"),
    "pixels in a list": (
        spoil_first(lambda made: rows(made, data=[1, 2])),
        "has no array of pixels",
    ),
    "no labels": (spoil_first(lambda made: rows(made, labels=None)), "has no labels"),
    "too few labels": (
        spoil_first(lambda made: rows(made, count=4)),
        "has 4 labels, but 6 are expected",
    ),
    "labels in a text": (
        spoil_first(lambda made: rows(made, labels=b"012345")),
        "has no list of labels, but 6",
    ),
    "labels that are texts": (
        spoil_first(lambda made: rows(made, labels=[b"cat"] * 6)),
        "has labels that are not numbers",
    ),
    "a label out of range": (
        spoil_first(lambda made: rows(made, labels=[0, 1, 10, 3, 4, 5])),
        "has the label 10, but the largest is 9",
    ),
    "a negative label": (
        spoil_first(lambda made: rows(made, labels=[0, -1, 1, 3, 4, 5])),
        "has labels that are not num",
    ),
    "a label out of range, binary": (
        spoil_first(lambda made: b"\x0a" + made.contents["data_batch_1.bin"][1:], CIFAR10_BINARY),
        "has the label 10, but the largest is 9",
    ),
    "a group out of range, binary": (
        spoil_first(lambda made: b"\x14" + made.contents["train.bin"][1:], CIFAR100_BINARY),
        "has the coarse label 20, but the largest is 19",
    ),
    "another kind of pickle": (
        spoil_first(lambda made: python2_pickle([1])),
        "contains no dictionary",
    ),
    "an empty batch": (spoil_first(lambda made: b""), "is empty; fetch it again"),
    "a text for a batch": (spoil_first(lambda made: b"Not found"), "is plain text; fetch"),
    "a Git LFS pointer for a batch": (
        spoil_first(lambda made: LFS),
        "data_batch_1 in .* is a Git LFS pointer, .* git lfs pull$",
    ),
    "a Git LFS pointer for a batch, binary": (
        spoil_first(lambda made: LFS, CIFAR10_BINARY),
        "data_batch_1.bin in .* is a Git LFS pointer, .* git lfs pull$",
    ),
    "a web page for a batch": (
        spoil_first(lambda made: b"<!DOCTYPE html><html>Not found</html>"),
        "is a web page, probably from a failed download; fetch the file again$",
    ),
    "a Git LFS pointer for class names": (
        spoil_names(LFS, CIFAR10_BINARY),
        "batches.meta.txt in .* is a Git LFS pointer",
    ),
    "a Git LFS pointer for an archive": (pointer, "is a Git LFS pointer, .* git lfs pull$"),
    "a later protocol": (spoil_first(lambda made: b"\x80\x06N."), "has protocol 6; those up to 5"),
    "too few class names": (
        spoil_names([b"cat", b"dog"]),
        "has 2 different class names, but 10 are expected",
    ),
    "a class name twice": (
        spoil_names([b"cat"] * 10),
        "has 1 different class name, but 10 are expected",
    ),
    "class names that are not text": (
        spoil_names([b"\xff%d" % i for i in range(10)]),
        "has class names that are not text",
    ),
    "class names with control characters": (
        spoil_names([b"\x1b[2J%d" % i for i in range(10)]),
        "has class names that are not text",
    ),
    "no class names": (spoil_names(python2_pickle({b"num_vis": 3072})), "has no label_names"),
    "too few class names, binary": (
        spoil_names(b"cat\ndog\n", CIFAR10_BINARY),
        "has 2 different class names, but 10 are expected",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_input_is_refused_in_one_line(what, tmp_path):
    write, message = BAD[what]
    path, made = write(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        load(path, made)
    assert str(error.value).isprintable()
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("shapes", "shapes has no coarse labels"),
        (".", ". has no coarse labels"),
        ("cifar10", "CIFAR-10 has no"),
    ],
)
def test_only_cifar_100_has_coarse_labels(source, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"label_set: {message}"):
        load_splits(source, label_set="coarse")


def test_an_extracted_folder_without_published_checksums_gets_a_note(tmp_path):
    class Recorder(Progress):
        notes: list[str] = []  # noqa: RUF012

        def note(self, line):
            self.notes.append(line)

    made = make(CIFAR100_BINARY)
    unsummed = replace(made.archive, train=(cifar.File("train.bin", 6),))
    folder = made.folder(tmp_path / "cifar-100-binary")
    check(cifar.load(folder, unsummed, progress=Recorder()), made)
    assert Recorder.notes == [
        f"'{folder}': no checksums are published; lengths and labels were checked"
    ]


def test_an_unreadable_file_is_refused_in_one_line(tmp_path, monkeypatch):
    path = make(CIFAR10).tar(tmp_path / "cifar.tar.gz")

    def refuse(*_: object, **__: object):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="cifar.tar.gz' can't be read: Permission denied"):
        cifar.recognise(path)


def test_other_sources_are_not_mistaken_for_cifar(tmp_path):
    (tmp_path / "train" / "ant").mkdir(parents=True)
    (tmp_path / "test" / "ant").mkdir(parents=True)
    (tmp_path / "meta").write_text("a file of that name")
    (tmp_path / "photos.csv").write_text("path,label\n")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    for path in (tmp_path, *tmp_path.iterdir(), tmp_path / "nowhere"):
        assert cifar.recognise(path) is None
    assert cifar.recognise("shapes") is None


@pytest.mark.parametrize("line", ["data {}", "train custom-resnet-8 --data {} --runs {}.runs"])
def test_the_command_refuses_an_archive_that_is_not_the_published_one(line, tmp_path, capsys):
    """The official checksums are checked for any archive."""
    path = make(CIFAR10_BINARY).tar(tmp_path / "cifar-10-binary.tar.gz")
    assert main(line.replace("{}", str(path)).split()) == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    (line,) = [line for line in answer.err.splitlines() if line.startswith("onecycle: error:")]
    assert "has 18,438 bytes, but 30,730,000 are expected" in line
    assert sorted(tmp_path.iterdir()) == [path]
