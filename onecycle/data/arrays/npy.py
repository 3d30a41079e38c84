"""Read the arrays in an .npz file: never a pickle, and never more than the file really holds.

numpy.load allocates what an array's header claims before it reads, and its zip reader checks
nothing. The format is that of numpy.lib.format, versions 1 to 3.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from onecycle.data.archives import zips
from onecycle.data.archives.members import Damaged
from onecycle.data.folder.messages import quoted
from onecycle.errors import InputError

ENDING = ".npy"

LONGEST_HEADER = 2**13
"""Most bytes of an array's header."""

_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True)
class Array:
    """An array in a file, not read yet.

    Attributes:
        name: its name there.
        shape, dtype: as its header states, which the length of the content confirms.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    _entry: zips.Entry
    _header: int

    def pieces(self, file: IO[bytes], path: Path) -> Iterator[bytes]:
        """The content, piece by piece.

        Raises:
            Damaged: it is damaged.
            InputError: it is encrypted, or packed by an unusual method.
        """
        left = self._header
        for piece in zips.read(file, self._entry, path):
            if left >= len(piece):
                left -= len(piece)
                continue
            yield piece[left:]
            left = 0

    def values(self, file: IO[bytes], path: Path) -> np.ndarray:
        """The content in memory; the errors are those of `pieces`."""
        content = bytearray()
        for piece in self.pieces(file, path):
            content += piece
        return np.frombuffer(content, self.dtype).reshape(self.shape)


def arrays(file: IO[bytes], path: Path) -> Mapping[str, Array]:
    """The arrays in an open .npz file, by name without the ending.

    Raises:
        Damaged: it is damaged.
        InputError: an array is a pickle, claims more than is there, or is there twice.
    """
    found: dict[str, Array] = {}
    for entry in zips.entries(file):
        if not entry.name.endswith(ENDING):
            continue
        array = _array(file, path, entry)
        if array.name in found:
            raise InputError(
                f"data: {quoted(path)} has the array {quoted(array.name)} twice; save it again"
            )
        found[array.name] = array
    return found


def _array(file: IO[bytes], path: Path, entry: zips.Entry) -> Array:
    """An array, by its header."""
    name = entry.name.removesuffix(ENDING)
    shown = f"data: {quoted(name)} in {quoted(path)}"
    head = _Head(zips.read(file, entry, path))
    try:
        version = np.lib.format.read_magic(head)  # pyright: ignore[reportArgumentType]
        read = _READERS.get(version, _READERS[2, 0])
        shape, fortran, dtype = read(head, max_header_size=LONGEST_HEADER)  # pyright: ignore[reportArgumentType]
    except (Damaged, InputError):
        raise
    except Exception:  # NumPy's parser lets all kinds of errors through
        raise InputError(f"{shown} is no array; save it again with numpy.savez") from None
    if dtype.hasobject:
        raise InputError(
            f"{shown} is an array of Python objects, which could run code; save it as numbers or "
            "texts (images of one size: np.stack(images))"
        )
    if any(side < 0 for side in shape) or (
        head.taken + math.prod(shape) * dtype.itemsize != entry.size
    ):
        raise InputError(
            f"{shown} claims the shape {tuple(shape)}, but the file holds another number of bytes; "
            "save it again"
        )
    if fortran and len(shape) > 1:
        raise InputError(
            f"{shown} is stored column by column; save it with np.ascontiguousarray({name})"
        )
    return Array(name, tuple(shape), dtype, entry, head.taken)


class _Head:
    """The beginning of a member, as a file for numpy.lib.format."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""
        self.taken = 0

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; more than a header has are refused."""
        if count > LONGEST_HEADER:
            raise ValueError("the header is too long")
        while len(self._rest) < count and (piece := next(self._pieces, b"")):
            self._rest += piece
        taken, self._rest = self._rest[:count], self._rest[count:]
        self.taken += len(taken)
        return taken
