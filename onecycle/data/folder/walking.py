"""Walking through folders: the images below a folder, and what is skipped."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onecycle.data.folder.messages import printable, quoted
from onecycle.data.folder.run_folders import has_only_runs
from onecycle.data.folder.systems import is_systems
from onecycle.data.image_set import LeftOut
from onecycle.errors import InputError

ENDINGS = frozenset(
    ".apng .avif .avifs .bmp .gif .ico .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .pbm "
    ".pfm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
"""Extensions of the supported formats, in lower case."""

MOST_NAMED = 5
"""Most names kept of each kind of entry that is skipped."""

Entry = tuple["os.DirEntry[str]", os.stat_result]
"""The name and path of an entry of a folder, and its stat result (links followed)."""


@dataclass
class Passed:
    """What a walk has skipped so far."""

    hidden: int = 0
    dead: int = 0
    repeated: int = 0
    stray: int = 0
    hidden_folders: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    other_folders: Counter[str] = field(default_factory=Counter)
    unlabelled: tuple[str, ...] = ()

    def file(self, name: str) -> None:
        """Note a file outside the class folders."""
        if ending(name) in ENDINGS:
            self.stray += 1
        else:
            self.endings[ending(name)] += 1

    def left_out(self) -> LeftOut:
        """The same as a `LeftOut`."""
        return LeftOut(
            hidden_files=self.hidden,
            hidden_folders=self.hidden_folders.total(),
            hidden_folder_names=_frequent(self.hidden_folders),
            system_entries=self.systems.total(),
            system_names=_frequent(self.systems),
            run_folders=self.runs.total(),
            run_folder_names=_frequent(self.runs),
            other_files=self.endings.total(),
            other_endings=_frequent(self.endings),
            dead_links=self.dead,
            repeated_folders=self.repeated,
            stray_images=self.stray,
            other_folders=self.other_folders.total(),
            other_folder_names=_frequent(self.other_folders),
            unlabelled_folders=self.unlabelled,
        )


def _frequent(names: Counter[str]) -> tuple[str, ...]:
    """The most frequent names, in printable form."""
    ordered = sorted(names, key=lambda name: (-names[name], name))
    return tuple(printable(name) for name in ordered if name)[:MOST_NAMED]


def entries(folder: str | Path, passed: Passed) -> list[Entry]:
    """The visible, existing entries of a folder, by name; the others are noted in `passed`.

    Raises:
        InputError: the folder can't be read.
    """
    kept = []
    try:
        with os.scandir(folder) as scanned:
            found = sorted(scanned, key=lambda entry: entry.name)
        for entry in found:
            if entry.name.startswith("."):
                passed.hidden += 1
                if entry.is_dir(follow_symlinks=False):
                    passed.hidden_folders[entry.name] += 1
            elif is_systems(entry.name):
                passed.systems[entry.name] += 1
            elif (status := _followed(entry)) is None:
                passed.dead += 1
            elif stat.S_ISDIR(status.st_mode) and has_only_runs(entry.path, ENDINGS):
                passed.runs[entry.name] += 1
            else:
                kept.append((entry, status))
    except OSError as error:
        raise InputError(
            f"data: can't read {quoted(folder)}: {error.strerror}; allow reading it, or remove it"
        ) from None
    return kept


def folders(folder: str | Path, passed: Passed | None = None) -> list[str]:
    """The names of the visible folders in a folder."""
    found = entries(folder, passed or Passed())
    return [entry.name for entry, status in found if stat.S_ISDIR(status.st_mode)]


def images_below(folder: str, passed: Passed) -> Iterator[tuple[str, os.stat_result]]:
    """Images below a folder: their paths relative to it, with a leading slash, and stat results.

    Each real folder is visited once, even if several links lead to it.
    """
    visited = set()
    waiting = [(folder, os.stat(folder))]
    while waiting:
        path, status = waiting.pop()
        if (status.st_dev, status.st_ino) in visited:
            passed.repeated += 1
            continue
        visited.add((status.st_dev, status.st_ino))
        inner = []
        for entry, status in entries(path, passed):
            if stat.S_ISDIR(status.st_mode):
                inner.append((entry.path, status))
            elif is_image(entry.name, status):
                yield entry.path[len(folder) :], status
            else:
                passed.endings[ending(entry.name)] += 1
        waiting += reversed(inner)


def is_image(name: str, status: os.stat_result) -> bool:
    """Whether a file is an image, by its extension."""
    return stat.S_ISREG(status.st_mode) and ending(name) in ENDINGS


def ending(name: str) -> str:
    """The extension of a name, in lower case, with its dot."""
    return os.path.splitext(name)[1].lower()


def _followed(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """An entry's stat result; None if it is a broken or circular link, or was just removed."""
    try:
        return entry.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
