"""Logs of rows: one JSON object per line, appended during the training.

A checkpoint holds a seal of each log: its length at that time, and its checksum. When a run resumes
from the checkpoint, the seal shows whether the log is unchanged, and where exactly to cut it.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from onecycle.errors import InputError
from onecycle.run_dir.files import beside, reading
from onecycle.run_dir.folder import place_of
from onecycle.run_dir.records import Seal
from onecycle.writing.numbers import counted

NAMES = ("steps.jsonl", "metrics.jsonl")
"""The logs that a checkpoint seals."""

EMPTY: Seal = {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}
"""The seal of an empty log."""

MOST_BYTES = 2**30
"""Maximum size of a log in bytes: more than ten million steps."""

LINE_BYTES = 2**20
"""Maximum size of a row, in bytes."""

CHUNK = 2**20


def rows(root: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a log with their line numbers, one at a time.

    A missing file has no rows. A last row that was cut short is left out.

    Raises:
        InputError: a row before the last is damaged, or the log is not a file in that folder.
    """
    with _opened(root, name) as file:
        number = 0
        while file is not None and (line := file.readline(LINE_BYTES)):
            number += 1
            if line.endswith(b"\n"):
                yield number, _row(root / name, number, line)
            elif len(line) == LINE_BYTES:
                raise damaged_row(root / name, number)


def seal(root: Path, name: str) -> Seal:
    """The seal of a log as it is now. A missing log counts as empty."""
    with _opened(root, name) as file:
        return EMPTY if file is None else _seal_of(file, MOST_BYTES)


def damage(root: Path, name: str, sealed: Seal) -> str | None:
    """The damage to the sealed part of a log; None if it is intact."""
    with _opened(root, name) as file:
        found = EMPTY if file is None else _seal_of(file, sealed["bytes"])
    if found["bytes"] < sealed["bytes"]:
        size = counted(sealed["bytes"], "byte")
        return f"{root / name}: is cut short ({found['bytes']:,} of {size})"
    return None if found == sealed else f"{root / name}: is damaged (it fails its checksum)"


def cut(root: Path, name: str, sealed: Seal) -> None:
    """Drop what was logged after the seal.

    Raises:
        TrainingError: it can't be written.
    """
    with _opened(root, name) as file:
        if file is not None and os.fstat(file.fileno()).st_size > sealed["bytes"]:
            with beside(root, name) as shorter:
                for chunk in _chunks(file, sealed["bytes"]):
                    shorter.write(chunk)


def damaged_row(path: Path, number: int, reason: str = "") -> InputError:
    """The error for a damaged row of a log."""
    why = f" ({reason})" if reason else ""
    return InputError(f"{path}: line {number} is damaged{why}; restore the file, or train again")


@contextmanager
def _opened(root: Path, name: str) -> Iterator[BinaryIO | None]:
    """An open log; None if there is none."""
    try:
        with reading(root / name), place_of(root, name) as (folder, last):
            file = folder.open_to_read(last, MOST_BYTES)
    except FileNotFoundError:
        yield None
        return
    with file, reading(root / name):
        yield file


def _seal_of(file: BinaryIO, most: int) -> Seal:
    digest, count = hashlib.sha256(), 0
    for chunk in _chunks(file, most):
        digest.update(chunk)
        count += len(chunk)
    return {"bytes": count, "sha256": digest.hexdigest()}


def _chunks(file: BinaryIO, most: int) -> Iterator[bytes]:
    """The content of a file in chunks, up to a number of bytes."""
    while most > 0 and (chunk := file.read(min(CHUNK, most))):
        most -= len(chunk)
        yield chunk


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise damaged_row(path, number)
    return row
