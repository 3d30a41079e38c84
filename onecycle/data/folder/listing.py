"""Which files a folder of images has, and what of it is passed over."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

from onecycle.data.folder.words import printable, quoted, some
from onecycle.data.image_set import BadImage, LeftOut
from onecycle.errors import InputError

ENDINGS = frozenset(
    ".apng .avif .avifs .bmp .gif .ico .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .pbm "
    ".pfm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
"""Endings of the formats that are read, in lower case."""

_CALLED_SPLITS = frozenset(
    "train training test testing val valid validation dev eval evaluation".split()
)
"""Folders with nothing but such names are meant as splits, not as classes."""


@dataclass(frozen=True, slots=True)
class File:
    """An image file.

    Attributes:
        name: its path relative to the root, or absolute; what `ImageSet.names` gives.
        split: `train` or `test`; empty: to be chosen.
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
        files: train before test.
        classes: in code point order.
        left_out: what was passed over.
        missing: those that a table of images names but that can't be used, with the reason.
    """

    root: Path
    files: tuple[File, ...]
    classes: tuple[str, ...]
    left_out: LeftOut = field(default_factory=LeftOut)
    missing: tuple[tuple[File, str], ...] = ()


@dataclass
class _Found:
    """What a walk has passed over so far."""

    hidden: int = 0
    dead: int = 0
    repeated: int = 0
    stray: int = 0
    other_folders: int = 0
    endings: Counter[str] = field(default_factory=Counter)

    def left_out(self) -> LeftOut:
        """The same as a record."""
        frequent = sorted(self.endings, key=lambda ending: (-self.endings[ending], ending))
        return LeftOut(
            hidden_files=self.hidden,
            other_files=self.endings.total(),
            other_endings=tuple(printable(ending) for ending in frequent if ending)[:5],
            dead_links=self.dead,
            repeated_folders=self.repeated,
            stray_images=self.stray,
            other_folders=self.other_folders,
        )


def list_folder(root: Path) -> Listing:
    """Every image below the class folders of `root`, by split, class and name.

    A class has the images of its folder and of the folders in it, at any depth and through links,
    each folder once.

    Raises:
        InputError: no classes, fewer than two, one without images, folders that look like splits
            by other names, train and test with different classes, or a folder that can't be read.
    """
    found = _Found()
    listed: dict[str, dict[str, list[File]]] = {}
    for split, folder in _split_folders(root, found).items():
        listed[split] = _list_classes(folder, split, found)
        _check_classes(listed[split], folder, found)
    if len(listed) == 2:
        check_same_classes(*listed.values())
    files = [
        file for classes in listed.values() for label in sorted(classes) for file in classes[label]
    ]
    check_counts(files)
    return Listing(
        root, tuple(files), tuple(sorted({file.label for file in files})), found.left_out()
    )


def _split_folders(root: Path, found: _Found) -> dict[str, Path]:
    """The folders that hold class folders, by split: train and test, or the root itself."""
    folders, rest = [], []
    within = _Found()
    for entry, told in _entries(root, within):
        (folders if stat.S_ISDIR(told.st_mode) else rest).append(entry.name)
    if {"train", "test"} <= set(folders):
        found.hidden, found.dead = within.hidden, within.dead
        found.other_folders += len(folders) - 2
        for name in rest:
            _count_file(name, found)
        return {"train": root / "train", "test": root / "test"}
    if folders and {name.casefold() for name in folders} <= _CALLED_SPLITS:
        named = ", ".join(map(quoted, folders))
        raise InputError(
            f"data: {quoted(root)} holds splits by their names ({named}); call them train and "
            f"test, or give {quoted(root / folders[0])} alone"
        )
    return {"": root}


def _list_classes(folder: Path, split: str, found: _Found) -> dict[str, list[File]]:
    """The images of each folder in `folder`, by name."""
    classes: dict[str, list[File]] = {}
    for entry, told in _entries(folder, found):
        if stat.S_ISDIR(told.st_mode):
            start = f"{split}/{entry.name}" if split else entry.name
            files = [
                File.of(start + path.replace(os.sep, "/"), split, entry.name, told)
                for path, told in _walk(entry.path, found)
            ]
            classes[entry.name] = sorted(files, key=lambda file: file.name)
        else:
            _count_file(entry.name, found)
    return classes


def _walk(folder: str, found: _Found) -> Iterator[tuple[str, os.stat_result]]:
    """Images below a folder, their paths from there on, with a slash first.

    Each real folder is visited once, whatever links lead to it.
    """
    visited = set()
    waiting = [(folder, os.stat(folder))]
    while waiting:
        path, told = waiting.pop()
        if (told.st_dev, told.st_ino) in visited:
            found.repeated += 1
            continue
        visited.add((told.st_dev, told.st_ino))
        inner = []
        for entry, told in _entries(path, found):
            if stat.S_ISDIR(told.st_mode):
                inner.append((entry.path, told))
            elif stat.S_ISREG(told.st_mode) and _ending(entry.name) in ENDINGS:
                yield entry.path[len(folder) :], told
            else:
                found.endings[_ending(entry.name)] += 1
        waiting += reversed(inner)


def _entries(folder: str | Path, found: _Found) -> list[tuple["os.DirEntry[str]", os.stat_result]]:
    """What is visible in a folder and there, by name, links followed."""
    kept = []
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                found.hidden += 1
            elif (told := _followed(entry)) is None:
                found.dead += 1
            else:
                kept.append((entry, told))
    except OSError as error:
        raise InputError(
            f"data: can't look into {quoted(folder)}: {error.strerror}; allow reading it, or "
            "remove it"
        ) from None
    return kept


def _followed(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """What an entry is, or None where it is a link to nothing or to itself, or has just gone."""
    try:
        return entry.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _count_file(name: str, found: _Found) -> None:
    """Note a file outside the class folders."""
    if _ending(name) in ENDINGS:
        found.stray += 1
    else:
        found.endings[_ending(name)] += 1


# ------------------------------------------------------------------------------------------ checks


def _check_classes(classes: Mapping[str, Sequence[File]], folder: Path, found: _Found) -> None:
    """Refuse a folder without classes, with a single one, or with an empty one."""
    if not classes:
        raise InputError(
            f"data: {quoted(folder)} has no class folders; put images in "
            f"{quoted(folder / '<class>')}"
        )
    empty = [label for label, files in classes.items() if not files]
    kinds = _kinds(found.left_out())
    if len(empty) == len(classes):
        raise InputError(f"data: {quoted(folder)} has class folders but no images in them{kinds}")
    if empty:
        raise InputError(
            f"data: {some('class', empty, 'classes')} in {quoted(folder)} without images{kinds}; "
            "add some or remove the folder"
        )
    if len(classes) < 2:
        label = next(iter(classes))
        raise InputError(
            f"data: {quoted(folder)} has the one class {quoted(label)}; at least 2 are needed"
            f"{_inner(folder / label)}"
        )


def _kinds(left_out: LeftOut) -> str:
    """The endings that were met instead of those of images, in brackets."""
    endings = ", ".join(left_out.other_endings)
    return f" (files of other kinds: {endings})" if endings else ""


def _inner(folder: Path) -> str:
    """A hint for those who gave the folder around the right one."""
    inner = [entry for entry, told in _entries(folder, _Found()) if stat.S_ISDIR(told.st_mode)]
    return f"; if its folders are the classes, give {quoted(folder)}" if len(inner) > 1 else ""


def check_same_classes(train: Collection[str], test: Collection[str]) -> None:
    """Refuse train and test with different classes.

    Raises:
        InputError: naming those that one of them lacks.
    """
    for here, there, where, elsewhere in (
        (train, test, "train", "test"),
        (test, train, "test", "train"),
    ):
        if lone := sorted(set(here) - set(there)):
            alike = [label for label in there if _plain(label) == _plain(lone[0])]
            hint = f" ({alike[0]!a} there, {lone[0]!a} here)" if alike else ""
            raise InputError(
                f"data: {some('class', lone, 'classes')} in {where} but not in {elsewhere}{hint}; "
                "both need the same classes"
            )


def _plain(label: str) -> str:
    """What two spellings of the same word have in common."""
    return normalize("NFKC", label).casefold().strip()


def check_counts(files: Iterable[File]) -> None:
    """Refuse a class with too few images to train and to test.

    Raises:
        InputError: naming those with a single image where none are set apart for testing.
    """
    counts = Counter(file.label for file in files if not file.split)
    if short := sorted(label for label, count in counts.items() if count < 2):
        raise InputError(
            f"data: {some('class', short, 'classes')} with a single image, but one is needed to "
            "train and one to test; add images"
        )


def refuse_bad(bad: Sequence[BadImage]) -> None:
    """Refuse images that can't be read, if there are any.

    Raises:
        InputError: naming the first of them and their number.
    """
    if bad:
        names = [image.name for image in bad]
        raise InputError(
            f"data: can't read {some('image', names, 'images')}: {bad[0].reason}; repair or "
            "remove, or leave such images out with --on-bad-image skip"
        )


def good_files(listing: Listing, bad: Sequence[BadImage]) -> list[File]:
    """The files without the bad ones.

    Raises:
        InputError: a class has lost all its images, or all but one where two are needed.
    """
    reasons = {image.name: image.reason for image in bad}
    files = [file for file in listing.files if file.name not in reasons]
    left = {(file.split, file.label) for file in files}
    for file in [*listing.files, *(file for file, _ in listing.missing)]:
        if (file.split, file.label) not in left:
            where = f" in {file.split}" if file.split else ""
            raise InputError(
                f"data: class {quoted(file.label)} is left without images{where}: can't read "
                f"{quoted(file.name)}: {reasons[file.name]}; repair or add some"
            )
    check_counts(files)
    return files
