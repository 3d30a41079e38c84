"""Compile the C source once on this machine, and open the library. No torch.

The compiled library is kept in the user's cache. Its name is a hash of everything it depends on:
source, compiler, flags and CPU. It is code, so it is opened only if no one but the user (or root)
could have written it. A cache that others can write to is not used, and a note says so.

If a compiler is missing, can't be started, fails, or takes too long, the next one is tried.
"""

import ctypes
import hashlib
import os
import platform
import secrets
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from onecycle.errors import KernelsUnavailable
from onecycle.places import cache_folder, default_cache_folder, make_folder

NORMS = Path(__file__).with_name("kernels.c")
"""Compiled with one of ELEMENT_BF16, ELEMENT_FLOAT and ELEMENT_DOUBLE."""

CONVOLUTION = Path(__file__).with_name("convolution.c")
"""Needs a CPU with AMX."""

EXPORTED = {NORMS: "block_rows", CONVOLUTION: "allowed"}
"""A function of each source. A library without it was not made by a C compiler."""

FLAGS = (
    "-O3",
    "-march=native",
    "-fopenmp",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-std=gnu11",
)

COMPILERS = ("gcc", "cc", "clang")
"""Tried in this order, after `$CC`."""

LONGEST = 40.0
"""Most seconds for one call of a compiler. It usually takes one or two."""

SECONDS = 90.0
"""Most seconds for all compilers together, because each may hang."""

VERSION_SECONDS = 10.0
"""Most seconds for a compiler to report its version."""

Command = tuple[str, ...]
"""A compiler: a program, possibly with arguments, as in `ccache gcc`."""

_notes: list[str] = []
_hung: set[Command] = set()


def take_notes() -> list[str]:
    """Notes for the user on the compilations of this process; each line is returned once."""
    taken = list(dict.fromkeys(_notes))
    _notes.clear()
    return taken


def library(source: Path, cpu: str, *macros: str) -> ctypes.CDLL:
    """The library of one source, compiled if it is not in the cache yet.

    Args:
        source: `NORMS` or `CONVOLUTION`.
        cpu: the identity of this CPU; code for another one may not run here.
        macros: names to define for the compiler.

    Raises:
        KernelsUnavailable: there is no compiler, or none makes a library that can be opened.
    """
    if platform.system() != "Linux":
        raise KernelsUnavailable(f"not supported on {platform.system()}")
    reasons: list[str] = []
    job = _Job(source, cpu, macros, until=time.monotonic() + SECONDS)
    for compiler in _compilers(reasons):
        try:
            found = _made_by(compiler, job)
        except KernelsUnavailable as reason:
            reasons.append(str(reason))
        except OSError as error:  # it can't be started, or the disk is full
            reasons.append(f"{shlex.join(compiler)}: {error.strerror or error}")
        else:
            _notes.extend(f"kernels: {reason}; {compiler[0]} is used instead" for reason in reasons)
            return found
    raise KernelsUnavailable("; ".join(dict.fromkeys(reasons)) or "no C compiler found (gcc)")


@dataclass(frozen=True)
class _Job:
    """What to compile, and the deadline on the clock of `time.monotonic`."""

    source: Path
    cpu: str
    macros: tuple[str, ...]
    until: float


def _compilers(reasons: list[str]) -> Iterator[Command]:
    """The available ones of `$CC` and the usual compilers; why `$CC` isn't goes to `reasons`."""
    given, own = os.environ.get("CC", ""), []
    try:
        own = shlex.split(given)
    except ValueError as error:
        reasons.append(f"CC: '{given}' can't be read ({error})")
    if own and not shutil.which(own[0]):
        reasons.append(f"CC: there is no program '{own[0]}'")
    commands = [own] * bool(own) + [[name] for name in COMPILERS]
    found = [(shutil.which(name), *more) for name, *more in commands]
    for name, *more in dict.fromkeys(found):
        if name and (name, *more) in _hung:
            reasons.append(f"{shlex.join((name, *more))} takes too long")
        elif name:
            yield (name, *more)


def _made_by(compiler: Command, job: _Job) -> ctypes.CDLL:
    """The compiler's library: from the cache, compiled into it, or compiled for this process."""
    name = f"kernels-{_key(compiler, job)}.so"
    folder, problems = _folder()
    if folder is not None:
        place = folder / name
        try:
            was_there = _is_whole(place)
            if not was_there:
                _compile(compiler, job, place)
            if _is_ours(place):
                found = _open(place, job)
                if not was_there:
                    _notes.extend(f"kernels: {p}; they are kept in '{folder}'" for p in problems)
                return found
            problems.append(f"others can write to '{place}'")
        except OSError as error:  # it can't be written, or can't be opened there
            problems.append(f"'{folder}' can't be used ({error.strerror or error})")
    with tempfile.TemporaryDirectory(prefix="onecycle-") as private:
        _compile(compiler, job, place := Path(private) / name)
        found = _open(place, job)  # stays open after its file is removed
    _notes.extend(f"kernels: {p}; {NOT_CACHED}" for p in problems)
    return found


