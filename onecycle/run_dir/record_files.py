"""A record as a JSON file in a folder: read and checked, or written whole."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from onecycle.errors import InputError
from onecycle.run_dir.checking import Misfit, from_json, to_json
from onecycle.run_dir.files import damaged, encode_json, read_json, write_atomically
from onecycle.run_dir.records.base import Recorded

Record = TypeVar("Record", bound=Recorded)


def read_record(
    root: Path, kind: type[Record], check: Callable[[Record], object] | None = None
) -> Record | None:
    """The record in a folder's file of its kind; None if there is none.

    Args:
        root: the user's own folder. No link in it is followed.
        kind: of the record.
        check: raises an InputError if values do not fit together.

    Raises:
        InputError: the file is damaged, or not a file in that folder.
    """
    value = read_json(root, kind.FILE)
    if value is None:
        return None
    path = root / kind.FILE
    try:
        found = from_json(value, kind)
        if check is not None:
            check(found)
    except Misfit as misfit:
        raise damaged(path, misfit) from None
    except InputError as error:
        raise InputError(f"{path}: is damaged ({error}); restore it") from None
    return found


def write_record(root: Path, record: Recorded) -> None:
    """Write the file of a record, complete or not at all.

    Raises:
        TrainingError: a number in it is not finite, or the file can't be written.
    """
    path = root / record.FILE
    write_atomically(path, encode_json(to_json(record), path, indent=2))
