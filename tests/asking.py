"""A command line carried out in this process, and what it printed."""

import io
import shlex
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from onecycle.cli import main


class Answer(NamedTuple):
    """Exit code, standard output and standard error."""

    code: int
    out: str
    err: str


def ask(line: str | list[str]) -> Answer:
    """The answer to a command line, without the program's name."""
    argv = shlex.split(line) if isinstance(line, str) else line
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        code = main(argv)
    return Answer(code, out.getvalue(), err.getvalue())
