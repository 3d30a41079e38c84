"""Images in .npz files: those that are understood, and one line for every other."""

import io
import re
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import EDITS, FUZZ, edited, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_archives import images as files
from small_archives import zipped
from small_cifar import measured
from small_folders import Recorder

from onecycle.data import load_all, load_splits
from onecycle.data.arrays import ArraySource
from onecycle.data.folder.kept import Settings
from onecycle.errors import InputError
from onecycle.progress import SILENT


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a cache of its own."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(0, 256, (count, *(shape or (10, 8, 3))))
    return drawn.astype(np.uint8)


def medmnist(count: int = 24) -> dict[str, np.ndarray]:
    """Arrays in MedMNIST's form: labels N×1."""
    found = {}
    for seed, split in enumerate(("train", "val", "test")):
        found[f"{split}_images"] = pixels(count, 28, 28, seed=seed)
        found[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % 3)[:, None]
    return found


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_medmnists_form_is_read_exactly(save, place):
    given = medmnist()
    save("set.npz", **given)
    found = load_splits("set.npz")
    assert found.kind == "arrays in an .npz file"
    assert found.train.classes == ("0", "1", "2")
    assert found.val is not None
    for split, part in (("train", found.train), ("val", found.val), ("test", found.test)):
        assert np.array_equal(part.images_NHWC[..., 0], given[f"{split}_images"])
        assert np.array_equal(part.labels_N, given[f"{split}_labels"][:, 0])
        assert part.names[:2] == (f"{split}/00000", f"{split}/00001")
    whole = load_all("set.npz")
    assert whole.kind == "test split of arrays in an .npz file"
    assert np.array_equal(whole.images.images_NHWC, found.test.images_NHWC)


def test_other_names_of_the_arrays_are_known(place):
    """Plain ones, of which a fifth is set apart; and those of Keras's mnist.npz."""
    images, labels = pixels(40), np.arange(40) % 4
    np.savez("plain.npz", images=images, labels=labels)
    np.savez("keras.npz", x_train=images, y_train=labels, x_test=images[:8], y_test=labels[:8])
    plain, keras = load_splits("plain.npz", val_fraction=0.25), load_splits("keras.npz")
    assert (len(plain.train), len(plain.test), len(keras.train)) == (24, 8, 40)
    assert plain.val is not None
    every = [plain.train, plain.val, plain.test]
    where = np.array([int(name) for part in every for name in part.names])
    assert sorted(where) == list(range(40))
    pixels_N = np.concatenate([part.images_NHWC for part in every])
    assert np.array_equal(pixels_N, images[where])
    assert np.array_equal(np.concatenate([part.labels_N for part in every]), labels[where])


@pytest.mark.parametrize(
    ("labels", "more", "classes", "numbers"),
    [
        (np.array([12, -3, 7]), {}, ("-3", "7", "12"), [2, 0, 1]),
        (np.array(["dog", "Cat", "ox"]), {}, ("Cat", "dog", "ox"), [1, 0, 2]),
        (np.array([b"dog", b"cat", b"ox"]), {}, ("cat", "dog", "ox"), [1, 0, 2]),
        (np.array([True, False, True]), {}, ("0", "1"), [1, 0, 1]),
        (np.array([2, 0, 1]), {"classes": np.array(["z", "y", "x"])}, ("z", "y", "x"), [2, 0, 1]),
        (np.array(["x", "z", "y"]), {"classes": np.array(list("zyx"))}, ("z", "y", "x"), [2, 0, 1]),
        (np.array([b"x", b"z"]), {"classes": np.array(["z", "y", "x"])}, ("z", "x"), [1, 0]),
        (np.array([1, 3, 1]), {"class_names": np.array(list("abcd"))}, ("b", "d"), [0, 1, 0]),
    ],
)
def test_labels_become_classes_in_a_known_order(labels, more, classes, numbers, place):
    np.savez("set.npz", images=pixels(30), labels=np.resize(labels, 30), **more)
    found = load_all("set.npz").images
    assert found.classes == classes
    assert list(found.labels_N[: len(numbers)]) == numbers


