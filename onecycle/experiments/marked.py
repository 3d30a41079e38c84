"""Tables of runs in a Markdown file, written between two comments that mark them.

    <!-- onecycle compare: runs/cutout-8 runs/cutout-16 -->
    …
    <!-- end of onecycle compare -->

The first comment names the runs with paths relative to the file, quoted as in a shell.
"""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onecycle.errors import InputError
from onecycle.experiments.comparison import compare

END = "<!-- end of onecycle compare -->"
START = re.compile(r"^<!-- onecycle compare:(?P<places>[^\n]*?)-->[ \t]*$", re.MULTILINE)
EXAMPLE = f"<!-- onecycle compare: RUN... -->\n{END}".replace("\n", " and ")


@dataclass(frozen=True)
class Marked:
    """One marked table of a file.

    Attributes:
        places: the runs that it names, as written there.
        start, end: where its content begins and ends in the file's text, without the comments.
        line: number of the line of its first comment, from 1.
    """

    places: tuple[str, ...]
    start: int
    end: int
    line: int


def find_marked(text: str, name: str) -> list[Marked]:
    """The marked tables of a file's `text`, in order.

    Raises:
        InputError: there is none, or one has no end or names no runs; begins with `name`.
    """
    found = []
    for match in START.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        following = START.search(text, match.end())
        end = text.find(END, match.end(), following.start() if following else len(text))
        if end < 0:
            raise InputError(f"{name}: line {line}: the table has no end; add the line {END}")
        found.append(
            Marked(_places(match["places"], f"{name}: line {line}"), match.end(), end, line)
        )
    if not found:
        raise InputError(f"{name}: has no marked table; add the lines {EXAMPLE}")
    return found


def rewrite(path: str | Path, runs: Sequence[str | Path] = ()) -> tuple[str, str]:
    """The text of a Markdown file as it is, and with its marked tables brought up to date.

    Args:
        path: the file; nothing is written.
        runs: the runs that its only marked table should name from now on.

    Raises:
        InputError: the file can't be read, has no marked table or more than one while `runs` are
            given, or its runs can't be compared.
    """
    path = Path(path)
    before = _read(path)
    folder = (path.resolve() if path.is_symlink() else path).parent
    marked = find_marked(before, str(path))
    if runs and len(marked) > 1:
        raise InputError(
            f"{path}: has {len(marked)} marked tables, so it is unclear which one is meant; "
            "name the runs in the table's comment, not on the command line"
        )
    after = before
    for table in reversed(marked):  # from the end, so that earlier positions stay valid
        if runs:
            head = _head([os.path.relpath(run, folder) for run in runs])
            begin = after.rindex("<!--", 0, table.start)
            places: Sequence[str | Path] = runs
        else:
            head, begin = "", table.start
            places = [folder / place for place in table.places]
        content = compare(places).to_markdown().strip()
        after = f"{after[:begin]}{head}\n\n{content}\n\n{after[table.end :]}"
    return before, after


def _places(text: str, where: str) -> tuple[str, ...]:
    try:
        places = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"{where}: can't read the names of runs ({error}); correct it") from None
    if not places:
        raise InputError(f"{where}: names no runs; name them, relative to the file")
    return places


def _head(places: Sequence[str]) -> str:
    names = " ".join(shlex.quote(Path(place).as_posix()) for place in places)
    if "--" in names or "\n" in names:  # either would end the comment
        raise InputError(f"run: '{names}' can't stand in a comment; name a folder above without --")
    return f"<!-- onecycle compare: {names} -->"


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # line ends stay as they are
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path}: can't be read: {reason}; name a Markdown file") from None
