"""Read named files from a tar archive or a folder directly into memory, without extracting.

Whatever an archive claims, at most the allowed size of the wanted files is read, plus a margin.
Links, devices and names that point out of the archive are rejected. The headers are read here
because tarfile keeps all members in memory and reads extended headers of any length.
"""

import gzip
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from onecycle.data import stand_ins
from onecycle.errors import InputError
from onecycle.writing.numbers import counted

MARGIN = 2**22
"""Bytes that an archive may have besides the wanted files, for headers and a page of text."""

LONGEST_HEADER = 2**16
"""Most bytes of an extended header (times, owners); these headers are skipped."""

BLOCK = tarfile.BLOCKSIZE

_GZIP = b"\x1f\x8b"
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, ValueError, OverflowError)
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)


class Member(NamedTuple):
    """A file in an archive: its path there, its length, and a function that reads it."""

    path: PurePosixPath
    size: int
    read: Callable[[], bytes]


def read(path: Path, wanted: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """The files named in `wanted` and their contents, one at a time, in the container's order.

    Args:
        path: an archive (tar, or tar and gzip), or a folder.
        wanted: file names, each with the most bytes that it may have.

    Raises:
        InputError: it can't be read, is damaged or too large, or has members that an archive of
            images doesn't need. Missing files are left to the caller.
    """
    with _errors_named(path):
        yield from _read_folder(path, wanted) if path.is_dir() else _read_archive(path, wanted)


def names(path: Path, wanted: Mapping[str, int]) -> Iterator[PurePosixPath]:
    """The paths of the files in a container, in its order; in a folder, only the wanted ones.

    Raises:
        InputError: as in `read`.
    """
    with _errors_named(path):
        if path.is_dir():
            yield from (PurePosixPath(path.name, name) for name in wanted if _is_file(path / name))
        else:
            yield from (member.path for member in _members(path, sum(wanted.values()) + MARGIN))


def is_archive(path: Path) -> bool:
    """Whether a file begins like a tar archive, compressed with gzip or not.

    A damaged gzip file counts, since nobody can say what is in it.

    Raises:
        InputError: it can't be read.
    """
    with _errors_named(path), path.open("rb") as file:
        start = file.read(BLOCK)
        if start.startswith(_GZIP):
            file.seek(0)
            try:
                with _unpacked(file) as content:
                    start = content.read(BLOCK)
            except _DAMAGE:
                return True
    try:
        return _header(start) is not None
    except _DAMAGE:
        return False


def stand_in(path: Path) -> str:
    """What kind of stand-in for an archive a file is, and the remedy; empty if it isn't one.

    Raises:
        InputError: it can't be read.
    """
    with _errors_named(path), path.open("rb") as file:
        return stand_ins.known(file.read(stand_ins.HEAD))


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Turn every error of a container into one line that names it."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        reason = f" ({error})" if str(error) else ""
        raise InputError(
            f"data: '{path}' is damaged or cut off{reason}; fetch the archive again"
        ) from None
    except OSError as error:
        raise InputError(f"data: '{path}' can't be read: {error.strerror or error}") from None


# ------------------------------------------------------------------------------------------ folder


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _read_folder(path: Path, wanted: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    for name, most in wanted.items():
        if _is_file(path / name):  # reading a pipe would block
            with (path / name).open("rb") as file:
                _check_size(path, name, os.fstat(file.fileno()).st_size, most)
                yield name, file.read(most)


# ----------------------------------------------------------------------------------------- archive


def _read_archive(path: Path, wanted: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for member in _members(path, sum(wanted.values()) + MARGIN):
        name = member.path.name
        if name not in wanted:
            continue
        if name in seen:
            raise InputError(f"data: '{path}' has {name} twice; fetch the archive again")
        seen.add(name)
        _check_size(path, name, member.size, wanted[name])
        yield name, member.read()


def _members(path: Path, most: int) -> Iterator[Member]:
    """The files of an archive, in order; each can be read until the next one is requested."""
    with path.open("rb") as file, _unpacked(file) as content:
        tape = _Tape(content, path, most)
        while (header := _header(tape.take(BLOCK, short=True))) is not None:
            if header.type in _EXTENDED:
                _pass_over(tape, header, path)
                continue
            _check_member(path, header)
            end = tape.position + -(-header.size // BLOCK) * BLOCK
            if header.type in _FILES:
                size = header.size
                yield Member(PurePosixPath(header.name), size, lambda size=size: tape.take(size))
                tape.skip(end - tape.position)


def _header(block: bytes) -> tarfile.TarInfo | None:
    """The parsed header; None at the archive's end."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # pyright: ignore[reportAttributeAccessIssue]
        return None
    if header.size < 0:
        raise ValueError("a negative length")
    return header


def _pass_over(tape: "_Tape", header: tarfile.TarInfo, path: Path) -> None:
    """Skip an extended header, unless the next member's name or length is in it."""
    if header.size <= LONGEST_HEADER:
        content = tape.take(-(-header.size // BLOCK) * BLOCK)
        if not any(key in content for key in (b" path=", b" size=", b" linkpath=", b" GNU.sparse")):
            return
    raise InputError(
        f"data: '{path}' has headers that no archive of images needs; fetch the archive again"
    )


def _check_member(path: Path, header: tarfile.TarInfo) -> None:
    """Reject everything except folders, and files whose names stay inside the archive."""
    name = header.name.replace("\\", "/")
    trouble = ""
    if name.startswith("/") or ":" in name or ".." in name.split("/"):
        trouble = "which points out of the archive"
    elif header.type in _LINKS:
        trouble = "which is a link"
    elif header.type not in (*_FILES, tarfile.DIRTYPE):
        trouble = "which is not a file"
    if trouble:
        shown = "".join(letter if letter.isprintable() else "?" for letter in header.name)
        raise InputError(
            f"data: '{path}' has the member '{shown}', {trouble}; the official archives have no "
            "such member, so don't trust this one"
        )


class _Tape:
    """A stream that is read forwards, up to `most` bytes."""

    def __init__(self, stream: IO[bytes], path: Path, most: int) -> None:
        self._stream, self._path, self._most = stream, path, most
        self.position = 0

    def take(self, count: int, *, short: bool = False) -> bytes:
        """The next `count` bytes; fewer are an error unless `short` is true."""
        self._advance(count)
        content = self._stream.read(count)
        if len(content) < count and not short:
            raise EOFError("it ends too early")
        return content

    def skip(self, count: int) -> None:
        """Skip `count` bytes."""
        while count > 0:
            count -= len(self.take(min(count, 2**20)))

    def _advance(self, count: int) -> None:
        self.position += count
        if self.position > self._most:
            raise InputError(
                f"data: '{self._path}' is larger than CIFAR's archives; give the official one, "
                "or a folder of class folders"
            )


@contextmanager
def _unpacked(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The content of a file that may be compressed with gzip."""
    packed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    if packed:
        with gzip.GzipFile(fileobj=file) as content:
            yield content  # pyright: ignore[reportReturnType]
    else:
        yield file


def _check_size(path: Path, name: str, size: int, most: int) -> None:
    if size > most:
        raise InputError(
            f"data: {name} in '{path}' has {counted(size, 'byte')}, but at most {most:,} are "
            "expected; fetch the archive again"
        )
