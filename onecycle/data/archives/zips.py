"""Read zip archives: the list at their end, then the members in the order of their places.

Python's zipfile keeps an object of a kilobyte for each member before anything can be checked, and
lets members share their bytes, so that 40 kB unpack to terabytes (Fifield, "A better zip bomb",
2019). Here the list is checked first: its length, encryption, methods, and that no two members
overlap. The format is that of PKWARE's APPNOTE.TXT 6.3.10.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from onecycle.data.archives.members import (
    MOST_MEMBERS,
    Damaged,
    Kind,
    Member,
    parts_of,
    refused,
)
from onecycle.data.folder.messages import quoted
from onecycle.errors import InputError

STARTS = (b"PK\3\4", b"PK\5\6")
"""The first bytes of a zip archive; the second, of an empty one."""

CHUNK = 2**16
"""Bytes that are read and unpacked at a time."""

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_LONGEST_COMMENT = 2**16
_UTF8, _ENCRYPTED = 0x800, 0x2041  # 0x2041: encrypted, strongly, or with a masked list
_STORED, _DEFLATED = 0, 8
_UNIX, _MACOS = 3, 19


class Entry(NamedTuple):
    """A line of the list of members.

    Attributes:
        raw: its name, as bytes.
        name: its name.
        kind: file, folder or other.
        flags, method, checksum, packed, size: as in the file; sizes in bytes.
        place: where its local header begins.
        end: where the next member, or the list, begins.
    """

    raw: bytes
    name: str
    kind: Kind
    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    place: int
    end: int


def entries(file: IO[bytes]) -> list[Entry]:
    """The list of members, in the order of their places.

    Raises:
        Damaged: it is no zip archive, or members overlap.
    """
    start, length, count, shift = _list_place(file)
    if count > MOST_MEMBERS:
        raise Damaged(f"it has more than {MOST_MEMBERS:,} members")
    file.seek(start)
    found = [_entry(file, shift) for _ in range(count)]
    if file.tell() != start + length:
        raise Damaged("its list has another length than it says")
    found.sort(key=lambda entry: entry.place)
    ends = [*(entry.place for entry in found), start][1:]
    found = [entry._replace(end=end) for entry, end in zip(found, ends, strict=True)]
    for entry in found:
        if entry.place < 0 or entry.place + _LOCAL.size + len(entry.raw) + entry.packed > entry.end:
            raise Damaged("its members overlap")
    return found


def members(file: IO[bytes], found: list[Entry], archive: Path) -> Iterator[Member]:
    """The members of a zip archive whose list is `found`, one at a time.

    Raises:
        Damaged: it is damaged.
        InputError: a member can't be trusted, is encrypted, or packed by an unusual method.
    """
    for entry in found:
        parts = parts_of(entry.name, archive)
        yield Member(parts, entry.kind, entry.size, partial(read, file, entry, archive))


def read(file: IO[bytes], entry: Entry, archive: Path) -> Iterator[bytes]:
    """The content of a member, piece by piece, exactly as many bytes as its entry states.

    Args:
        file: the archive.
        entry: the member.
        archive: for messages.

    Raises:
        Damaged: the content is damaged, or longer or shorter than stated.
        InputError: it is encrypted, or packed by an unusual method.
    """
    if entry.flags & _ENCRYPTED:
        raise InputError(
            f"data: {quoted(archive)} is encrypted; unpack it with its password, and give its "
            "folder"
        )
    if entry.method not in (_STORED, _DEFLATED):
        raise refused(
            archive,
            entry.name,
            f"which is packed by an unusual method ({entry.method}); unpack the archive, and give "
            "its folder",
        )
    file.seek(entry.place)
    local = _fields(_LOCAL, file, b"PK\3\4")
    names, extra = local[9], local[10]
    if file.read(names) != entry.raw:
        raise Damaged("its list and its members have different names")
    begin = entry.place + _LOCAL.size + names + extra
    if begin + entry.packed > entry.end:
        raise Damaged("its members overlap")
    checksum, count = 0, 0
    for piece in _unpacked(file, begin, entry):
        checksum, count = zlib.crc32(piece, checksum), count + len(piece)
        if count > entry.size:
            raise Damaged("a member is longer than it says")
        yield piece
    if count != entry.size or checksum != entry.checksum:
        raise Damaged("a member's checksum is wrong")


def _unpacked(file: IO[bytes], begin: int, entry: Entry) -> Iterator[bytes]:
    """The pieces of a member; the file may be read elsewhere in between."""
    left, inflate = entry.packed, zlib.decompressobj(-zlib.MAX_WBITS)
    while left:
        file.seek(begin + entry.packed - left)
        packed = file.read(min(CHUNK, left))
        if not packed:
            raise Damaged("it ends too early")
        left -= len(packed)
        if entry.method == _STORED:
            yield packed
            continue
        while packed and not inflate.eof:
            try:
                piece = inflate.decompress(packed, CHUNK)
            except zlib.error as error:
                raise Damaged(str(error)) from None
            packed = inflate.unconsumed_tail
            if piece:
                yield piece
    while entry.method == _DEFLATED and not inflate.eof:
        piece = inflate.decompress(inflate.unconsumed_tail, CHUNK)
        if not piece:
            return
        yield piece


# -------------------------------------------------------------------------------- the list's place


def _list_place(file: IO[bytes]) -> tuple[int, int, int, int]:
    """Where the list begins, its bytes, its members, and how far all places are shifted."""
    size = file.seek(0, os.SEEK_END)
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read(_END.size + _LONGEST_COMMENT)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise Damaged("it ends too early")
    _, disk, list_disk, here, count, length, offset, _ = _END.unpack_from(tail, at)
    end = tail_start + at
    if found := _list_place_64(file, end):
        return found
    if disk or list_disk or here != count:
        raise Damaged("it is one part of several")
    return _checked(end, length, count, offset)


def _list_place_64(file: IO[bytes], end: int) -> tuple[int, int, int, int] | None:
    """The same for a large archive; None if it isn't one."""
    place = end - _LOCATOR.size - _END64.size
    if place < 0:
        return None
    file.seek(place)
    block = file.read(_LOCATOR.size + _END64.size)
    if not block.startswith(b"PK\6\6") or block[_END64.size :][:4] != b"PK\6\7":
        return None
    _, _, _, _, disk, list_disk, here, count, length, offset = _END64.unpack_from(block)
    if disk or list_disk or here != count:
        raise Damaged("it is one part of several")
    return _checked(place, length, count, offset)


