"""An image file without its metadata: only its pixels and their orientation.

Pillow rejects an image for faults outside its pixels: a text that is large when unpacked, a wrong
checksum of a comment, a truncated colour profile. Such a file is read again through `opened`,
which hides those parts. Nothing is copied: what remains are ranges of the file. Damage to the
pixels themselves is kept, and if the file's parts can't be identified, nothing is hidden.
"""

import io
import os
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import IO

LONGEST_ORIENTATION = 2**20
"""Most bytes of metadata, packed or unpacked, that are read for the orientation."""

Piece = bytes | tuple[int, int]
"""Bytes to insert, or a range of the file: (start, stop)."""

_PNG = b"\x89PNG\r\n\x1a\n"
_IEND = b"\0\0\0\0IEND\xae\x42\x60\x82"


class Spliced(io.RawIOBase):
    """Pieces of a file, joined to one read-only file."""

    def __init__(self, file: IO[bytes], pieces: list[Piece]) -> None:
        super().__init__()
        self._file = file
        self._pieces = pieces
        self._ends = list(accumulate(map(_length, pieces)))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = self._ends[-1] if self._ends else 0
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read into `buffer`, at most to the end of a piece."""
        which = bisect_right(self._ends, self._at)
        if which == len(self._pieces):
            return 0
        piece = self._pieces[which]
        within = self._at - (self._ends[which] - _length(piece))
        count = min(len(buffer), _length(piece) - within)
        if isinstance(piece, bytes):
            taken = piece[within : within + count]
        else:
            self._file.seek(piece[0] + within)
            taken = self._file.read(count)
        buffer[: len(taken)] = taken
        self._at += len(taken)
        return len(taken)


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]


def opened(file: IO[bytes], *, orientation: bool) -> "io.BufferedReader | None":
    """The file without its metadata; None if nothing can be left out.

    Args:
        file: a seekable file.
        orientation: whether to keep metadata that may contain the orientation.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(16)
    if start.startswith(_PNG):
        pieces = _png(file, size, orientation)
    elif start.startswith(b"\xff\xd8"):
        pieces = _jpeg(file, size, orientation)
    elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        pieces = _webp(file, size, orientation)
    elif start[:4] in _TIFF:
        pieces = _tiff(file, size, start)
    elif start[4:12] in (b"ftypavif", b"ftypavis"):
        pieces = _avif(file, size)
    else:
        return None
    if not pieces or pieces == [(0, size)]:
        return None
    return io.BufferedReader(Spliced(file, pieces))


