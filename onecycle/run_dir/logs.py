"""Logs of rows: one JSON object a line, appended as the training goes.

A checkpoint holds a seal of each log: how long it was then, and its checksum. So going on from the
checkpoint can tell whether the log still is what was written, and cut it back to the very byte.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from onecycle.errors import InputError
from onecycle.nouns import counted
from onecycle.run_dir.files import write_atomically

NAMES = ("steps.jsonl", "metrics.jsonl")
"""The logs that go with a checkpoint."""

Seal = dict[str, Any]
"""`bytes`, the length of a log, and `sha256`, of its content."""

EMPTY: Seal = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
"""The seal of a log that nothing was written to."""


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; none where there is no file, a last one cut short dropped.

    Raises:
        InputError: a row before the last is damaged.
    """
    lines = _content(path).split(b"\n")
    return [_row(path, number, line) for number, line in enumerate(lines[:-1], start=1)]


def seal(path: Path) -> Seal:
    """The seal of a log as it is now; one that is not there is empty."""
    return _seal_of(_content(path))


def damage(path: Path, sealed: Seal) -> str | None:
    """What is wrong with the part of a log that was sealed; None if it is intact."""
    content = _content(path)[: sealed["bytes"]]
    if len(content) < sealed["bytes"]:
        return f"{path}: is cut short ({len(content):,} of {counted(sealed['bytes'], 'byte')})"
    if _seal_of(content) != sealed:
        return f"{path}: is damaged (it fails its checksum)"
    return None


def cut(path: Path, sealed: Seal) -> None:
    """Drop what was logged after the seal.

    Raises:
        TrainingError: it can't be written.
    """
    content = _content(path)
    if len(content) > sealed["bytes"]:
        write_atomically(path, content[: sealed["bytes"]])


def _seal_of(content: bytes) -> Seal:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}; restore it") from None


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise InputError(f"{path}: line {number} is damaged; restore the file, or train again")
    return row
