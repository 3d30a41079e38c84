"""Read tar archives, plain or packed by gzip, bzip2 or xz, member by member, forwards.

The headers are read here because tarfile keeps all members in memory, reads extended headers of any
length, and allocates what a header of a sparse file claims.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from onecycle.data.archives.members import (
    MOST_MEMBERS,
    Damaged,
    Kind,
    Member,
    parts_of,
    refused,
)

BLOCK = tarfile.BLOCKSIZE

LONGEST_HEADER = 2**20
"""Most bytes of an extended header."""

LZMA_MEMORY = 2**28
"""Most bytes that unpacking xz may take; its highest level needs a quarter of that."""

CHUNK = 2**16

DAMAGE = (
    EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError, ValueError,
    OverflowError, OSError,
)  # fmt: skip

_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)


def packing(head: bytes) -> str:
    """How a file is packed, by its first bytes: `gzip`, `bzip2`, `xz`, or not (empty)."""
    return next((name for start, name in _PACKED.items() if head.startswith(start)), "")


@contextmanager
def unpacked(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The content of a file that may be packed."""
    how = packing(file.read(6))
    file.seek(0)
    if how == "gzip":
        with gzip.GzipFile(fileobj=file) as content:
            yield content  # pyright: ignore[reportReturnType]
    elif how == "bzip2":
        with bz2.BZ2File(file) as content:
            yield content  # pyright: ignore[reportReturnType]
    elif how == "xz":
        yield io.BufferedReader(_Xz(file), CHUNK)  # pyright: ignore[reportReturnType]
    else:
        yield file


class _Xz(io.RawIOBase):
    """The content of an xz file, with a bound on memory, which lzma.LZMAFile can't have."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._decoder = self._new()

    def _new(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read into `buffer`; several streams may follow each other, with zeros between them."""
        while True:
            if self._decoder.eof:
                rest = (self._decoder.unused_data or self._file.read(CHUNK)).lstrip(b"\0")
                if not rest:
                    if self._file.read(1):
                        self._file.seek(-1, io.SEEK_CUR)
                        continue
                    return 0
                self._decoder = self._new()
            else:
                rest = self._file.read(CHUNK) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not rest:
                    raise EOFError("it ends too early")
            piece = self._decoder.decompress(rest, len(buffer))
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)


def is_tar(head: bytes) -> bool:
    """Whether these first bytes, unpacked, are a header of a tar archive."""
    try:
        return _header(head) is not None
    except (Damaged, *DAMAGE):
        return False


def members(
    content: IO[bytes], archive: Path, moved: Callable[[int], None] = lambda count: None
) -> Iterator[Member]:
    """The members of a tar archive, one at a time.

    Args:
        content: the archive, unpacked.
        archive: for messages.
        moved: is told how many bytes were read, as they are; may raise to stop.

    Raises:
        Damaged: it is damaged or cut off, or has too many members.
        InputError: a member can't be trusted, or is a sparse file.
    """
    tape = _Tape(content, moved)
    name, size = "", -1  # as an extended header gives them for the next member
    for _ in range(MOST_MEMBERS):
        header = _header(tape.block())
        if header is None:
            return
        if header.type in _PAX:
            name, size = _pax(tape.header(header.size), archive, name, size)
        elif header.type == tarfile.GNUTYPE_LONGNAME:
            name = _text(tape.header(header.size).partition(b"\0")[0])
        elif header.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
            tape.header(header.size)
        else:
            yield _member(tape, header, name or header.name, size, archive)
            tape.finish()
            name, size = "", -1
    raise Damaged(f"it has more than {MOST_MEMBERS:,} members")


def _member(tape: "_Tape", header: tarfile.TarInfo, name: str, size: int, archive: Path) -> Member:
    """A member, whose content is next on the tape."""
    if header.type == tarfile.GNUTYPE_SPARSE:
        raise _sparse(archive, name)
    kind = _kind(header, name)
    length = header.size if size < 0 else size
    has_content = header.type not in (
        tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
    )  # fmt: skip
    tape.begin(length if has_content else 0)
    return Member(parts_of(name, archive), kind, length if kind == "file" else 0, tape.pieces)


def _kind(header: tarfile.TarInfo, name: str) -> Kind:
    if header.type == tarfile.DIRTYPE or (header.type in _FILES and name.endswith("/")):
        return "folder"
    return "file" if header.type in _FILES else "other"


def _header(block: bytes) -> tarfile.TarInfo | None:
    """The parsed header; None at the archive's end."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # pyright: ignore[reportAttributeAccessIssue]
        return None
    except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError):  # pyright: ignore[reportAttributeAccessIssue]
        raise Damaged("it ends too early") from None
    if header.size < 0:
        raise Damaged("a negative length")
    return header


def _pax(content: bytes, archive: Path, name: str, size: int) -> tuple[str, int]:
    """Name and length in an extended header of POSIX.1-2001, which counts for the next member."""
    while content.strip(b"\0"):
        digits, space, _ = content.partition(b" ")
        length = int(digits) if space and digits.isdigit() and len(digits) < 9 else 0
        key, equals, value = content[len(digits) + 1 : length - 1].partition(b"=")
        if not equals or length > len(content) or content[length - 1 : length] != b"\n":
            raise Damaged("an extended header is wrong")
        if key.startswith(b"GNU.sparse"):
            raise _sparse(archive, name)
        if key == b"path":
            name = _text(value)
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise Damaged("an extended header is wrong")
            size = int(value)
        content = content[length:]
    return name, size


def _sparse(archive: Path, name: str) -> Exception:
    return refused(archive, name, "which is a sparse file; make the archive without sparse files")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class _Tape:
    """A stream that is read forwards, and the content of one member in it."""

    def __init__(self, stream: IO[bytes], moved: Callable[[int], None]) -> None:
        self._stream, self._moved = stream, moved
        self._left = self._padding = 0

    def block(self) -> bytes:
        """The next header; short at the end of the file."""
        self._moved(BLOCK)
        return self._stream.read(BLOCK)

    def header(self, size: int) -> bytes:
        """The content of an extended header."""
        if size > LONGEST_HEADER:
            raise Damaged("an extended header is too long")
        self.begin(size)
        content = b"".join(self.pieces())
        self.finish()
        return content

    def begin(self, size: int) -> None:
        """A content of `size` bytes comes next."""
        self._left, self._padding = size, -size % BLOCK

    def pieces(self) -> Iterator[bytes]:
        """The content, piece by piece."""
        while self._left:
            yield self._take(min(CHUNK, self._left))

    def finish(self) -> None:
        """Skip what is left of the content."""
        for _ in self.pieces():
            pass
        self._left, self._padding = self._padding, 0
        for _ in self.pieces():
            pass

    def _take(self, count: int) -> bytes:
        self._moved(count)
        piece = self._stream.read(count)
        if len(piece) < count:
            raise EOFError("it ends too early")
        self._left -= count
        return piece