NOT_CACHED = (
    "every process compiles them again; set ONECYCLE_CACHE to a folder that only you can write to"
)


def _folder() -> tuple[Path | None, list[str]]:
    """The folder for compiled code, if there is one, and why other folders can't be used.

    It is the cache, or the user's default cache if others can write to the cache.
    """
    problems = []
    try:
        default = default_cache_folder()
        for folder in dict.fromkeys((cache_folder(), default)):
            if problem := _problem(folder, mend=folder == default):
                problems.append(problem)
            else:
                return folder, problems
    except RuntimeError as error:
        problems.append(f"there is no cache ({error})")
    return None, problems


def _problem(folder: Path, *, mend: bool) -> str | None:
    """Why compiled code can't be kept in a folder, which is created if needed.

    A folder that an earlier version made under a umask of 002 is writable by the user's group;
    with `mend` that permission is removed.
    """
    try:
        make_folder(folder)
        status = folder.stat()
        if mend and status.st_uid == os.geteuid() and status.st_mode & OTHERS:
            folder.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS)
        if not _is_ours(folder):
            return f"others can write to '{folder}'"
        if not os.access(folder, os.W_OK):
            return f"'{folder}' is not writable"
    except OSError as error:
        return f"'{folder}' can't be used ({error.strerror or error})"
    return None


def _key(compiler: Command, job: _Job) -> str:
    parts = (
        job.source.read_bytes(),
        _version(compiler),
        repr((compiler, FLAGS, job.cpu, job.macros)).encode(),
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


@cache
def _version(compiler: Command) -> bytes:
    """The compiler's version text; a compiler that fails here may still compile."""
    with tempfile.TemporaryFile() as said:
        _ended(compiler, ("--version",), VERSION_SECONDS, stdout=said)
        said.seek(0)
        return said.read(2**16)


def _compile(compiler: Command, job: _Job, place: Path) -> None:
    """Compile to a temporary file, then rename it to `place`: no partial library is ever seen."""
    partial = place.with_name(f"{place.name}.{secrets.token_hex(4)}.tmp")
    compiled = partial.with_suffix(".o")
    try:
        defined = [f"-D{name}" for name in job.macros]
        source = ("-c", str(job.source), "-o", str(compiled))
        _run(compiler, (*FLAGS, *defined, *source), job.until)
        # Linked without OpenMP's library: PyTorch has loaded it already, and its threads are used.
        _run(compiler, ("-shared", str(compiled), "-o", str(partial)), job.until)
        if not partial.is_file():
            raise KernelsUnavailable(f"{shlex.join(compiler)} made nothing")
        code = partial.read_bytes()
        partial.write_bytes(
            code + hashlib.sha256(code).digest()
        )  # the loader ignores bytes after the code
        partial.chmod(0o700)
        _open(partial, job)
        partial.replace(place)
    finally:
        for path in (partial, compiled):
            path.unlink(missing_ok=True)


def _is_whole(place: Path) -> bool:
    """Whether `place` exists and ends with its checksum; a torn library would crash the process."""
    if not place.exists():
        return False
    content = place.read_bytes()
    return hashlib.sha256(content[:-32]).digest() == content[-32:]


def _run(compiler: Command, arguments: Command, until: float) -> None:
    """Run a compiler.

    Raises:
        KernelsUnavailable: it fails or takes too long.
        OSError: it can't be started.
    """
    seconds = min(LONGEST, until - time.monotonic())
    with tempfile.TemporaryFile() as said:
        code = _ended(compiler, arguments, seconds, stderr=said)
        if code == 0:
            return
        said.seek(0)
        lines = said.read(2**16).decode(errors="replace").strip().splitlines()
    raise KernelsUnavailable(
        f"{shlex.join(compiler)} failed: {lines[0] if lines else 'no message'}"
    )


def _ended(
    compiler: Command,
    arguments: Command,
    seconds: float,
    stdout: IO[bytes] | int = subprocess.DEVNULL,
    stderr: IO[bytes] | int = subprocess.DEVNULL,
) -> int:
    """The exit code of a compiler, whose output goes to files.

    It has its own process group, which is ended with it: a compiler starts other programs, and we
    would wait for a pipe as long as one of them has it open.
    """
    process = subprocess.Popen(
        (*compiler, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=os.environ | {"LC_ALL": "C"},
        start_new_session=True,
    )
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        _hung.add(compiler)
        raise KernelsUnavailable(f"{shlex.join(compiler)} took more than {seconds:.0f} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


OTHERS = stat.S_IWGRP | stat.S_IWOTH


def _is_ours(path: Path) -> bool:
    """Whether only this user or root can have written `path`."""
    status = path.stat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & OTHERS


def _open(place: Path, job: _Job) -> ctypes.CDLL:
    """The library at `place`.

    Raises:
        OSError: it can't be opened.
        KernelsUnavailable: it lacks the function of its source.
    """
    found = ctypes.CDLL(str(place), mode=os.RTLD_NOW)
    if not hasattr(found, EXPORTED[job.source]):
        raise KernelsUnavailable(f"{place} has no {EXPORTED[job.source]}")
    return found
