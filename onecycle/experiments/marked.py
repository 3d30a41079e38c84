"""Tables of runs in a Markdown file, written between two comments that mark them.

    <!-- onecycle compare: runs/cutout-8 runs/cutout-16 -->
    …
    <!-- end of onecycle compare -->

The first comment names the runs with paths relative to the file, quoted as in a shell. Before them
may stand `baseline=NAME` and `columns=NAME,...`, which mean what the flags of these names do. A run
as the baseline is relative to the file too, and has a slash, as in `./run`.
"""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from markdown_it import MarkdownIt

from onecycle.errors import InputError
from onecycle.experiments.columns import read_columns
from onecycle.experiments.comparison import compare
from onecycle.writing.names import printable

END = "<!-- end of onecycle compare -->"
START = re.compile(r"<!-- onecycle compare:(?P<places>.*?)-->[ \t]*")
LINE = re.compile(r"(?P<text>[^\r\n]*)(?P<end>\r\n|\r|\n|\Z)")
BYTE_ORDER_MARK = "\ufeff"
BASELINE = "baseline"
OPTION = re.compile(rf"(?P<name>{BASELINE}|columns)=(?P<value>.*)", re.DOTALL)
EXAMPLE = f"<!-- onecycle compare: RUN... -->\n{END}".replace("\n", " and ")


@dataclass(frozen=True)
class Marking:
    """How a table is made, besides its runs.

    Attributes:
        baseline: the recipe with which all others are compared, by its name or a run of it; in a
            comment, a run is relative to the file and has a slash. Empty: all pairs are compared.
        columns: of the table of figures; empty: the usual ones.
    """

    baseline: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Marked:
    """One marked table of a file.

    Attributes:
        places: the runs that it names, as written there.
        marking: how it is made.
        head: where its first comment begins in the file's text.
        start, end: where its content begins and ends there, without the comments.
        line: number of the line of its first comment, from 1.
        line_end: how that line ends, as all that are written do.
    """

    places: tuple[str, ...]
    marking: Marking
    head: int
    start: int
    end: int
    line: int
    line_end: str


def find_marked(text: str, name: str) -> list[Marked]:
    """The marked tables of a file's `text`, in order.

    Raises:
        InputError: there is none, or one has no end or names no runs; begins with `name`.
    """
    found, begun = [], None
    for number, line in _prose(text):
        place = line.start() + (line["text"][:1] == BYTE_ORDER_MARK)
        if start := START.fullmatch(line["text"].removeprefix(BYTE_ORDER_MARK)):
            if begun:
                break
            places, marking = _read_comment(start["places"], f"{name}: line {number}")
            begun = Marked(places, marking, place, line.end("text"), 0, number, line["end"] or "\n")
        elif begun and line["text"].strip(" \t") == END:
            found.append(replace(begun, end=line.start()))
            begun = None
    if begun:
        raise InputError(f"{name}: line {begun.line}: the table has no end; add the line {END}")
    if not found:
        raise InputError(f"{name}: has no marked table; add the lines {EXAMPLE}")
    return found


def _prose(text: str) -> Iterator[tuple[int, re.Match[str]]]:
    """The lines that are not code, with their numbers from 1."""
    tokens = MarkdownIt().parse(text.removeprefix(BYTE_ORDER_MARK))
    code = {
        number
        for token in tokens
        if token.type in ("fence", "code_block") and token.map
        for number in range(*token.map)
    }
    for number, line in enumerate(LINE.finditer(text)):
        if number not in code:
            yield number + 1, line


def rewrite(
    path: str | Path, runs: Sequence[str | Path] = (), marking: Marking = Marking()
) -> tuple[str, str]:
    """The text of a Markdown file as it is, and with its marked tables brought up to date.

    Args:
        path: the file; nothing is written.
        runs: the runs that its only marked table should name from now on.
        marking: how that table is made from now on; what is empty stays as its comment has it.

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
        old, head, begin = table.marking, "", table.start
        baseline = marking.baseline or _place(old.baseline, folder)
        columns = marking.columns or old.columns
        places = list(runs) or [folder / place for place in table.places]
        try:
            found = compare(places, baseline=baseline, columns=columns)
        except InputError as error:
            of_baseline = str(error).startswith(f"--{BASELINE}: ")
            if marking.baseline if of_baseline else runs:
                raise  # it is the command line's
            told = str(error).removeprefix("--")
            raise InputError(f"{path}: line {table.line}: {told}") from None
        if runs:
            named = marking.baseline or old.baseline
            if marking.baseline and marking.baseline != found.baseline:  # it is a run, not a name
                named = _relative(marking.baseline, folder)
            head = _head([_relative(run, folder) for run in runs], Marking(named, columns))
            begin = table.head
        content = f"\n\n{found.to_markdown().strip()}\n\n".replace("\n", table.line_end)
        after = f"{after[:begin]}{head}{content}{after[table.end :]}"
    return before, after


def _place(baseline: str, folder: Path) -> str | Path:
    """The baseline of a comment: a run relative to the file if it has a slash, else a name."""
    return folder / baseline if "/" in baseline else baseline


def _relative(place: str | Path, folder: Path) -> str:
    """A place as a comment names it: relative to the file, and never taken for a word with `=`."""
    text = Path(os.path.relpath(place, folder.resolve())).as_posix()
    return text if text.startswith("../") else f"./{text}"


def _read_comment(text: str, where: str) -> tuple[tuple[str, ...], Marking]:
    """The places that a comment names, and how its table is made."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"{where}: can't read the names of runs ({error}); correct it") from None
    given: dict[str, str] = {}
    while words and (option := OPTION.match(words[0])):
        if option["name"] in given:
            raise InputError(f"{where}: {option['name']} is given twice; give it once")
        given[option["name"]] = option["value"]
        del words[0]
    if not words:
        raise InputError(f"{where}: names no runs; name them, relative to the file")
    if late := [word for word in words if OPTION.match(word)]:
        raise InputError(
            f"{where}: '{late[0]}' stands after a run; put it first, or write ./{late[0]} for a run"
        )
    try:
        columns = read_columns(given.get("columns", ""))
    except InputError as error:
        raise InputError(f"{where}: {str(error).removeprefix('--')}") from None
    return tuple(words), Marking(given.get(BASELINE, ""), columns)


def _head(places: Sequence[str], marking: Marking) -> str:
    words = [f"{BASELINE}={marking.baseline}"] if marking.baseline else []
    words += [f"columns={','.join(marking.columns)}"] if marking.columns else []
    plain = [place if OPTION.match(place[2:]) else place.removeprefix("./") for place in places]
    names = " ".join(map(shlex.quote, words + plain))
    if re.search("--|[\r\n]|[\ud800-\udfff]", names):  # the first two would end the comment
        raise InputError(
            f"--update: '{printable(names)}' can't stand in a comment; rename what has --, a line "
            "break or bytes that are not UTF-8"
        )
    return f"<!-- onecycle compare: {names} -->"


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")  # line ends stay as they are
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path}: can't be read: {reason}; name a Markdown file") from None