def _joined(pieces: list[Piece]) -> list[Piece]:
    """The pieces with adjacent ranges merged."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else b""
        if isinstance(piece, tuple) and isinstance(last, tuple) and last[1] == piece[0]:
            joined[-1] = (last[0], piece[1])
        else:
            joined.append(piece)
    return joined


# --------------------------------------------------------------------------------------------- PNG


def _png(file: IO[bytes], size: int, orientation: bool) -> list[Piece]:
    """Critical chunks (names that begin with a capital), transparent colour, and orientation.

    If the file is cut off within its metadata, or after its pixels, an end is added.
    """
    pieces: list[Piece] = [(0, 8)]
    known: set[bytes] = set()
    at, kind = 8, b""
    while at < size and kind != b"IEND":
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        end = at + 12 + length
        optional = kind[0] & 0x20
        if end > size:
            return _joined([*pieces, _IEND if optional else (at, size)])
        if not optional or kind == b"tRNS" or (orientation and _turns(file, kind, length, known)):
            pieces.append((at, end))
        at = end
    return _joined(pieces if kind == b"IEND" else [*pieces, _IEND])


def _turns(file: IO[bytes], kind: bytes, length: int, known: set[bytes]) -> bool:
    """Whether a chunk is intact and may contain the orientation; the file is at its content."""
    if kind not in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") or length > LONGEST_ORIENTATION:
        return False
    content = file.read(length)
    if file.read(4) != struct.pack(">I", zlib.crc32(kind + content)):
        return False
    name, packed = _named(kind, content)
    if not name or name in known or (packed and not _unpacks(packed)):
        return False
    known.add(name)
    return True


def _named(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    """The kind of metadata with an orientation in a chunk, if any, and its packed content."""
    name, _, text = content.partition(b"\0")
    if kind == b"eXIf":
        return kind, b""
    if kind == b"iTXt" and name == b"XML:com.adobe.xmp":
        return name, text[2:].split(b"\0", 2)[-1] if text[:1] == b"\1" else b""
    if kind in (b"tEXt", b"zTXt") and name == b"Raw profile type exif":
        return name, text[1:] if kind == b"zTXt" else b""
    return b"", b""


def _unpacks(packed: bytes) -> bool:
    """Whether it unpacks completely and is short."""
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, LONGEST_ORIENTATION)
    except zlib.error:
        return False
    return unpacking.eof


# -------------------------------------------------------------------------------------------- JPEG


def _jpeg(file: IO[bytes], size: int, orientation: bool) -> list[Piece]:
    """All segments up to the pixels, except application segments and comments.

    JFIF's and Adobe's are kept because they define the colours, and so are EXIF and XMP. Stray
    bytes between segments are skipped, as libjpeg does.
    """
    pieces: list[Piece] = [(0, 2)]
    at = 2
    for at, marker, length in _segments(file, size):
        if marker == 0xDA:
            return _joined([*pieces, (at, size)])
        if not 0xE0 <= marker <= 0xEF and marker != 0xFE:
            pieces.append((at, at + 2 + length))
            continue
        file.seek(at + 4)
        content = file.read(min(length - 2, 32))
        if (
            (marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14)
            or (marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12)
            or (orientation and marker == 0xE1)
        ):
            pieces.append((at, at + 2 + length))
    return []


def _segments(file: IO[bytes], size: int) -> Iterator[tuple[int, int, int]]:
    """Start, marker and length of each segment, up to the first invalid one."""
    at = 2
    while at < size:
        file.seek(at)
        head = file.read(2**10)
        start = next(
            (i for i, byte in enumerate(head[:-1]) if byte == 0xFF and 0 < head[i + 1] < 0xFF), None
        )
        if start is None:
            at += max(1, len(head) - 1)
            continue
        marker, length = head[start + 1], int.from_bytes(head[start + 2 : start + 4], "big")
        if start + 4 > len(head):
            file.seek(at + start + 2)
            length = int.from_bytes(file.read(2), "big")
        if marker == 0xD8 or length < 2:
            return
        yield at + start, marker, length
        at += start + 2 + length


# -------------------------------------------------------------------------------------------- WebP

_PICTURES = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
"""Bits of VP8X that announce other chunks."""


def _webp(file: IO[bytes], size: int, orientation: bool) -> list[Piece]:
    """The chunks with pixels, and EXIF and XMP if intact; lengths are corrected."""
    kept: list[Piece] = []
    flags, at = 0, 12
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        end = at + 8 + length + length % 2
        whole = at + 8 + length <= size
        if kind == b"VP8X" and whole:
            flags = int.from_bytes(file.read(1), "little")
            kept += [(at, at + 8), b"", (at + 9, end)]
        elif kind in _PICTURES:
            kept.append((at, min(end, size)))
        elif orientation and whole and kind in _FLAGS and kind != b"ICCP":
            kept.append((at, min(end, size)))
            flags |= _FLAGS[kind] << 8
        at = end
    has = flags & 0xFF & ~sum(_FLAGS.values()) | flags >> 8
    kept = [bytes([has]) if piece == b"" else piece for piece in kept]
    length = 4 + sum(map(_length, kept))
    return [b"RIFF" + struct.pack("<I", length) + b"WEBP", *kept]


# -------------------------------------------------------------------------------------------- AVIF

_DIRECTORY = 2**16
"""Bytes of an AVIF that are searched for its list of items."""


def _avif(file: IO[bytes], size: int) -> list[Piece]:
    """The file with its EXIF and XMP items renamed, so that readers skip them.

    The orientation is stored in separate boxes.
    """
    file.seek(0)
    head = file.read(_DIRECTORY)
    pieces: list[Piece] = []
    done = place = 0
    while (place := head.find(b"infe", place + 1)) > 0:
        kind = place + (14 if head[place + 4 : place + 5] == b"\3" else 12)
        if head[kind : kind + 4] in (b"Exif", b"mime"):
            pieces += [(done, kind), b"skip"]
            done = kind + 4
    return [*pieces, (done, size)]


# -------------------------------------------------------------------------------------------- TIFF

_TIFF = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True),
         b"MM\0+": (">", True)}  # fmt: skip
"""First bytes, mapped to the byte order and whether offsets have 64 bits."""

_PIXEL_TAGS = frozenset(
    [
        *(254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320),
        *(
            322,
            323,
            324,
            325,
            332,
            334,
            338,
            339,
            340,
            341,
            347,
            *range(512, 522),
            *range(529, 533),
        ),
    ]
)
"""Sizes, strips and tiles, value types, colours, compression, palettes, and the orientation."""


def _tiff(file: IO[bytes], size: int, start: bytes) -> list[Piece]:
    """The file with all other tags removed from the directory of its first page."""
    order, big = _TIFF[start[:4]]
    (at,) = struct.unpack(order + ("Q" if big else "I"), start[8:16] if big else start[4:8])
    before, entry, after = (8, 20, 8) if big else (2, 12, 4)
    if at + before > size:
        return []
    file.seek(at)
    count = struct.unpack(order + ("Q" if big else "H"), file.read(before))[0]
    directory = file.read(min(count, 2**16) * entry)
    entries = [directory[i : i + entry] for i in range(0, len(directory) - entry + 1, entry)]
    kept = [each for each in entries if struct.unpack(order + "H", each[:2])[0] in _PIXEL_TAGS]
    if len(kept) == count:
        return []
    changed = struct.pack(order + ("Q" if big else "H"), len(kept)) + b"".join(kept) + bytes(after)
    end = at + before + len(directory) + after
    changed += bytes(end - at - len(changed))
    return [(0, at), changed, (min(end, size), size)]
