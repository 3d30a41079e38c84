"""What an archive says of its members, and which of them can't be trusted."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onecycle.data.folder.messages import quoted
from onecycle.errors import InputError
from onecycle.writing.numbers import counted

Kind = Literal["file", "folder", "other"]
"""What a member is; `other` are links, devices, pipes and the like, which are never followed."""

MOST_MEMBERS = 2**21
"""Archives with more members are refused: their names alone would fill the memory."""

DEEPEST = 64
"""Members in more folders than that are refused."""

LONGEST_PART = 255
"""Most bytes in a name of a file or folder, on all usual file systems."""

_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Member:
    """A file, folder or something else in an archive.

    Attributes:
        parts: the names of its folders, and its own.
        kind: what it is.
        size: bytes of its content, as the archive states it.
        read: gives the content piece by piece; it must be used before the next member is asked for.
    """

    parts: tuple[str, ...]
    kind: Kind
    size: int
    read: Callable[[], Iterator[bytes]]


class Damaged(Exception):
    """The archive is not what it should be; the message says how, in a few words."""


def parts_of(name: str, archive: Path) -> tuple[str, ...]:
    """The parts of a member's name.

    Names made on Windows by some programs have backslashes between their parts.

    Raises:
        InputError: it leads out of the archive, or can't be the name of a file.
    """
    plain = name.replace("\\", "/") if "/" not in name else name
    climbs = ".." in name.replace("\\", "/").split("/")
    if climbs or plain.startswith("/") or _DRIVE.fullmatch(plain.partition("/")[0]):
        raise refused(
            archive, name, "which points out of the archive; don't trust it, or make it again"
        )
    parts = tuple(part for part in plain.split("/") if part not in ("", "."))
    if "\0" in name:
        raise refused(archive, name, "whose name has a zero byte; make the archive again")
    if len(parts) > DEEPEST:
        raise refused(
            archive,
            parts[0],
            f"which lies in more than {counted(DEEPEST, 'folder')}; make the archive again",
        )
    if any(len(part.encode("utf-8", "surrogateescape")) > LONGEST_PART for part in parts):
        raise refused(
            archive,
            name[:60] + "…",
            f"whose name has more than {counted(LONGEST_PART, 'byte')}; make the archive again",
        )
    return parts


def refused(archive: Path, name: str, why: str) -> InputError:
    """The error for an archive with such a member."""
    return InputError(f"data: {quoted(archive)} has the member {quoted(name)}, {why}")
