"""Which files a folder of images has, and what of it is passed over."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from onecycle.data.folder import checks, layout, walking
from onecycle.data.folder.walking import Passed
from onecycle.data.folder.words import quoted
from onecycle.data.image_set import LeftOut
from onecycle.errors import InputError


@dataclass(frozen=True, slots=True)
class File:
    """An image file.

    Attributes:
        name: its path relative to the root, or absolute; what `ImageSet.names` gives.
        split: `train`, `val` or `test`; empty: to be chosen.
        label: its class.
        size: in bytes.
        times: when its content, and anything about it, was changed last, in ns.
    """

    name: str
    split: str
    label: str
    size: int
    times: tuple[int, int]

    @classmethod
    def of(cls, name: str, split: str, label: str, told: os.stat_result) -> "File":
        """From what the system tells about it."""
        return cls(name, split, label, told.st_size, (told.st_mtime_ns, told.st_ctime_ns))


@dataclass(frozen=True)
class Listing:
    """Files that are to be read.

    Attributes:
        root: the folder that names are relative to.
        files: train before val before test.
        classes: in code point order.
        left_out: what was passed over.
        missing: those that a table of images names but that can't be used, with the reason.
        named: where there are splits: what each of them is called there.
        whole: whether all files are one set, of which none are set apart.
    """

    root: Path
    files: tuple[File, ...]
    classes: tuple[str, ...]
    left_out: LeftOut = field(default_factory=LeftOut)
    missing: tuple[tuple[File, str], ...] = ()
    named: tuple[tuple[str, str], ...] = ()
    whole: bool = False

    @property
    def has_test(self) -> bool:
        """Whether there is a test split, so that no images need to be set apart for one."""
        return any(split == "test" for split, _ in self.named)


def list_folder(root: Path) -> Listing:
    """Every image below the class folders of `root`, by split, class and name.

    A class has the images of its folder and of the folders in it, at any depth and through links,
    each folder once.

    Raises:
        InputError: no classes, fewer than two, one without images, classes that seem to be splits,
            splits without train, or with different classes, or a folder that can't be read.
    """
    passed = Passed()
    found = layout.find(root, passed)
    if found.named and "train" not in found.named:
        held = " and ".join(map(quoted, found.named.values()))
        raise InputError(
            f"data: {quoted(root)} holds {held}, but no images to train on; call the folder of "
            "those train"
        )
    listed: dict[str, dict[str, list[File]]] = {}
    for split, folder in found.folders.items():
        listed[split] = _list_classes(root, folder, split, passed)
        checks.check_classes(listed[split], folder, split, passed.left_out())
    if found.named:
        checks.check_same_classes(listed)
    files = [
        file for classes in listed.values() for label in sorted(classes) for file in classes[label]
    ]
    checks.check_counts(files, test="test" in found.named)
    classes = tuple(sorted({file.label for file in files}))
    named = tuple(found.named.items())
    return Listing(root, tuple(files), classes, passed.left_out(), named=named)


def list_labelled(root: Path) -> Listing:
    """Every image that is there to be classified, by class and name, as one set.

    Where `root` holds splits, those of test; without such, of val; else of train. Class folders
    without images count as not there.

    Raises:
        InputError: no class folders, no images in them, classes that seem to be splits, or a
            folder that can't be read.
    """
    passed = Passed()
    found = layout.find(root, passed)
    split = next(split for split in ("test", "val", "train", "") if split in found.folders)
    folder = found.folders[split]
    listed = _list_classes(root, folder, split, passed)
    if not any(listed.values()):
        checks.check_classes(listed, folder, split, passed.left_out())
    files = [file for label in sorted(listed) for file in listed[label]]
    classes = tuple(sorted({file.label for file in files}))
    named = ((split, found.named[split]),) if split else ()
    return Listing(root, tuple(files), classes, passed.left_out(), named=named, whole=True)


def _list_classes(root: Path, folder: Path, split: str, passed: Passed) -> dict[str, list[File]]:
    """The images of each folder in `folder`, by name.

    Raises:
        InputError: the folders seem to be splits.
    """
    classes: dict[str, list[File]] = {}
    starts = {}
    above = "".join(f"{part}/" for part in folder.relative_to(root).parts)
    for entry, told in walking.entries(folder, passed):
        if not stat.S_ISDIR(told.st_mode):
            passed.file(entry.name)
            continue
        start = starts[entry.name] = above + entry.name
        files = [
            File.of(start + path.replace(os.sep, "/"), split, entry.name, told)
            for path, told in walking.images_below(entry.path, passed)
        ]
        classes[entry.name] = sorted(files, key=lambda file: file.name)
    checks.check_level(classes, starts, folder)
    return classes
