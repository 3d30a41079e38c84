"""One use of a command: what the user gave, and how it is answered."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from onecycle.cli import terminal
from onecycle.cli.flags import Given
from onecycle.cli.options import Options
from onecycle.config.declaring import settings, spelled
from onecycle.errors import InputError
from onecycle.processes import speaks
from onecycle.progress import Progress
from onecycle.writing.outputs import check_output


class OutputLost(Exception):
    """Standard output has lost its reader: the pipe or the terminal was closed."""


@contextmanager
def heard() -> Iterator[None]:
    """Raise an error of its own when standard output has lost its reader.

    Raises:
        OutputLost: the reader is gone. The work itself is done.
    """
    try:
        yield
    except OSError as error:
        lost = isinstance(error, BrokenPipeError) or error.errno in (errno.EIO, errno.ENXIO)
        if not lost:
            raise
        raise OutputLost from None


@dataclass(frozen=True)
class Call:
    """One use of a command.

    Attributes:
        given: the operands and the recipe's fields that the user gave.
        options: the flags that are not fields of a recipe.
        command_line: the whole of it, for the record.
        started: `time.perf_counter()` when the command began.
    """

    given: Given
    options: Options
    command_line: tuple[str, ...]
    started: float

    @property
    def operand(self) -> str:
        """The word that is not a flag; empty if there is none."""
        return next(iter(self.given.operands), "")

    @property
    def network(self) -> str | None:
        """The network that `--model` names; None without it. Only this is ever imported."""
        return self.given.values.get("model")

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A listener on standard error while the block runs.

        What the user's own network prints goes there too.
        """
        with (
            terminal.shown(sys.stderr, quiet=self.options.quiet or not speaks()) as progress,
            redirect_stdout(sys.stderr) if self.network else nullcontext(),
        ):
            yield progress

    def place(
        self, option: str, reads: Iterable[str | Path] = (), *, picture: bool = False
    ) -> Path | None:
        """Path of the file that an option names; None if the option is not given.

        `reads` and `picture`: as for `check_output`. A picture is a PNG file.

        Raises:
            InputError: its folder does not exist, the path is itself a folder or a picture of
                another kind, or a file would be lost.
        """
        name, flag = getattr(self.options, option), spelled(option)
        if not name:
            return None
        path = Path(name)
        if path.is_dir():
            raise InputError(f"{flag}: '{name}' is a folder; name a file")
        if not path.parent.is_dir():
            raise InputError(f"{flag}: there is no folder '{path.parent}'; make it first")
        if picture and path.suffix.lower() not in ("", ".png"):
            raise InputError(f"{flag}: '{name}' would be a PNG file; end its name in .png")
        return check_output(flag, path, reads, picture=picture)

    @contextmanager
    def environment(self) -> Iterator[None]:
        """The environment while the command runs: `--mirror` stands for a variable of its own.

        Raises:
            InputError: no variable can hold its value.
        """
        if not self.options.mirror:
            yield
            return
        from onecycle.data.download import MIRRORS

        before = os.environ.get(MIRRORS)
        try:
            os.environ[MIRRORS] = self.options.mirror
        except ValueError:
            raise InputError(
                f"--mirror: {self.options.mirror!r} is not an address; give a URL"
            ) from None
        try:
            yield
        finally:
            del os.environ[MIRRORS]
            if before is not None:
                os.environ[MIRRORS] = before

    def answer(self, value: Mapping[str, Any], show: Callable[[], None]) -> None:
        """Give the result: as JSON if asked for, else as `show` draws it.

        Of several processes, one gives it.
        """
        if not speaks():
            return
        with heard():
            if self.options.json:
                write_json(value)
            else:
                show()


def with_listed(*paths: str) -> Iterator[str | Path]:
    """Paths of images that a command reads; after a table, the images that it lists.

    Raises:
        InputError: a table can't be read.
    """
    from onecycle.data.folder.manifest import paths_of

    for path in paths:
        yield path
        yield from paths_of(path)


def write(text: str) -> None:
    """Print the text unchanged on standard output."""
    with heard():
        sys.stdout.write(text)


def write_rows(text: str, stream: TextIO) -> None:
    """Print rows at once, in UTF-8 whatever the locale; a file name as its bytes.

    `stream`: standard output, which may stand for standard error while a network's code runs.
    """
    with heard():
        _write_bytes(text.encode("utf-8", "surrogateescape"), stream)
        stream.flush()


def write_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output, in UTF-8 whatever the locale.

    File names in a locale other than UTF-8 are written as their bytes. Bytes that are not UTF-8
    either become JSON's escapes for lone surrogates.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    names = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    _write_bytes(names.encode("utf-8", "backslashreplace"), sys.stdout)


def _write_bytes(output: bytes, stream: TextIO) -> None:
    stream.flush()
    if hasattr(stream, "buffer"):
        stream.buffer.write(output)
    else:  # a text stream that someone put in its place
        stream.write(output.decode("utf-8", "surrogateescape"))


def call_of(given: Given, command_line: tuple[str, ...], started: float) -> Call:
    """The call that the user's words make.

    Raises:
        InputError: an option has an invalid value.
    """
    options = {name: value for name, value in given.values.items() if name in settings(Options)}
    changes = {name: value for name, value in given.values.items() if name not in options}
    return Call(Given(given.operands, changes), Options(**options), command_line, started)
