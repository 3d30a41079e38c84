"""The files in a folder of images, and what is skipped."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from onecycle.data.folder import checks, layout, walking
from onecycle.data.folder.messages import quoted
from onecycle.data.folder.walking import Passed
from onecycle.data.image_set import LeftOut
from onecycle.errors import InputError


@dataclass(frozen=True, slots=True)
class File:
    """An image file.

    Attributes:
        name: its path, relative to the root or absolute, as in `ImageSet.names`.
        split: `train`, `val` or `test`; empty if not decided yet.
        label: its class.
        size: in bytes.
        times: when its content, and its metadata, was last changed, in ns.
    """

    name: str
    split: str
    label: str
    size: int
    times: tuple[int, int]

    @classmethod
    def of(cls, name: str, split: str, label: str, status: os.stat_result) -> "File":
        """A file with the size and times of its stat result."""
        return cls(name, split, label, status.st_size, (status.st_mtime_ns, status.st_ctime_ns))


@dataclass(frozen=True)
class Listing:
    """The files to read.

    Attributes:
        root: the folder that names are relative to.
        files: train before val before test.
        classes: in code point order.
        left_out: what was skipped.
        missing: files that a table of images lists but that can't be used, with the reason.
        named: each split with the name of its folder, if there are splits.
        whole: whether all files form one set, from which none are held out.
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
        """Whether there is a test split, so that no images have to be held out for one."""
        return any(split == "test" for split, _ in self.named)


def list_folder(root: Path) -> Listing:
    """Every image below the class folders of `root`, by split, class and name.

    A class has the images of its folder and of the folders in it, at any depth and through links;
    each folder is visited once.

    Raises:
        InputError: there are fewer than two classes, a class without images, classes that seem to
            be splits, splits without train or with different classes, or an unreadable folder.
    """
    passed = Passed()
    found = layout.find(root, passed)
    if found.named and "train" not in found.named:
        held = " and ".join(map(quoted, found.named.values()))
        raise InputError(
            f"data: {quoted(root)} contains {held}, but no images to train on; name their folder "
            "train"
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
    """Every image to evaluate a network on, by class and name, as one set.

    If `root` contains splits, the test split, else the val split, else the train split. Class
    folders without images are ignored.

    Raises:
        InputError: there are no class folders, no images in them, classes that seem to be splits,
            or an unreadable folder.
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
        InputError: the classes seem to be splits.
    """
    classes: dict[str, list[File]] = {}
    starts = {}
    above = "".join(f"{part}/" for part in folder.relative_to(root).parts)
    for entry, status in walking.entries(folder, passed):
        if not stat.S_ISDIR(status.st_mode):
            passed.file(entry.name)
            continue
        start = starts[entry.name] = above + entry.name
        files = [
            File.of(start + path.replace(os.sep, "/"), split, entry.name, status)
            for path, status in walking.images_below(entry.path, passed)
        ]
        classes[entry.name] = sorted(files, key=lambda file: file.name)
    checks.check_level(classes, starts, folder)
    return classes
