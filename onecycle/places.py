"""Where the program keeps files of its own on this machine. Imports nothing."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$ONECYCLE_CACHE`, else `onecycle` in the user's cache folder. It may not exist yet.

    Raises:
        RuntimeError: there is no such variable and the user has no home folder.
    """
    if own := os.environ.get("ONECYCLE_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "onecycle"
