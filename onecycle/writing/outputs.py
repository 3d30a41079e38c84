"""Files that a command writes where the user says: what they must never replace."""

import os
from collections.abc import Iterable
from pathlib import Path

from onecycle.errors import InputError

PARTS = (
    (
        ("recipe.toml", "environment.json"),
        """
        recipe.toml network.json environment.json lr_range_test.json steps.jsonl metrics.jsonl
        result.json predictions.npz audit.json examples.npz report.html train.log .lock
        checkpoints plots tensorboard
        """.split(),
        "run",
    ),
    (("trials.json",), ["trials.json"], "trials"),
    (("sweep.json",), "sweep.json study.db best.toml sweep.html".split(), "sweep"),
)
"""Of each kind of folder: the files by which it is known, the names of its parts, and its own."""


def check_output(
    flag: str, path: Path, reads: Iterable[str | Path] = (), *, picture: bool = False
) -> Path:
    """The path, if no file is lost by writing to it.

    Args:
        flag: the option that names it, for the message.
        path: a file that may exist, in a folder that does.
        reads: files and folders that the command reads; those that don't exist are passed over.
        picture: whether an image is written, which a folder that is read would then have besides.

    Raises:
        InputError: it is a part of a run, is read by the command, or is a picture in a folder that
            the command reads.
    """
    real = Path(os.path.realpath(path.parent)) / path.name  # a link itself would be replaced
    for depth, folder in enumerate(real.parents):
        for known, parts, kind in PARTS:
            inside = real.parts[len(folder.parts)].casefold()
            if depth < 2 and inside in parts and all((folder / each).is_file() for each in known):
                raise InputError(
                    f"{flag}: '{path}' is a part of the {kind} '{folder.name}'; name another file"
                )
    refuse_read(flag, path, reads, picture=picture)
    return path


def refuse_read(
    flag: str, path: Path, reads: Iterable[str | Path], *, picture: bool = False
) -> None:
    """Refuse a path that is one of the files read, or a picture in one of the folders.

    Raises:
        InputError: it is. The arguments are those of `check_output`.
    """
    exists = path.exists()
    if not exists and not picture:
        return
    real = Path(os.path.realpath(path.parent))
    for each in reads:
        if os.path.isdir(each):
            if picture and real.is_relative_to(os.path.realpath(each)):
                raise InputError(
                    f"{flag}: '{path}' is in '{each}', so the next call would read it too; name a "
                    "place elsewhere"
                )
        elif exists and os.path.exists(each) and os.path.samefile(path, each):
            raise InputError(f"{flag}: '{path}' is read by this command; name another file")
