"""The cache: its location, the decoded images in it, its size limit, and its cleaning.

Every entry has a name that only this program uses: `folder-<32 hex>`, `cifar10-<16 hex>`, the
archives by their published names, files that belong to these (`.part`, `.lock`, `.tmp`), and
`kernels-<16 hex>.so`, which `kernels.compiling` keeps here. Other files are left alone. Every
entry can be made again.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from onecycle import places
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress

LIMIT = "ONECYCLE_CACHE_LIMIT"
"""Environment variable: the most gigabytes that all decoded folders together may use."""

LIMIT_BYTES = 10 * 10**9
"""The limit if the variable is not set."""

_SEAL = "seal.json"
UNPACKED = "unpacked"
"""The folder in a set that is being made for files that are needed meanwhile."""

_FILES = frozenset({"images.npy", "labels.npy", "names.json", "about.json", _SEAL, UNPACKED})
"""All files that a decoded set may contain, and that folder."""

_DECODED = re.compile(r"folder-[0-9a-f]{32}|cifar100?-[0-9a-f]{16}")
_TEMPORARY = re.compile(rf"({_DECODED.pattern})\.[0-9a-f]{{8}}\.tmp")
_LOCK = re.compile(rf"({_DECODED.pattern})\.lock")
_DOWNLOAD = re.compile(r"(cifar-100?-(?:python|binary)\.tar\.gz)(?:\.part)?")
_KERNELS = re.compile(r"kernels-[0-9a-f]{16}\.so")
_HALF_COMPILED = re.compile(rf"{_KERNELS.pattern}\.[0-9a-f]{{8}}\.(?:tmp|o)")

_ABANDONED = 120.0
"""Age in seconds after which half-compiled kernels count as left by a killed process. They have no
lock, and no compiler gets that much time."""


@dataclass(frozen=True)
class Cleaned:
    """The result of `clean`.

    Attributes:
        removed: number of entries removed: decoded sets, archives, partial archives, compiled
            kernels, and remains of killed processes.
        freed_bytes: their size.
        kept_bytes: size of the entries that were kept.
    """

    removed: int
    freed_bytes: int
    kept_bytes: int


@dataclass(frozen=True)
class _Entry:
    path: Path
    size: int
    used: float


def cache_folder(cache_dir: Path | None = None) -> Path:
    """The cache folder: `cache_dir`, else `$ONECYCLE_CACHE`, else the user's cache folder.

    Raises:
        InputError: the user has no home directory.
    """
    try:
        return places.cache_folder() if cache_dir is None else cache_dir
    except RuntimeError:  # neither $HOME nor an account entry
        raise InputError(
            "data: there is no home directory to keep decoded images in; set ONECYCLE_CACHE to a "
            "folder"
        ) from None


@contextmanager
def only_one(place: Path, doing: str, progress: Progress = SILENT) -> Iterator[None]:
    """Hold the lock of the entry at `place`; waiting processes note `doing`, e.g. `fetching`.

    Raises:
        OSError: it can't be locked.
    """
    places.make_folder(place.parent)
    lock = _lock(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.note(f"another process is {doing} {place.name}; waiting for it")
        lock.acquire()
    except NotImplementedError as error:  # some network file systems
        raise OSError(errno.ENOLCK, str(error)) from None
    try:
        yield
    finally:
        # A download's lock file stays: without it two processes could append to the same partial
        # file. Those of decoded sets go: a second process would write to a folder of its own.
        if _DECODED.fullmatch(place.name):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _lock(place: Path) -> FileLock:
    return FileLock(place.with_name(f"{place.name}.lock"))


def unwritable(folder: Path, error: OSError) -> InputError:
    """The error for a cache that can't be written."""
    return InputError(
        f"data: can't write the cache in '{folder}': {error.strerror or error}; set ONECYCLE_CACHE "
        "to a folder with room"
    )


# ------------------------------------------------------------------------------------ decoded sets


def is_whole(place: Path, names: Collection[str]) -> bool:
    """Whether the decoded set at `place` has exactly these files, undamaged; marks it as used."""
    try:
        seal = json.loads((place / _SEAL).read_text(encoding="utf-8"))
        whole = seal == {name: _checksum(place / name) for name in names}
    except (OSError, ValueError):
        return False
    if whole:
        touch(place / _SEAL)
    return whole


def touch(path: Path) -> None:
    """Mark a file as used now."""
    with suppress(OSError):  # it belongs to another user, or is read-only
        os.utime(path)


@contextmanager
def making(place: Path) -> Iterator[Path]:
    """A folder to write a set's files into; if the block succeeds, it is sealed and put at `place`.

    Remains of killed attempts are removed. Use it while holding `only_one`.

    Raises:
        OSError: it can't be written.
    """
    for remains in place.parent.glob(f"{place.name}.*.tmp"):
        _remove(remains)
    temporary = place.with_name(f"{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        sums = {path.name: _checksum(path) for path in temporary.iterdir()}
        (temporary / _SEAL).write_text(json.dumps(sums), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)  # a damaged set
        temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_room(folder: Path, needed: int) -> None:
    """Reject data that won't fit, before hours of work.

    Raises:
        OSError: the disk of `folder` has fewer than `needed` bytes left.
    """
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e9:.3g} GB are needed, but the disk has less")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------ bound and cleaning


