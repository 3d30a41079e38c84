"""Write an archive's images into a new folder in the cache, and say which folder is the root."""

import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

from onecycle.data.archives import tars, zips
from onecycle.data.archives.members import Damaged, Member, refused
from onecycle.data.cache import check_room
from onecycle.data.folder import walking
from onecycle.data.folder.layout import role_of
from onecycle.data.folder.messages import quoted
from onecycle.data.folder.systems import is_systems
from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.writing.numbers import counted

MOST_TIMES = 100
"""An archive may unpack to so many times its own size: that of photos is about 1."""

SMALL = 2**28
"""Bytes that any archive may unpack to."""

LARGEST = 2**30
"""Most bytes of one image."""

_ROOM = 2**26
"""Bytes after which the room on the disk is checked again."""


def members(path: Path, progress: Progress) -> Generator[Member, None, None]:
    """The members of an archive, in the order of their places, with all that they are bound to.

    Raises:
        InputError: it is damaged, can't be read, unpacks to far too much, or can't be trusted.
    """
    with errors_named(path), path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        progress.start(f"reading {path.name}", max(1, total), "bytes")
        shown = 0
        for member in _members(file, path, total):
            yield replace(member, read=partial(_safely_read, path, member))
            done = min(file.tell(), total)
            progress.advance(max(0, done - shown))
            shown = max(shown, done)
        progress.finish()


def _safely_read(path: Path, member: Member) -> Iterator[bytes]:
    return safely(path, member.read())


def safely(path: Path, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces; errors while they are read name the archive."""
    with errors_named(path):
        yield from pieces


def _members(file: IO[bytes], path: Path, total: int) -> Iterator[Member]:
    most = max(SMALL, MOST_TIMES * total)
    if file.read(4) in zips.STARTS:
        found = zips.entries(file)
        if sum(entry.size for entry in found) > most:
            raise too_much(path)
        yield from zips.members(file, found, path)
        return
    moved = 0

    def move(count: int) -> None:
        nonlocal moved
        moved += count
        if moved > most and not plain:
            raise too_much(path)

    file.seek(0)
    plain = not tars.packing(file.read(6))
    file.seek(0)
    with tars.unpacked(file) as content:
        yield from tars.members(content, path, move)


def too_much(path: Path) -> InputError:
    """The error for an archive that unpacks to far more than photos do."""
    return InputError(
        f"data: {quoted(path)} unpacks to more than {MOST_TIMES} times its size, as no photos do; "
        "if you trust it, unpack it, and give its folder"
    )


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn every error of an archive into one line that names it."""
    try:
        yield
    except InputError:
        raise
    except (Damaged, *tars.DAMAGE, MemoryError) as error:
        strerror = error.strerror if isinstance(error, OSError) else ""
        reason = " ".join((strerror or str(error)).split())
        shown = f" ({reason})" if reason and reason.isprintable() else ""
        raise InputError(
            f"data: {quoted(path)} is damaged or cut off{shown}; fetch or make it again"
        ) from None


def unpack(path: Path, folder: Path, progress: Progress) -> tuple[Path, int]:
    """Write the images into `folder`; the rest become empty files, so that they can be counted.

    Contents of hidden folders and of those that systems create are passed over.

    Args:
        path: the archive.
        folder: a new, empty folder.
        progress: receives progress reports.

    Returns:
        The folder with the classes or splits: `folder`, or the only one in it; and the number of
        links, devices and the like, which are passed over.

    Raises:
        InputError: the archive is damaged or hostile.
        OSError: the folder can't be written.
    """
    writer = _Writer(path, folder)
    others = 0
    with closing(members(path, progress)) as found:
        for member in found:
            if member.kind == "other":
                others += 1
            elif member.parts:
                writer.add(member)
    return _root(folder), others


class _Writer:
    """Writes members below a folder in which nobody else writes."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._archive, self._folder = archive, folder
        self._made: set[tuple[str, ...]] = {()}
        self._unchecked = _ROOM

    def add(self, member: Member) -> None:
        """Write a folder or a file.

        Raises:
            InputError: there is one of that name.
        """
        above = member.parts if member.kind == "folder" else member.parts[:-1]
        for index, part in enumerate(above):
            self._make(above[: index + 1], member)
            if _passed_over(part):
                return
        if member.kind == "file":
            self._write(member)

    def _make(self, parts: tuple[str, ...], member: Member) -> None:
        if parts in self._made:
            return
        try:
            self._folder.joinpath(*parts).mkdir()
        except FileExistsError:
            raise self._twice(member) from None
        self._made.add(parts)

    def _write(self, member: Member) -> None:
        name = member.parts[-1]
        image = not _passed_over(name) and walking.ending(name) in walking.ENDINGS
        if image and member.size > LARGEST:
            raise refused(
                self._archive,
                "/".join(member.parts),
                f"which has more than {counted(LARGEST, 'byte')}; no image needs as many, "
                "so remove it",
            )
        try:
            file = self._folder.joinpath(*member.parts).open("xb")
        except (FileExistsError, IsADirectoryError):
            raise self._twice(member) from None
        with file:
            for piece in member.read() if image else ():
                self._check_room(len(piece))
                file.write(piece)

    def _check_room(self, count: int) -> None:
        self._unchecked += count
        if self._unchecked > _ROOM:
            check_room(self._folder, 2 * _ROOM)
            self._unchecked = 0

    def _twice(self, member: Member) -> InputError:
        return refused(
            self._archive,
            "/".join(member.parts),
            "which is there twice, or once as a folder and once as a file; make the archive again",
        )


def _passed_over(name: str) -> bool:
    return name.startswith(".") or is_systems(name)


def _root(folder: Path) -> Path:
    """The only folder in `folder` if it holds folders and is no split; else `folder` itself."""
    while True:
        found = [entry for entry, _ in walking.entries(folder, walking.Passed())]
        folders = [entry.name for entry in found if entry.is_dir()]
        if len(folders) != 1 or role_of(folders[0]):
            return folder
        inner = folder / folders[0]
        if not walking.folders(inner):
            return folder
        folder = inner
