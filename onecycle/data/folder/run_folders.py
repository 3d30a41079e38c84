"""Folders that this program has made: they may lie among the images, and have none to train on."""

import os
from collections.abc import Collection
from contextlib import suppress

from onecycle.writing.outputs import PARTS


def has_only_runs(folder: str, images: Collection[str]) -> bool:
    """Whether a folder is that of a run, of trials or of a sweep, or holds only such folders.

    Args:
        folder: its path.
        images: endings of images, in lower case; a folder that has some itself is none of these.
    """
    if _is_runs(folder):
        return True
    found = False
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:  # of a class folder only the first few are looked at
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not _is_runs(entry.path):
                    return False
                found = True
            elif os.path.splitext(entry.name)[1].lower() in images:
                return False
    return found


def _is_runs(folder: str) -> bool:
    return any(
        all(os.path.isfile(os.path.join(folder, name)) for name in known) for known, _, _ in PARTS
    )
