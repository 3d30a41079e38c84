"""Data sets of Hugging Face on disk: those of `save_to_disk`, and Parquet files as on the hub."""

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onecycle.data import cache
from onecycle.data.archives.unpacking import LARGEST, MOST_TIMES, SMALL
from onecycle.data.folder import kept
from onecycle.data.folder.listing import Listing
from onecycle.data.folder.messages import quoted
from onecycle.data.hugging_face import rows
from onecycle.data.hugging_face.columns import Columns, pyarrow
from onecycle.data.hugging_face.places import Place, is_data_set, places
from onecycle.data.image_set import LeftOut
from onecycle.data.listed import Part, chosen, listing, name
from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.writing.names import printable

__all__ = ["HuggingFaceSource", "is_data_set"]

_ROOM = 2**26
"""Bytes after which the room on the disk is checked again."""


@dataclass(frozen=True)
class _Split:
    """A split: its files, its columns, and the label of each image."""

    place: Place
    columns: Columns
    labels: list[int | str | None]

    @property
    def labelled(self) -> bool:
        """Whether it has labels; without any, all are missing or -1."""
        return any(label not in (None, -1) for label in self.labels)


class HuggingFaceSource:
    """The images of a data set.

    Raises:
        ModuleNotFoundError: pyarrow, of the extra `datasets`, is missing.
        InputError: the metadata are damaged.
    """

    form = "Hugging Face data set"

    def __init__(self, path: Path) -> None:
        pyarrow()
        self._path = path
        self._places = places(path)

    def files(self) -> list[Path]:
        found = self._places.values()
        return [file for place in found for file in (*place.metadata, *place.files)]

    def decode(
        self, folder: Path, settings: kept.Settings, whole: bool, progress: Progress
    ) -> Listing:
        """Write the images as files, list them by number, and decode them.

        Raises:
            InputError: the data set is damaged, or has no images or labels that can be used.
            OSError: `folder` can't be written.
        """
        splits = {role: _read(self._path, place) for role, place in self._places.items()}
        unlabelled = tuple(
            printable(split.place.named) for split in splits.values() if not split.labelled
        )
        splits = {role: split for role, split in splits.items() if split.labelled}
        if not splits:
            raise InputError(f"data: {quoted(self._path)} has no labels; add a column of them")
        splits = {role: splits[role] for role in chosen(list(splits), whole)}
        names, classes = _classes(self._path, splits)
        root = folder / cache.UNPACKED
        writer = _Writer(self._path, root, sum(file.stat().st_size for file in self.files()))
        parts = {
            role: Part(split.place.named, names[role], writer.write(role, split, progress))
            for role, split in splits.items()
        }
        found = listing(
            self._path, root, parts, classes, LeftOut(unlabelled_folders=unlabelled), whole=whole
        )
        kept.decode(found, settings, folder, progress)
        return found


def _read(path: Path, place: Place) -> _Split:
    columns = rows.schema_columns(path, place)
    with closing(rows.labels(place, columns)) as found:
        return _Split(place, columns, list(found))


def _classes(
    path: Path, splits: Mapping[str, _Split]
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The class of each image by split, and all classes in their order.

    Raises:
        InputError: a label is missing or out of range, or splits have different classes.
    """
    first = next(iter(splits.values())).columns.classes
    for split in splits.values():
        if split.columns.classes != first:
            raise InputError(
                f"data: the splits of {quoted(path)} have different names of classes; save them "
                "with the same"
            )
    named = {role: _named(path, split, first) for role, split in splits.items()}
    if first is not None:
        return named, first
    every = {label for split in splits.values() for label in split.labels}
    numbers = sorted(int(label) for label in every if isinstance(label, int))
    texts = sorted(label.strip() for label in every if isinstance(label, str))
    return named, tuple(dict.fromkeys([*map(str, numbers), *texts]))


def _named(path: Path, split: _Split, classes: Sequence[str] | None) -> list[str]:
    """The class of each image of a split."""
    found = [_class_name(label, classes) for label in split.labels]
    if "" in found:
        index = found.index("")
        label = split.labels[index]
        told = "no label; give it one"
        if label is not None:
            unknown = "which is the name or number of no class"
            told = f"the label {quoted(str(label))}, {unknown}; correct it"
        raise InputError(
            f"data: row {index} of {_shown(path, split.place)} has {told}, or remove the row"
        )
    return found


def _shown(path: Path, place: Place) -> str:
    return f"{quoted(place.named)} in {quoted(path)}" if place.named else quoted(path)


def _class_name(label: int | str | None, classes: Sequence[str] | None) -> str:
    """A label's class; empty if it has none."""
    if label is None:
        return ""
    if classes is None:
        return label.strip() if isinstance(label, str) else str(int(label))
    return classes[label] if isinstance(label, int) and 0 <= label < len(classes) else ""


class _Writer:
    """Writes the images of a data set as files of a folder in which nobody else writes."""

    def __init__(self, path: Path, root: Path, size: int) -> None:
        self._path, self._root = path, root
        self._left = max(SMALL, MOST_TIMES * size)
        self._unchecked = _ROOM

    def write(self, role: str, split: _Split, progress: Progress) -> list[int]:
        """Write the images of a split, and return the bytes of each.

        Raises:
            InputError: a file is damaged, or an image lies outside of the data set.
            OSError: the folder can't be written.
        """
        (self._root / role).mkdir(exist_ok=True)
        progress.start("reading images", len(split.labels), "images")
        sizes = []
        with closing(rows.images(split.place, split.columns)) as found:
            for index, image in enumerate(found):
                target = self._root / name(role, index)
                sizes.append(self._one(image, target))
                progress.advance(1)
        progress.finish()
        if len(sizes) != len(split.labels):
            raise InputError(
                f"data: {_shown(self._path, split.place)} has other numbers of images and labels; "
                "save the data set again"
            )
        return sizes

    def _one(self, image: Any, target: Path) -> int:
        if isinstance(image, str):
            source = self._inside(image)
            self._count(source.stat().st_size)
            shutil.copyfile(source, target)
            return target.stat().st_size
        content = b"" if image is None else image
        self._count(len(content))
        with target.open("xb") as file:
            file.write(content)
        return len(content)

    def _count(self, size: int) -> None:
        """Keep the bounds on one image, on all, and of the disk."""
        self._left -= size
        self._unchecked += size
        if size > LARGEST or self._left < 0:
            raise InputError(
                f"data: {quoted(self._path)} has images of more bytes than any data set needs; "
                "don't trust it, or save it again"
            )
        if self._unchecked > _ROOM:
            cache.check_room(self._root, 2 * _ROOM)
            self._unchecked = 0

    def _inside(self, image: str) -> Path:
        """The file of an image that lies in the data set's folder."""
        folder = self._path if self._path.is_dir() else self._path.parent
        root = os.path.realpath(folder)
        try:
            place = os.path.realpath(os.path.join(root, image))
            regular = stat.S_ISREG(os.stat(place).st_mode)
        except (OSError, ValueError):
            place, regular = "", False
        if not regular or os.path.commonpath([root, place]) != root:
            raise InputError(
                f"data: {quoted(self._path)} names the image {quoted(image)}, which is not in it; "
                "save it again with the images inside, by save_to_disk"
            )
        return Path(place)
