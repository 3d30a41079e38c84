"""Whole files: written beside their place, flushed to disk, renamed."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from onecycle.errors import InputError, TrainingError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a kill or a power cut.

    Raises:
        TrainingError: it can't be written; what was there before is untouched.
    """
    with beside(path) as file:
        file.write(content)


@contextmanager
def beside(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well, and vanishes otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        flush_folder(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Have a failure to write `path` be one line that names it and the remedy."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{path}: can't be written: {error.strerror or error}; "
            "free space or allow writing there, then try again or resume the run"
        ) from error


def flush_folder(path: Path) -> None:
    """Have a rename in `path` survive a power cut, where the platform lets one ask for it."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no file.

    Raises:
        InputError: it is damaged.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged ({error}); restore it, or train again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: is damaged (not a JSON object); restore it, or train again")
    return value


def _first_not_finite(value: object, place: str = "") -> str | None:
    """Where the first NaN or infinity is, e.g. `curve.loss.3`, or None where there is none."""
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
