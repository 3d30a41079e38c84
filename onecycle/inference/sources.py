"""The images that a user names: files, folders, a table, or a list on standard input."""

import csv
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from onecycle.data import archives
from onecycle.data.folder import walking
from onecycle.data.folder.messages import left_out_text, quoted
from onecycle.errors import InputError
from onecycle.progress import Progress

STANDARD_INPUT = "-"

PAUSE = 0.2
"""Seconds without a further line after which the images of the lines so far are classified."""

MOST_LINES = 10_000
"""Lines read ahead."""

LONGEST_LINE = 2**16
"""Most bytes of a line; a longer one can't be a path."""


@dataclass(frozen=True, slots=True)
class Source:
    """An image to classify.

    Attributes:
        name: as the user names it; shown in the results.
        path: where it is, absolute or relative to the current folder.
    """

    name: str
    path: str


def listed(paths: Sequence[str], progress: Progress) -> list[Source]:
    """The images that paths name, in that order: those of a folder by name.

    Args:
        paths: of images; of folders, with all that is below them; or of tables (.csv) with a column
            `path`, relative to the table's folder or absolute.
        progress: is notified of what the folders hold besides.

    Raises:
        InputError: there is no such path, a folder has no images, or a table can't be read.
    """
    found: list[Source] = []
    for path in paths:
        if os.path.isdir(path):
            found += _in_folder(path, progress)
        elif not os.path.exists(path):
            raise InputError(f"there is no file or folder {quoted(path)}; check the path")
        elif path.lower().endswith(".csv"):
            found += _in_table(Path(path))
        elif walking.ending(path) not in walking.ENDINGS and _is_archive(path):
            raise InputError(
                f"{quoted(path)} is an archive; unpack it, and give its folder or its images"
            )
        else:
            found.append(Source(path, path))
    return found


def _is_archive(path: str) -> bool:
    return os.path.isfile(path) and archives.form_of(Path(path)) is not None


def _in_folder(folder: str, progress: Progress) -> list[Source]:
    """Every image below a folder, in the order in which training lists class folders.

    Raises:
        InputError: there is none, or a folder can't be read.
    """
    passed = walking.Passed()
    below = [path.lstrip(os.sep) for path, _ in walking.images_below(folder, passed)]
    left_out = passed.left_out()
    if not below:
        held = f"; it holds {left_out_text(left_out)}" if left_out else ""
        raise InputError(f"{quoted(folder)} has no images{held}; name another folder")
    if left_out:
        progress.note(f"{quoted(folder)}: left out {left_out_text(left_out)}")
    below.sort(key=lambda path: (path.split(os.sep)[:-1][:1], path))
    return [Source(path, path) for path in (os.path.join(folder, name) for name in below)]


def _in_table(path: Path) -> list[Source]:
    """The images in the column `path` of a table.

    Raises:
        InputError: it is no such table; the message names the line.
    """
    found = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = {name.strip().casefold(): name for name in reader.fieldnames or []}
            if "path" not in columns:
                raise InputError(
                    f"{quoted(path)}, line 1: has no column path; begin with the line path"
                )
            for row in reader:
                name = row[columns["path"]]
                if not name or "\0" in name:
                    raise InputError(
                        f"{quoted(path)}, line {reader.line_num}: has no path; "
                        "give one or remove the line"
                    )
                found.append(Source(name, os.path.join(path.parent, name)))
    except UnicodeDecodeError:
        raise InputError(f"{quoted(path)}: is not UTF-8 text; save the table as UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{quoted(path)}: {error}; check its quotation marks") from None
    except OSError as error:
        raise InputError(f"{quoted(path)}: can't be read: {error.strerror}") from None
    if not found:
        raise InputError(f"{quoted(path)} has no rows below the header; add images")
    return found


def on_standard_input(descriptor: int = 0) -> Iterator[Source | None]:
    """The paths on standard input, one a line, or separated by zero bytes (`find -print0`).

    They are given as they come. None means that no further one has come for `PAUSE` seconds.

    Args:
        descriptor: number of the open file to read.

    Raises:
        InputError: a line is too long to be a path.
    """
    queue: Queue[bytes | None] = Queue(MOST_LINES)
    threading.Thread(target=_read_all, args=(descriptor, queue), daemon=True).start()
    waited = True
    while True:
        try:
            line = queue.get(timeout=None if waited else PAUSE)
        except Empty:
            waited = True
            yield None
            continue
        if line is None:
            return
        if len(line) >= LONGEST_LINE:
            raise InputError("standard input: a line is too long to be a path; give one per line")
        waited = False
        if line:
            yield Source(os.fsdecode(line), os.fsdecode(line))


def _read_all(descriptor: int, queue: "Queue[bytes | None]") -> None:
    """Put the lines into the queue, and None at the end.

    Python's own reader of standard input would be locked when the program ends meanwhile.
    """
    rest = b""
    while piece := os.read(descriptor, LONGEST_LINE):
        *lines, rest = (rest + piece).replace(b"\0", b"\n").split(b"\n")
        for line in [*lines, rest] if len(rest) >= LONGEST_LINE else lines:
            queue.put(line.removesuffix(b"\r"))
    queue.put(rest)
    queue.put(None)