@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_resizing_gives_the_pixels_that_files_would_have(resize, place):
    images = pixels(4, 12, 9, 3)
    np.savez("set.npz", images=images, labels=np.array([0, 0, 1, 1]))
    for index, image in enumerate(images):
        folder = Path("files") / str(index // 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    options = {"image_size": 8, "resize": resize}
    one, other = load_all("set.npz", **options), load_all("files", **options)
    assert one.fingerprint == other.fingerprint


def test_it_is_read_once_and_in_pieces(place, monkeypatch):
    count = 15_000
    np.savez("set.npz", images=np.zeros((count, 28, 28), np.uint8), labels=np.arange(count) % 2)
    listener = Recorder()
    with measured() as spent:
        first = load_splits("set.npz", progress=listener)
    assert listener.stages == {"reading images": [count, count]}
    assert spent.bytes < 35 * 10**6  # the list of names, and the test split; all pixels have 12 MB
    second = Recorder()
    assert load_splits("set.npz", progress=second).fingerprint == first.fingerprint
    assert second.stages == {}


def test_an_archive_of_images_with_an_array_in_a_folder_is_no_file_of_arrays(place):
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    zipped(Path("a.zip"), files() | {"ant/features.npy": file.getvalue()})
    assert load_splits("a.zip").kind.startswith("zip archive")


# ------------------------------------------------------------------------------------- bad arrays

Made = Callable[[Path], Any]


def saved(**changed: Any) -> Made:
    """A file in MedMNIST's form with other arrays; None leaves one out."""

    def make(path: Path) -> None:
        found = {**medmnist(), **changed}
        np.savez(path, **{name: array for name, array in found.items() if array is not None})

    return make


def plain(**arrays: Any) -> Made:
    return lambda path: np.savez(path, **{"images": pixels(6), "labels": np.arange(6) % 2} | arrays)


def header(text: str, content: bytes = b"") -> Made:
    """A file whose images have that header."""

    def make(path: Path) -> None:
        plain()(path)
        raw = b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + content
        labels = zipfile.ZipFile(path).read("labels.npy")
        zipped(path, {"images.npy": raw, "labels.npy": labels})

    return make


def array(*shape: int, dtype: str = "|u1", fortran: bool = False) -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def with_objects(path: Path) -> None:
    ragged = np.empty(2, object)
    ragged[:] = [pixels(1)[0], pixels(1)[0]]
    np.savez(path, images=ragged, labels=np.arange(2))


def with_a_pickle(path: Path) -> None:
    """It would make a file if it were loaded."""
    pickle = b"cos\nsystem\n(S'touch evil'\ntR."
    zipped(path, {"images.npy": pickle, "labels.npy": pickle})


def twice(path: Path) -> None:
    np.savez(path, images=pixels(6), imagex=pixels(6), labels=np.arange(6))
    path.write_bytes(path.read_bytes().replace(b"imagex", b"images"))


def cut(path: Path) -> None:
    plain()(path)
    path.write_bytes(path.read_bytes()[:-1000])


def flipped(path: Path) -> None:
    plain()(path)
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)


