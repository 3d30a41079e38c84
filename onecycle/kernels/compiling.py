"""Compiling the C source on this machine, once, and opening what came of it. No torch.

The compiled library lies in the user's cache under a name that holds everything it depends on: the
source, the compiler, its flags and the CPU. It is code, so it is opened only if nobody but the user
(or root) could have written it; a cache that others can write is passed over, and that is said.

A compiler that is missing, can't be started, fails, or takes too long is passed over for the next.
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
"""A function of each source. A library without it was made by something that is no compiler."""

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
"""Seconds that one call of a compiler may take. It takes one or two."""

SECONDS = 90.0
"""Seconds for all compilers together, as each may hang."""

VERSION_SECONDS = 10.0
"""Seconds that a compiler has to say its version."""

Command = tuple[str, ...]
"""A compiler: a program, perhaps with arguments, as in `ccache gcc`."""

_notes: list[str] = []
_hung: set[Command] = set()


def take_notes() -> list[str]:
    """What a user should know about the compiling done in this process; each line once."""
    taken = list(dict.fromkeys(_notes))
    _notes.clear()
    return taken


def library(source: Path, cpu: str, *macros: str) -> ctypes.CDLL:
    """The functions of one source, compiled if they are not in the cache yet.

    Args:
        source: `NORMS` or `CONVOLUTION`.
        cpu: what tells this CPU from others; code for another one may not run here.
        macros: names defined for the compiler.

    Raises:
        KernelsUnavailable: there is no compiler, or none makes a library that can be opened.
    """
    if platform.system() != "Linux":
        raise KernelsUnavailable(f"not tried on {platform.system()} yet")
    reasons: list[str] = []
    job = _Job(source, cpu, macros, until=time.monotonic() + SECONDS)
    for compiler in _compilers(reasons):
        try:
            found = _made_by(compiler, job)
        except KernelsUnavailable as reason:
            reasons.append(str(reason))
        except OSError as error:  # it can't be started, or there is no room for what it makes
            reasons.append(f"{shlex.join(compiler)}: {error.strerror or error}")
        else:
            _notes.extend(f"kernels: {reason}; {compiler[0]} serves instead" for reason in reasons)
            return found
    raise KernelsUnavailable("; ".join(dict.fromkeys(reasons)) or "no C compiler found (gcc)")


@dataclass(frozen=True)
class _Job:
    """What is to be compiled, and by when on the clock of `time.monotonic`."""

    source: Path
    cpu: str
    macros: tuple[str, ...]
    until: float


def _compilers(reasons: list[str]) -> Iterator[Command]:
    """`$CC` and the usual ones, as far as they are there; adds to `reasons` why `$CC` is not."""
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
    """The library by this compiler: kept in the cache, made there, or made for this process."""
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
        except OSError as error:  # it can't be written, or not be opened there
            problems.append(f"'{folder}' can't be used ({error.strerror or error})")
    with tempfile.TemporaryDirectory(prefix="onecycle-") as private:
        _compile(compiler, job, place := Path(private) / name)
        found = _open(place, job)  # stays open when its file is gone
    _notes.extend(f"kernels: {p}; {ANEW}" for p in problems)
    return found


ANEW = (
    "they are compiled anew by every process; set ONECYCLE_CACHE to a folder that only you can "
    "write to"
)


def _folder() -> tuple[Path | None, list[str]]:
    """Where compiled code may be kept, if anywhere, and why not elsewhere.

    That is the cache, or the user's own default one if others can write to the cache.
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
    """Why compiled code can't be kept in a folder, which is made if it isn't there.

    A folder that an earlier version made under a umask of 002 is writable by the user's group:
    with `mend` that is taken back.
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
    """What it says of itself; one that fails here may still compile."""
    with tempfile.TemporaryFile() as said:
        _ended(compiler, ("--version",), VERSION_SECONDS, stdout=said)
        said.seek(0)
        return said.read(2**16)


def _compile(compiler: Command, job: _Job, place: Path) -> None:
    """Compile beside `place`, then rename, so that a library is there whole or not at all."""
    partial = place.with_name(f"{place.name}.{secrets.token_hex(4)}.tmp")
    compiled = partial.with_suffix(".o")
    try:
        defined = [f"-D{name}" for name in job.macros]
        source = ("-c", str(job.source), "-o", str(compiled))
        _run(compiler, (*FLAGS, *defined, *source), job.until)
        # Linked without OpenMP's library: the one that PyTorch has loaded serves, with its threads.
        _run(compiler, ("-shared", str(compiled), "-o", str(partial)), job.until)
        if not partial.is_file():
            raise KernelsUnavailable(f"{shlex.join(compiler)} made nothing")
        code = partial.read_bytes()
        partial.write_bytes(code + hashlib.sha256(code).digest())  # nobody reads behind the code
        partial.chmod(0o700)
        _open(partial, job)
        partial.replace(place)
    finally:
        for path in (partial, compiled):
            path.unlink(missing_ok=True)


def _is_whole(place: Path) -> bool:
    """Whether `place` is there and ends with its checksum; a torn library would crash us."""
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

    It has a process group of its own, all of which ends with it: a compiler starts others, and a
    pipe would be waited for as long as one of these has it open.
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
    """Whether nobody but this user and root can have written `path`."""
    status = path.stat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & OTHERS


def _open(place: Path, job: _Job) -> ctypes.CDLL:
    """The library at `place`.

    Raises:
        OSError: it can't be opened.
        KernelsUnavailable: it is not what the source should give.
    """
    found = ctypes.CDLL(str(place), mode=os.RTLD_NOW)
    if not hasattr(found, EXPORTED[job.source]):
        raise KernelsUnavailable(f"{place} has no {EXPORTED[job.source]}")
    return found
