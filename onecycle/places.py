"""Where the program keeps its own files on this machine. Imports nothing of the package."""

import os
from errno import ENOTDIR
from pathlib import Path


def cache_folder() -> Path:
    """`$ONECYCLE_CACHE`, else `onecycle` in the user's cache folder. It may not exist yet.

    Raises:
        RuntimeError: the variable is not set and the user has no home folder.
    """
    if own := os.environ.get("ONECYCLE_CACHE"):
        return Path(own)
    return default_cache_folder()


def default_cache_folder() -> Path:
    """`onecycle` in the user's cache folder, which is `$XDG_CACHE_HOME`, else `~/.cache`.

    A relative path in that variable is ignored, as the XDG specification demands.

    Raises:
        RuntimeError: the user has no home folder.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "onecycle"


def make_folder(path: Path) -> None:
    """Make a folder and its parents; whatever the umask, others can't write to the new ones.

    Raises:
        OSError: it can't be made, or the path is not a folder.
    """
    if path.is_dir():
        return
    if path.parent != path:
        try:
            make_folder(path.parent)
        except FileExistsError:
            raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), str(path)) from None
    try:
        path.mkdir(0o755)
    except FileExistsError:  # another process was faster
        if not path.is_dir():
            raise