FORMS = "train_images, train_labels, test_images, test_labels and val_…, or images, labels"
BAD: dict[str, tuple[Made, str]] = {
    "no known arrays": (
        lambda path: np.savez(path, a=np.zeros(3), b=np.zeros(3)),
        f"'set.npz' has 2 arrays ('a', 'b'); give it {FORMS}",
    ),
    "images without labels": (
        saved(train_labels=None),
        "'set.npz' has train_images but no train_labels; save both",
    ),
    "no train split": (
        saved(train_labels=None, train_images=None),
        "'set.npz' contains 'val' and 'test', but no images to train on; name their split train",
    ),
    "two forms at once": (
        plain(x=pixels(6), y=np.arange(6)),
        "'set.npz' has x and images; keep one",
    ),
    "pixels that are floats": (
        saved(train_images=pixels(24, 28, 28) / np.float32(255)),
        "'train_images' in 'set.npz' has the type float32; for pixels from 0 to 1 save "
        "(train_images * 255).round().astype('uint8'), for 0 to 255 "
        "train_images.round().astype('uint8')",
    ),
    "pixels of 64 bits": (
        plain(images=pixels(6).astype(np.int64)),
        "'images' in 'set.npz' has the type int64; for pixels from 0 to 255 save "
        "images.astype('uint8'), for 0 to 65535 (images // 257).astype('uint8')",
    ),
    "pixels that are true or false": (
        plain(images=pixels(6) > 100),
        "'images' in 'set.npz' has the type bool; save images.astype('uint8') * 255",
    ),
    "channels first": (
        plain(images=pixels(6, 3, 10, 8)),
        "'images' in 'set.npz' has 8 channels; put the channels last, with "
        "images.transpose(0, 2, 3, 1)",
    ),
    "transparency": (
        plain(images=pixels(6, 10, 8, 4)),
        "'images' in 'set.npz' has 4 channels; leave out the transparency, with images[..., :3]",
    ),
    "flat images": (
        plain(images=pixels(6, 784)),
        "'images' in 'set.npz' has the shape (6, 784); save images N×H×W or N×H×W×C, with "
        "images.reshape(…)",
    ),
    "small images": (
        plain(images=pixels(6, 5, 6)),
        "'images' is 6x5 pixels; give --image-size from 8 to 1024",
    ),
    "no images": (
        plain(images=pixels(0, 8, 8), labels=np.arange(0)),
        "'images' in 'set.npz' has no images; add some, or leave it out",
    ),
    "splits of different sizes": (
        saved(test_images=pixels(24, 20, 20)),
        "images differ in form: 'train_images' has the shape (24, 28, 28), 'test_images' (24, 20, "
        "20); save them alike, or give --image-size if only the sizes differ",
    ),
    "stored column by column": (
        plain(images=np.asfortranarray(pixels(6))),
        "'images' in 'set.npz' is stored column by column; save it with "
        "np.ascontiguousarray(images)",
    ),
    "several labels for each image": (
        plain(labels=np.eye(6, dtype=np.uint8)),
        "'labels' in 'set.npz' has 6 labels for each image, but one is needed; if they are 0 "
        "except for one, save labels.argmax(axis=1)",
    ),
    "fewer labels than images": (
        plain(labels=np.arange(5)),
        "'labels' in 'set.npz' has 5 labels for 6 images; each needs one",
    ),
    "a single label": (
        plain(labels=np.int64(3)),
        "'labels' in 'set.npz' has the shape (); one label for each image is needed",
    ),
    "labels that are floats": (
        plain(labels=np.arange(6) / 2),
        "'labels' in 'set.npz' is of type float64; save whole numbers, with "
        "labels.astype('int64'), or texts",
    ),
    "an empty label": (
        plain(labels=np.array(["a", "b", " "] * 2)),
        "'labels' in 'set.npz' has an empty text; name every class",
    ),
    "a label that is no text": (
        plain(labels=np.array([b"a", b"\xff"] * 3)),
        "'labels' in 'set.npz' has texts that are not Unicode; save them again",
    ),
    "labels without end": (
        plain(labels=np.array(["a" * 1000, "b"] * 3)),
        "'labels' in 'set.npz' has a label of more than 200 characters; shorten it",
    ),
    "numbers and texts": (
        saved(test_labels=np.array(["a", "b", "c"] * 8)),
        "'set.npz' has labels that are texts and labels that are numbers; save all alike",
    ),
    "a label without a name": (
        plain(classes=np.array(["ant"])),
        "'set.npz' has the label 1, but names for classes from 0 to 0 only; correct one of them",
    ),
    "names given twice": (
        plain(classes=np.array(["ant", "bee"]), class_names=np.array(["x", "y"])),
        "'set.npz' has classes and class_names; keep one",
    ),
    "a text that is no class": (
        plain(labels=np.array(["cat", "dog"] * 3), classes=np.array(["x", "cat"])),
        "'set.npz' has the label 'dog', which is not among its names of classes; correct one of "
        "them",
    ),
    "a name twice": (
        plain(classes=np.array(["ant", "ant"])),
        "'classes' in 'set.npz' has a name twice; give each class its own",
    ),
    "names that are numbers": (
        plain(classes=np.arange(2)),
        "'classes' in 'set.npz' must be the names of the classes, one text for each class",
    ),
    "one class": (
        plain(labels=np.zeros(6, int)),
        "'set.npz' has only the class '0'; at least 2 classes are needed",
    ),
    "a class that test lacks": (
        saved(test_labels=np.arange(24) % 2),
        "class '2' in train but not in test; both need the same classes",
    ),
    "Python objects": (
        with_objects,
        "'images' in 'set.npz' is an array of Python objects, which could run code; save it as "
        "numbers or texts (images of one size: np.stack(images))",
    ),
    "a pickle": (
        with_a_pickle,
        "'images' in 'set.npz' is no array; save it again with numpy.savez",
    ),
    "a shape of 2^60 pixels": (
        header(array(2**30, 2**15, 2**15)),
        "'images' in 'set.npz' claims the shape (1073741824, 32768, 32768), but the file holds "
        "another number of bytes; save it again",
    ),
    "a negative shape": (
        header(array(-1, -8, 8), bytes(64)),
        "'images' in 'set.npz' claims the shape (-1, -8, 8), but the file holds another number of "
        "bytes; save it again",
    ),
    "a header that is a program": (
        header("__import__('os').system('touch evil')\n"),
        "'images' in 'set.npz' is no array; save it again with numpy.savez",
    ),
    "an array twice": (twice, "'set.npz' has the array 'images' twice; save it again"),
    "a file cut off": (cut, "'set.npz' is damaged or cut off (it ends too early)"),
    "a bit flipped": (flipped, "'set.npz' is damaged or cut off (a member's checksum is wrong)"),
}

