"""Compiling the C source on this machine, once, and opening what came of it. No torch.

The compiled library lies in the user's cache under a name that holds everything it depends on: the
source, the compiler, its flags and the CPU. It is code, so it is opened only if nobody but the user
(or root) could have written it; a cache that others can write is passed over.
"""

import ctypes
import hashlib
import os
import platform
import secrets
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from onecycle.errors import KernelsUnavailable
from onecycle.places import cache_folder

NORMS = Path(__file__).with_name("kernels.c")
"""Compiled with one of ELEMENT_BF16, ELEMENT_FLOAT and ELEMENT_DOUBLE."""

CONVOLUTION = Path(__file__).with_name("convolution.c")
"""Needs a CPU with AMX."""

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

SECONDS = 60.0
"""Longest wait for the compiler, which takes one or two."""


def library(source: Path, cpu: str, *macros: str) -> ctypes.CDLL:
    """The functions of one source, compiled if they are not in the cache yet.

    Args:
        source: `NORMS` or `CONVOLUTION`.
        cpu: what tells this CPU from others; code for another one may not run here.
        macros: names defined for the compiler.

    Raises:
        KernelsUnavailable: no compiler, it fails, or the library can't be opened.
    """
    if platform.system() != "Linux":
        raise KernelsUnavailable(f"not tried on {platform.system()} yet")
    compiler = _compiler()
    name = f"kernels-{_key(compiler, source, cpu, macros)}.so"
    with suppress(OSError, RuntimeError):  # a cache that can't be used is done without
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / name
        if _is_ours(folder):
            if not _is_whole(place):
                _compile(compiler, source, macros, place)
            if _is_ours(place):
                return _open(place)
    with tempfile.TemporaryDirectory(prefix="onecycle-") as private:
        _compile(compiler, source, macros, place := Path(private) / name)
        return _open(place)  # stays open when its file is gone


def _compiler() -> str:
    for name in (os.environ.get("CC", "").split(" ")[0], *COMPILERS):
        if name and (found := shutil.which(name)):
            return found
    raise KernelsUnavailable("no C compiler found (gcc)")


def _key(compiler: str, source: Path, cpu: str, macros: tuple[str, ...]) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    parts = (source.read_bytes(), version, repr((compiler, FLAGS, cpu, macros)).encode())
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _compile(compiler: str, source: Path, macros: tuple[str, ...], place: Path) -> None:
    """Compile beside `place`, then rename, so that a library is there whole or not at all."""
    partial = place.with_name(f"{place.name}.{secrets.token_hex(4)}.tmp")
    compiled = partial.with_suffix(".o")
    try:
        defined = [f"-D{name}" for name in macros]
        _run(compiler, *FLAGS, *defined, "-c", str(source), "-o", str(compiled))
        # Linked without OpenMP's library: the one that PyTorch has loaded serves, with its threads.
        _run(compiler, "-shared", str(compiled), "-o", str(partial))
        code = partial.read_bytes()
        partial.write_bytes(code + hashlib.sha256(code).digest())  # nobody reads behind the code
        partial.chmod(0o700)
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


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise KernelsUnavailable(f"{command[0]} took more than {SECONDS:g} s") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise KernelsUnavailable(f"{command[0]} failed: {lines[0] if lines else 'no message'}")


def _is_ours(path: Path) -> bool:
    """Whether nobody but this user and root can have written `path`."""
    status = path.stat()
    shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid in (0, os.geteuid()) and not shared


def _open(place: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(place), mode=os.RTLD_NOW)
    except OSError as error:
        raise KernelsUnavailable(f"can't be opened: {error}") from None
