"""A lock, so that only one process at a time owns a run folder."""

import os
import platform
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from onecycle.errors import InputError
from onecycle.run_dir.files import read, write_atomically
from onecycle.run_dir.folder import Folder, opened

FOLDERS = ("checkpoints", "plots")
"""Folders in every run folder."""

FURTHER_FOLDERS = ("tensorboard",)
"""Folders in a run folder that was asked for them."""

LOGS = ("steps.jsonl", "metrics.jsonl", "train.log")
"""Files that are appended to."""

WHOLE = (
    "recipe.toml", "environment.json", "network.json", "lr_range_test.json", "audit.json",
    "result.json", "predictions.npz", "examples.npz", "report.html", ".owner",
)  # fmt: skip
"""Files that are written under another name and renamed. So are logs when they are cut back."""

PLOT = r"[a-z_]+\.png"
REMAINS = {
    ".": re.compile(rf"\.({'|'.join(map(re.escape, (*WHOLE, *LOGS)))})\.\d+\.tmp"),
    "plots": re.compile(rf"\.{PLOT}\.\d+\.tmp"),
}
"""For each folder, the names of files while they are written. Nothing else is ever removed."""


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own a run folder, and remove the remains of interrupted writes.

    Raises:
        InputError: another process owns it (the message names it), it can't be locked, or a folder
            or a log in it is a link.
    """
    lock = _acquire(folder)
    owner = folder / ".owner"
    try:
        with opened(folder) as run:
            _hold(run)
            _remove_remains(run)
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
        with opened(folder) as run:
            run.hold(".lock", stat.S_IFREG)
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
        return (read(folder, ".owner", 1000) or b"another process").decode("utf-8")
    except (InputError, ValueError):
        return "another process"


def _hold(run: Folder) -> None:
    """Refuse a run whose folders or logs are links, before hours of work start."""
    for name in FOLDERS:
        run.hold(name, stat.S_IFDIR)
        if run.kind(name) is None:  # an empty folder is easily lost on the way
            run.make(name)
    for name in FURTHER_FOLDERS:
        run.hold(name, stat.S_IFDIR)
    for name in LOGS:
        run.hold(name, stat.S_IFREG)


def _remove_remains(run: Folder) -> None:
    """Remove files that killed processes left half-written."""
    for name, pattern in REMAINS.items():
        with run.below(name) as folder:
            for entry in filter(pattern.fullmatch, folder.entries()):
                with suppress(OSError):
                    folder.remove(entry)