def clean(cache_dir: Path | None = None, *, keep_bytes: int = 0) -> Cleaned:
    """Remove the least recently used entries until at most `keep_bytes` remain.

    Entries are decoded sets, downloaded archives and partial ones, and compiled kernels (which
    count as used when they were compiled). Remains of killed processes are always removed. What
    another process is fetching, decoding or compiling stays, and so do files that this program has
    not made. A process that has a removed entry open can go on using it.

    Args:
        cache_dir: the cache; None: the user's.
        keep_bytes: bytes to keep at most; 0: remove everything.
    """
    folder = cache_folder(cache_dir)
    remains = _entries(folder, _TEMPORARY, _HALF_COMPILED)
    entries = _entries(folder, _DECODED, _DOWNLOAD, _KERNELS)
    gone = _sweep(folder) + _reduce(entries, keep_bytes)
    kept = [entry for entry in (*remains, *entries) if entry not in gone]
    return Cleaned(
        removed=len(gone),
        freed_bytes=sum(entry.size for entry in gone),
        kept_bytes=sum(entry.size for entry in kept),
    )


def limit_bytes() -> int:
    """The most bytes for all decoded folders: `$ONECYCLE_CACHE_LIMIT` GB, else 10 GB.

    Raises:
        InputError: the variable is not a number of gigabytes.
    """
    given = os.environ.get(LIMIT, "").strip()
    if not given:
        return LIMIT_BYTES
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?", given, re.ASCII):
        raise InputError(f"{LIMIT}: '{given}' is not a number of gigabytes; set one, such as 10")
    return int(float(given) * 10**9)


def make_room(newest: Path) -> None:
    """Remove old decoded folders until all of them are below the limit; `newest` stays."""
    _sweep(newest.parent)
    entries = _entries(newest.parent, re.compile(r"folder-[0-9a-f]{32}"))
    size = sum(entry.size for entry in entries if entry.path == newest)
    others = [entry for entry in entries if entry.path != newest]
    _reduce(others, max(0, limit_bytes() - size))


def _sweep(folder: Path) -> list[_Entry]:
    """Remove what killed processes left: locks, and half-made entries, which are returned."""
    gone = [entry for entry in _entries(folder, _TEMPORARY) if _remove_unless_in_use(entry.path)]
    for entry in _entries(folder, _HALF_COMPILED):
        if time.time() - entry.used > _ABANDONED and _remove(entry.path):
            gone.append(entry)
    for entry in _entries(folder, _LOCK):
        _remove_unless_in_use(entry.path)
    return gone


def _reduce(entries: list[_Entry], keep_bytes: int) -> list[_Entry]:
    """Remove the least recently used entries until at most `keep_bytes` remain; return these."""
    total = sum(entry.size for entry in entries)
    gone = []
    for entry in sorted(entries, key=lambda entry: entry.used):
        if total <= keep_bytes and keep_bytes > 0:
            break
        if _remove_unless_in_use(entry.path):
            gone.append(entry)
            total -= entry.size
    return gone


def _entries(folder: Path, *names: re.Pattern[str]) -> list[_Entry]:
    """The entries of the cache whose names match; links are ignored."""
    found = []
    with suppress(OSError):
        for path in folder.iterdir():
            if _matches(path, names) and not path.is_symlink() and _is_ours(path):
                with suppress(OSError):  # another process has removed it
                    found.append(_entry(path))
    return found


def _matches(path: Path, names: Iterable[re.Pattern[str]]) -> bool:
    return any(name.fullmatch(path.name) for name in names)


def _is_ours(path: Path) -> bool:
    """Whether it is a decoded set (a folder with nothing but a set's files) or a regular file."""
    if not _matches(path, (_DECODED, _TEMPORARY)):
        return path.is_file()
    return path.is_dir() and {file.name for file in path.iterdir()} <= _FILES


def _entry(path: Path) -> _Entry:
    if path.is_file():
        status = path.stat()
        return _Entry(path, status.st_size, status.st_mtime)
    size = sum(file.lstat().st_size for file in path.iterdir())
    seal = path / _SEAL
    return _Entry(path, size, (seal if seal.exists() else path).stat().st_mtime)


def _remove_unless_in_use(path: Path) -> bool:
    """Remove an entry unless a process holds its lock, and return whether it is gone."""
    names = (_TEMPORARY, _LOCK, _DOWNLOAD)
    match = next((match for name in names if (match := name.fullmatch(path.name))), None)
    place = path.with_name(match[1] if match else path.name)
    if not place.with_name(f"{place.name}.lock").exists():
        return _remove(path)
    lock = _lock(place)
    try:
        with lock.acquire(timeout=0):
            return _remove(path)
    except (Timeout, OSError):
        return False


def _remove(path: Path) -> bool:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True
