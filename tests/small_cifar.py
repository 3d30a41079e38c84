"""Archives in CIFAR's formats, made from scratch: random images, any number of them.

Pickles are written as Python 2's cPickle wrote the official ones: `class_names_of` gives their very
bytes, as the published checksums confirm.
"""

import hashlib
import io
import struct
import tarfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onecycle.data import cifar
from onecycle.data.cifar import Archive, File, Remote
from onecycle.data.image_set import ImageSet
from onecycle.errors import InputError

CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()
FINE_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch "
    "crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo "
    "keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse "
    "mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy "
    "porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television "
    "tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
).split()
COARSE_NAMES = (
    "aquatic_mammals fish flowers food_containers fruit_and_vegetables "
    "household_electrical_devices household_furniture insects large_carnivores "
    "large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores "
    "medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 "
    "vehicles_2"
).split()


class Python2Pickler:
    """Protocol 2 as written by Python 2's cPickle; bytes are its texts."""

    def __init__(self, core: str = "core") -> None:
        self._core = core
        self._out = io.BytesIO()
        self._memo = 0

    def dump(self, value: Any) -> bytes:
        self._out.write(b"\x80\x02")
        self._save(value)
        self._out.write(b".")
        return self._out.getvalue()

    def _remember(self) -> None:
        self._memo += 1
        short = self._memo < 256
        self._out.write(
            b"q" + bytes([self._memo]) if short else b"r" + struct.pack("<I", self._memo)
        )

    def _save(self, value: Any) -> None:
        write = self._out.write
        if isinstance(value, bytes):
            short = len(value) < 256
            write(b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<I", len(value)))
            write(value)
            self._remember()
        elif isinstance(value, bool):
            write(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            write(
                b"K" + bytes([value])
                if 0 <= value < 256
                else b"M" + struct.pack("<H", value)
                if 0 <= value < 65536
                else b"J" + struct.pack("<i", value)
            )
        elif isinstance(value, np.ndarray):
            self._save_array(value)
        elif isinstance(value, dict):
            write(b"}")
            self._remember()
            write(b"(")
            for key, item in value.items():
                self._save(key)
                self._save(item)
            write(b"u")
        else:
            self._save_list(value)

    def _save_list(self, value: Iterable[Any]) -> None:
        """In pieces of 1,000, as cPickle does."""
        self._out.write(b"]")
        self._remember()
        items = list(value)
        for start in range(0, len(items), 1000):
            self._out.write(b"(")
            for item in items[start : start + 1000]:
                self._save(item)
            self._out.write(b"e")

    def _save_array(self, value: np.ndarray) -> None:
        write = self._out.write
        write(f"cnumpy.{self._core}.multiarray\n_reconstruct\n".encode())
        self._remember()
        write(b"cnumpy\nndarray\n")
        self._remember()
        write(b"K\x00\x85")
        self._save(b"b")
        write(b"\x87R")
        self._remember()
        write(b"(K\x01")
        for side in value.shape:
            self._save(side)
        write(bytes([0x84 + len(value.shape)]))
        write(b"cnumpy\ndtype\n")
        self._remember()
        self._save(b"u1")
        write(b"K\x00K\x01\x87R")
        self._remember()
        write(b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        write(b"\x88" if fortran else b"\x89")
        self._save(value.tobytes(order="F" if fortran else "C"))
        write(b"tb")


def python2_pickle(value: Any) -> bytes:
    return Python2Pickler().dump(value)


def class_names_of(data: str) -> dict[bytes, Any]:
    """The contents of the official file of class names, in its order."""
    if data == "cifar10":
        return {
            b"num_cases_per_batch": 10000,
            b"label_names": [name.encode() for name in CIFAR10_NAMES],
            b"num_vis": 3072,
        }
    return {
        b"fine_label_names": [name.encode() for name in FINE_NAMES],
        b"coarse_label_names": [name.encode() for name in COARSE_NAMES],
    }


@dataclass(frozen=True)
class Made:
    """An archive and the truth about it.

    Attributes:
        archive: its description, with the checksums of what was made.
        contents: its files by name.
        images_NHWC, labels: train, then test; labels by name of the set of labels.
    """

    archive: Archive
    contents: dict[str, bytes]
    images_NHWC: np.ndarray
    labels: dict[str, np.ndarray]

    def tar(self, path: Path, mode: str = "w:gz", order: Iterable[str] = ()) -> Path:
        """Pack it like the official ones: a folder with the files in it."""
        with tarfile.open(path, mode) as tar:
            folder = tarfile.TarInfo(self.archive.folder)
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            for name in order or sorted(self.contents, key=lambda name: name[::-1]):
                add(tar, f"{self.archive.folder}/{name}", self.contents[name])
        return path

    def folder(self, path: Path) -> Path:
        """Extract it into a new folder."""
        path.mkdir(parents=True)
        for name, content in self.contents.items():
            (path / name).write_bytes(content)
        return path

    def with_contents(self, **changed: bytes) -> "Made":
        """Other contents for some files, with their own checksums."""
        contents = self.contents | {name.replace("__", "."): c for name, c in changed.items()}
        return replace(self, archive=with_sums(self.archive, contents), contents=contents)

    def served(self, path: Path, mirrors: Iterable[str]) -> "Made":
        """The same, described as downloadable in the packed form at `path`."""
        content = path.read_bytes()
        remote = Remote(path.name, md5(content), len(content), tuple(mirrors))
        return replace(self, archive=replace(self.archive, remote=remote))


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def make(
    archive: Archive,
    *,
    images: int = 6,
    seed: int = 0,
    pickled: Callable[[Any], bytes] = python2_pickle,
) -> Made:
    """A set like `archive`, with `images` random images in each batch."""
    rng = np.random.default_rng(seed)
    shrunk = replace(
        archive,
        train=tuple(File(file.name, images) for file in archive.train),
        test=tuple(File(file.name, images) for file in archive.test),
    )
    total = images * (len(shrunk.train) + len(shrunk.test))
    images_NHWC = rng.integers(0, 256, (total, 32, 32, 3), dtype=np.uint8)
    labels = {
        labels.set: rng.permutation(np.arange(total) % labels.classes) for labels in shrunk.labels
    }
    contents: dict[str, bytes] = {}
    for number, file in enumerate((*shrunk.train, *shrunk.test)):
        part = slice(number * images, (number + 1) * images)
        parts = {name: values[part] for name, values in labels.items()}
        rows_NP = images_NHWC[part].transpose(0, 3, 1, 2).reshape(images, 3072)
        if archive.form == "binary":
            contents[file.name] = binary_batch(shrunk, rows_NP, parts)
        else:
            contents[file.name] = pickled(batch_of(shrunk, file.name, rows_NP, parts))
    contents |= names_files(shrunk, pickled)
    return Made(with_sums(shrunk, contents), contents, images_NHWC, labels)


def batch_of(
    archive: Archive, name: str, rows_NP: np.ndarray, labels: Mapping[str, np.ndarray]
) -> dict[bytes, Any]:
    """The contents of an official batch."""
    return {
        b"batch_label": name.encode(),
        **{item.key.encode(): labels[item.set].tolist() for item in archive.labels},
        b"data": np.ascontiguousarray(rows_NP),
        b"filenames": [b"image_s_%06d.png" % index for index in range(len(rows_NP))],
    }


def binary_batch(archive: Archive, rows_NP: np.ndarray, labels: Mapping[str, np.ndarray]) -> bytes:
    columns = [labels[item.set].astype(np.uint8)[:, None] for item in archive.labels]
    return np.concatenate([*columns, rows_NP], axis=1).tobytes()


def names_files(archive: Archive, pickled: Callable[[Any], bytes]) -> dict[str, bytes]:
    if archive.form == "python":
        return {archive.names[0].name: pickled(class_names_of(archive.data))}
    known = {10: CIFAR10_NAMES, 20: COARSE_NAMES, 100: FINE_NAMES}
    return {
        labels.names: ("\n".join(known[labels.classes]) + "\n\n").encode()
        for labels in archive.labels
    }


def with_sums(archive: Archive, contents: Mapping[str, bytes]) -> Archive:
    """The archive, with the checksums of these contents."""

    def summed(files: tuple[File, ...]) -> tuple[File, ...]:
        return tuple(File(file.name, file.images, md5(contents[file.name])) for file in files)

    return replace(
        archive,
        train=summed(archive.train),
        test=summed(archive.test),
        names=summed(archive.names),
    )


def load(path: Path, made: Made, **options: Any) -> tuple[ImageSet, ImageSet]:
    others = [archive for archive in cifar.OFFICIAL if archive.data != made.archive.data]
    archive = cifar.recognise(path, [made.archive, *others])
    assert archive is made.archive
    return cifar.load(path, archive, **options)


def refusal(path: Path, made: Made, **options: Any) -> str:
    """The one-line error for the file or folder at `path`."""
    with pytest.raises(InputError) as error:
        load(path, made, **options)
    line = str(error.value)
    assert line.isprintable()
    assert line.startswith("data: ")
    return line


def check(found: tuple, made: Made, label_set: str = "fine") -> None:
    """Check that the image sets equal the truth, in the archive's order."""
    train, test = found
    border = made.archive.counts[0]
    assert (len(train), len(test)) == made.archive.counts
    for images, part in ((train, slice(border)), (test, slice(border, None))):
        assert np.array_equal(images.images_NHWC, made.images_NHWC[part])
        assert np.array_equal(images.labels_N, made.labels[label_set][part])
    classes = {
        "cifar10": CIFAR10_NAMES,
        "cifar100": FINE_NAMES if label_set == "fine" else COARSE_NAMES,
    }
    assert train.classes == test.classes == tuple(classes[made.archive.data])
    assert train.names[3] == f"{made.archive.data}/train/00003"
    assert test.names[-1] == f"{made.archive.data}/test/{len(test) - 1:05d}"


class Spent:
    bytes = 0
    seconds = 0.0


@contextmanager
def measured() -> Iterator[Spent]:
    """The block's peak memory, NumPy's and Python's, and its processor time."""
    spent, began = Spent(), time.process_time()
    tracemalloc.start()
    try:
        yield spent
    finally:
        spent.bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        spent.seconds = time.process_time() - began
