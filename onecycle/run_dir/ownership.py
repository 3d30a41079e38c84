"""One process at a time owns a run folder, by a lock."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from onecycle.errors import InputError
from onecycle.run_dir.files import write_atomically


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own a run folder, and remove remains of writes that were killed.

    Raises:
        InputError: another process owns it (the message names it), or it can't be locked.
    """
    lock = _acquire(folder)
    owner = folder / ".owner"
    try:
        _remove_remains(folder)
        write_atomically(owner, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        with suppress(OSError):
            owner.unlink()
        # The lock's file stays: were it removed, two processes could hold two of them.
        lock.release()


def _acquire(folder: Path) -> FileLock:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: {_owner(folder)} is working on this run; wait for it or stop it"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{folder}: can't be locked: {reason}; copy the run to a folder of your own"
        ) from None
    return lock


def _owner(folder: Path) -> str:
    try:
        return (folder / ".owner").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return "another process"


def _remove_remains(run: Path) -> None:
    """Remove what killed processes left of files that they were writing."""
    for folder in (run, run / "plots"):
        for remains in folder.glob(".*.tmp"):
            with suppress(OSError):
                remains.unlink()