ONLY_TO_TRAIN = ("no train split", "one class", "a class that test lacks")
"""Good enough to evaluate a network on."""

ONE_SPLIT = ("pixels that are floats", "splits of different sizes", "numbers and texts")
"""Not noticed where only the test split is read."""


@pytest.mark.parametrize("what", BAD)
def test_bad_arrays_are_refused_in_one_line_and_leave_nothing(what, place):
    make, line = BAD[what]
    make(Path("set.npz"))
    before = set(place.rglob("*"))
    loads = [load_splits] if what in (*ONLY_TO_TRAIN, *ONE_SPLIT) else [load_splits, load_all]
    for load in loads:
        with measured() as spent, pytest.raises(InputError) as error:
            load("set.npz")
        assert str(error.value).startswith(f"data: {line}")
        assert str(error.value).isprintable()
        assert spent.bytes < 10**7
    assert set(place.rglob("*")) - before <= {place / "cache"}
    document = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    assert f"| {what} | {line} |" in document


def test_every_documented_row_is_tested():
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    section = text.partition("### Bad arrays and their messages")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, flags=re.MULTILINE)
    assert set(rows) - {"what is wrong"} == set(BAD)


@given(edits=EDITS, whole=st.booleans(), compressed=st.booleans(), to_header=st.booleans())
@settings(max_examples=FUZZ)
def test_a_mutated_file_of_arrays_is_read_or_refused(
    edits, whole, compressed, to_header, tmp_path_factory
):
    file = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(file, images=pixels(6), labels=np.arange(6) % 2, classes=np.array(["a", "b"]))
    content = file.getvalue()
    if to_header:  # headers that are right for the zip archive and wrong for NumPy
        members = {name: zipfile.ZipFile(file).read(name) for name in ("images.npy", "labels.npy")}
        members["images.npy"] = edited(members["images.npy"][:128], edits) + bytes(1440)
        path = tmp_path_factory.getbasetemp() / "whole.npz"
        content = zipped(path, members).read_bytes()
    else:
        content = edited(content, edits)
    read(content, whole, tmp_path_factory)


@given(content=st.binary(max_size=1000), whole=st.booleans())
@settings(max_examples=FUZZ)
def test_any_bytes_are_refused(content, whole, tmp_path_factory):
    read(b"PK\3\4" + content, whole, tmp_path_factory)


def read(content: bytes, whole: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "arrays"
    folder.mkdir(exist_ok=True)
    path = folder / "set.npz"
    path.write_bytes(content)
    outcome(lambda: ArraySource(path).decode(folder, Settings(0, "crop", "error"), whole, SILENT))
    assert {file.name for file in folder.iterdir()} <= {"set.npz", "images.npy", "about.json"}


def test_an_archive_of_class_folders_may_hold_other_arrays(place):
    """As the unpacked folder may: they are left out of both, and said."""
    for name in ("ant", "bee"):
        Path("photos", name).mkdir(parents=True)
        for number in range(6):
            image = pixels(1, 8, 8, 3)[0] + np.uint8(number)
            Image.fromarray(image).save(Path("photos", name, f"{number}.png"))
    np.save("photos/embedded.npy", np.ones(3))
    Path("photos/broken.npy").write_bytes(b"\x93NUMPY")
    shutil.make_archive("photos", "zip", "photos")
    folder, archive = load_splits("photos"), load_splits("photos.zip")
    assert folder.fingerprint == archive.fingerprint
    assert folder.left_out.other_files == archive.left_out.other_files == 2
