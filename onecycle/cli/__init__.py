"""The `onecycle` command.

Exit codes: 0 done; 1 the work failed; 2 bad usage or input; 129, 130 or 143 stopped by SIGHUP,
SIGINT or SIGTERM. `onecycle` alone lists all commands and exits with 0. A mistake is reported in
one line on standard error.
"""

import codecs
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from time import perf_counter
from typing import NoReturn

from onecycle import __version__
from onecycle.cli.call import OutputLost, call_of, heard, write
from onecycle.cli.commands import COMMANDS
from onecycle.cli.flags import parse
from onecycle.cli.inherited import start_without_harmful
from onecycle.config import Recipe
from onecycle.config.names import unknown_name
from onecycle.errors import InputError, Interrupted, StaleError, TrainingError
from onecycle.processes import calm_pytorch, place, speaks
from onecycle.recipes import RECIPES
from onecycle.writing.names import printable

DONE, FAILED, BAD_INPUT = 0, 1, 2

SHARED = ("train", "resume")
"""The commands that several processes can carry out together."""

LONGEST_MESSAGE = 400
"""Characters of an error line; the middle of a longer one is left out."""


class _Terminated(BaseException):
    """SIGTERM or SIGHUP came while there was nothing to save."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return its exit code."""
    started = perf_counter()
    words = tuple(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    calm_pytorch()
    if argv is None:
        start_without_harmful(words)
    try:
        return _answered(words, started)
    finally:
        _let_go_of_lost_streams()


def _answered(words: tuple[str, ...], started: float) -> int:
    """Run the command line; its exit code, after one line on standard error if it failed."""
    try:
        with _termination_raised():
            _dispatch(words, started)
            with heard():
                sys.stdout.flush()
        return DONE
    except InputError as error:
        return _complain(str(error), BAD_INPUT)
    except (TrainingError, StaleError) as error:
        return _complain(str(error), FAILED)
    except Interrupted as stop:
        return _say(f"onecycle: stopped{_advice(stop)}", 128 + stop.signal_number)
    except KeyboardInterrupt:
        return _say("onecycle: stopped", 128 + signal.SIGINT)
    except _Terminated as stop:
        return _say("onecycle: stopped", 128 + stop.signal_number)
    except (OutputLost, BrokenPipeError):  # the reader closed the pipe or the terminal
        return DONE
    except ModuleNotFoundError as error:
        from onecycle.cli.missing import remedy

        told = remedy(error.name or "")
        if told is None:
            raise
        return _complain(told, BAD_INPUT)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{error.strerror or error}", FAILED)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _complain("out of memory; lower batch_size or width, or image_size", FAILED)


def _advice(stop: Interrupted) -> str:
    """How to continue the stopped run; empty if there is no run yet."""
    if stop.go_on:
        return f"; go on with: {stop.go_on}"
    if stop.run is None:
        return ""
    run = shlex.quote(stop.run)
    if stop.finished:
        return (
            f"; the training is finished and saved; draw its pictures with: onecycle report {run}"
        )
    return f"; go on with: onecycle resume {run}"


def _prepare_streams() -> None:
    """Make output safe on streams that are closed or can't show a character."""
    codecs.register_error("onecycle", _shown_as_it_can_be)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="onecycle")
    # Without a home directory, it prints on standard error where it keeps its fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def _shown_as_it_can_be(error: UnicodeError) -> tuple[str | bytes, int]:
    """A terminal that can't show `±` shows `?`; bytes of a file name come out as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return b"".join(_bytes_of_name(letter) or b"?" for letter in letters), error.end


def _bytes_of_name(letter: str) -> bytes | None:
    """The byte of a file name that is not text in this locale (PEP 383), or None."""
    return bytes([ord(letter) - 0xDC00]) if "\udc80" <= letter <= "\udcff" else None


def _dispatch(words: tuple[str, ...], started: float) -> None:
    """Find the command that the first word names, and run it or show its help."""
    if not words or words[0] in ("-h", "--help", "help"):
        from onecycle.cli.usage import overview

        write(overview({name: (c.operand, c.summary) for name, c in COMMANDS.items()}))
        return
    if words[0] in ("--version", "-V"):
        write(f"onecycle {__version__}\n")
        return
    name, arguments = words[0], words[1:]
    if name.startswith("-"):
        raise InputError(f"unexpected '{name}' before the command; {_meant(name)}")
    if name not in COMMANDS:
        known = dict.fromkeys((*COMMANDS, "help"))
        if name.lower() == "version":
            raise InputError("unknown command 'version'; did you mean '--version'?")
        raise InputError(unknown_name("command", name, known))
    command = COMMANDS[name]
    base = next((RECIPES[word].recipe for word in arguments if word in RECIPES), Recipe())
    accepted = command.words(name, base)
    if "-h" in arguments or "--help" in arguments:
        from onecycle.cli import usage

        summary = f"{command.summary[0].upper()}{command.summary[1:]}."
        with heard():
            usage.show(accepted, summary, command)
        return
    if name not in SHARED and place().count > 1:
        raise InputError(f"{name}: works in one process; start it without torchrun")
    call = call_of(parse(arguments, accepted), ("onecycle", *words), started)
    with call.environment():
        command.work(call)


def _meant(flag: str) -> str:
    """The remedy for a flag in the place of a command: the one that was meant, else the help."""
    near = get_close_matches(flag.lower(), ("--help", "--version"), n=1)
    if flag == "-v":
        near = ["--version"]
    return f"did you mean '{near[0]}'?" if near else "see onecycle --help"


def _complain(message: str, code: int) -> int:
    """One line on standard error: whatever was in the message, control characters as codes."""
    if len(message) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2
        message = f"{message[:half]} … {message[-half:]}"
    line = printable(" ".join(message.splitlines()))
    return _say(f"onecycle: error: {line}", code)


def _say(line: str, code: int) -> int:
    """One line on standard error, if this process is the one of several that speaks."""
    if not speaks():
        return code
    with suppress(OSError):  # standard error is closed
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    return code


def _let_go_of_lost_streams() -> None:
    """Redirect lost streams to the null device before the interpreter flushes them at exit.

    Otherwise that flush would fail and change the exit code to 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_out_of_memory(error: BaseException) -> bool:
    """PyTorch has an exception class for GPUs, but only a message for CPUs."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


@contextmanager
def _termination_raised() -> Iterator[None]:
    """Make SIGTERM and SIGHUP unwind the program as Ctrl-C does: nothing is left half-done.

    A running training handles these signals itself and saves first. A signal that is ignored stays
    ignored: this is how `nohup` lets a program outlive its terminal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def unwind(number: int, _: object) -> NoReturn:
        if os.getpid() != owner:  # a forked worker, which inherits the handler
            os._exit(128 + number)
        raise _Terminated(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    heeded = {n: h for n, h in before.items() if h not in (signal.SIG_IGN, None)}
    try:
        for number in heeded:
            signal.signal(number, unwind)
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