def _checked(end: int, length: int, count: int, offset: int) -> tuple[int, int, int, int]:
    """The list ends at `end`; whatever was put before the archive shifts it."""
    start = end - length
    shift = start - offset
    if start < 0 or shift < 0 or length < count * _ENTRY.size:
        raise Damaged("its list of members is not where it says")
    return start, length, count, shift


def _entry(file: IO[bytes], shift: int) -> Entry:
    """The next line of the list."""
    fields = _fields(_ENTRY, file, b"PK\1\2")
    system, flags, method, checksum = fields[1] >> 8, fields[3], fields[4], fields[7]
    packed, size, place, attributes = fields[8], fields[9], fields[16], fields[15]
    raw = file.read(fields[10])
    extra = file.read(fields[11])
    comment = file.read(fields[12])
    if (len(raw), len(extra), len(comment)) != fields[10:13]:
        raise Damaged("it ends too early")
    size, packed, place = _large(extra, size, packed, place)
    name = _name(raw, flags, system)
    return Entry(
        raw, name, _kind(name, system, attributes), flags, method, checksum, packed, size,
        place + shift, end=0,
    )  # fmt: skip


def _large(extra: bytes, *values: int) -> tuple[int, ...]:
    """Numbers of 32 bits, those that are too large for it replaced by the extra field's."""
    found = list(values)
    while len(extra) >= 4 and 0xFFFFFFFF in found:
        kind, length = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind != 1:
            continue
        for index, value in enumerate(found):
            if value == 0xFFFFFFFF:
                if len(field) < 8:
                    raise Damaged("a length is missing")
                found[index], field = int.from_bytes(field[:8], "little"), field[8:]
        break
    return tuple(found)


def _name(raw: bytes, flags: int, system: int) -> str:
    """A member's name; macOS and Linux write UTF-8 without always saying so."""
    if flags & _UTF8 or system in (_UNIX, _MACOS):
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            if flags & _UTF8:
                return raw.decode("utf-8", "surrogateescape")
    return raw.decode("cp437")


def _kind(name: str, system: int, attributes: int) -> Kind:
    """What a member is; programs of Linux and macOS give its mode, those of Windows don't."""
    mode = attributes >> 16 if system in (_UNIX, _MACOS) else 0
    if stat.S_ISDIR(mode) or name.endswith("/") or (not mode and name.endswith("\\")):
        return "folder"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "other"


def _fields(form: struct.Struct, file: IO[bytes], mark: bytes) -> tuple[int, ...]:
    block = file.read(form.size)
    if len(block) < form.size:
        raise Damaged("it ends too early")
    if not block.startswith(mark):
        raise Damaged("a header is wrong")
    return form.unpack(block)
