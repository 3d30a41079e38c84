"""Whole files: written under a temporary name, flushed to disk, renamed."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from onecycle.errors import InputError, TrainingError
from onecycle.run_dir.folder import opened, place_of

JSON_BYTES = 32 * 2**20
"""Maximum size of a run's JSON file, in bytes."""

JSON_DEPTH = 50
"""Maximum depth of nested objects and lists in a JSON file."""

JSON_PARTS = 2_000_000
"""Maximum number of values in a JSON file. Each takes some hundred bytes of memory."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either complete or missing, even after a kill or a power cut.

    Raises:
        TrainingError: it can't be written. An earlier file is untouched.
    """
    with beside(path.parent, path.name) as file:
        file.write(content)


@contextmanager
def beside(root: Path, name: str) -> Iterator[IO[bytes]]:
    """A file that replaces `root / name` if the block succeeds, and is removed otherwise.

    Args:
        root: the user's own folder. Its path may contain links.
        name: of the file, perhaps within further folders, none of which may be a link.
    """
    with writing(root / name), place_of(root, name) as (folder, last), folder.beside(last) as file:
        yield file


def read(root: Path, name: str, most: int) -> bytes | None:
    """The content of the file `root / name`; None if there is none.

    Args:
        root: the user's own folder. Its path may contain links.
        name: of the file, perhaps within further folders. No link is followed.
        most: maximum size in bytes.

    Raises:
        InputError: it can't be read, is too large, or is not a file in that folder.
    """
    try:
        with reading(root / name), place_of(root, name) as (folder, last):
            return folder.read(last, most)
    except FileNotFoundError:
        return None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A context in which a failure to read `path` gives one line, unless it is missing."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: can't be read: {reason}; restore it") from None


@contextmanager
def writing(path: Path, then: str = "try again or resume the run") -> Iterator[None]:
    """A context in which a failure to write `path` gives one line with the remedy.

    `then`: what to do when the reason is removed.
    """
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{path}: can't be written: {error.strerror or error}; "
            f"free space or allow writing there, then {then}"
        ) from error


def flush_folder(path: Path) -> None:
    """Flush the names in `path` to disk, if the platform supports it."""
    with opened(path) as folder:
        folder.flush()


def encode_json(value: Mapping[str, Any], path: Path, *, indent: int | None = None) -> bytes:
    """`value` as JSON in UTF-8, for the file at `path`.

    Raises:
        TrainingError: a number in it is not finite.
    """
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        place = _first_not_finite(value)
        if place is None:
            raise
        raise TrainingError(
            f"{path}: {place} is not a finite number: the training has diverged; "
            "try a lower lr_max or precision fp32"
        ) from None
    # A file name whose bytes are not UTF-8 holds lone surrogates; JSON has an escape for them.
    return text.encode("utf-8", "backslashreplace")


def read_json(root: Path, name: str) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no file.

    Raises:
        InputError: it is damaged, or not a file in that folder.
    """
    content = read(root, name, JSON_BYTES)
    return None if content is None else decode_json(content, root / name)


def decode_json(content: bytes, path: Path) -> dict[str, Any]:
    """The JSON object in the file at `path`.

    Raises:
        InputError: it is not a JSON object, or has more parts than any run has.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > JSON_PARTS or _depth(content) > JSON_DEPTH:
        raise damaged(path, "it has too many parts")
    try:
        value = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from None
    if not isinstance(value, dict):
        raise damaged(path, "not a JSON object")
    return value


def _depth(content: bytes) -> int:
    """An upper bound of the nesting depth. Brackets within texts count too."""
    depth = deepest = 0
    for bracket in re.finditer(rb"[\[\]{}]", content):
        depth += 1 if bracket[0] in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def damaged(path: Path, reason: object) -> InputError:
    """The error for a damaged file of a run."""
    return InputError(f"{path}: is damaged ({reason}); restore it, or train again")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number of JSON")


def _first_not_finite(value: object, place: str = "") -> str | None:
    """The place of the first NaN or infinity, e.g. `curve.loss.3`; None if there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else place
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = list(enumerate(value))
    else:
        return None
    places = (_first_not_finite(item, f"{place}.{key}".lstrip(".")) for key, item in items)
    return next((found for found in places if found is not None), None)
