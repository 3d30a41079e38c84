"""Downloads: from mirrors in order, resumed after an interruption, verified, shared by processes.

A file appears in the cache under its own name once its checksum is right. Until then its bytes are
in `NAME.part` next to it, also after a kill, and the next attempt resumes from there. A lock lets
one process at a time write; the others wait, and then use the file.
"""

import hashlib
import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from onecycle import __version__
from onecycle.data import cache
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress

MIRRORS = "ONECYCLE_MIRRORS"
"""Environment variable that replaces every file's list of mirrors."""

TIMEOUT = 30.0
"""Seconds without a byte after which a connection is closed."""

PAUSE = 1.0
"""Seconds before reconnecting after a broken connection."""

FRUITLESS = 2
"""Consecutive connections to a mirror that may bring nothing new."""

CONNECTIONS = 50
"""Most connections to one mirror."""

CHUNK = 2**18
"""Most bytes read at a time."""


@dataclass(frozen=True)
class Remote:
    """A file that can be downloaded.

    Attributes:
        name: its file name.
        md5: its checksum, 32 hex digits.
        size: its length in bytes. No more is read, and progress is measured against it.
        mirrors: addresses of the file (http or https), in the order in which to try them.
    """

    name: str
    md5: str
    size: int
    mirrors: tuple[str, ...]


class _Failed(Exception):
    """This mirror can't be used; the message gives the reason in a few words."""


def fetch(remote: Remote, folder: Path, progress: Progress = SILENT) -> Path:
    """The file in `folder`, downloaded if it is not there, and verified in either case.

    Raises:
        InputError: no mirror has it, an address is not http or https, or it can't be written. The
            message says which file with which checksum to put where.
    """
    target = folder / remote.name
    if _is_there(target, remote):
        cache.touch(target)
        return target
    urls = addresses(remote, os.environ)
    try:
        with cache.only_one(target, "fetching", progress):
            if not _is_there(target, remote):  # else another process has fetched it meanwhile
                _fetch_from_any(urls, remote, target, progress)
    except OSError as error:
        raise cache.unwritable(folder, error) from None
    return target


def addresses(remote: Remote, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses to try: the file's own, or those in `ONECYCLE_MIRRORS`.

    These are separated by spaces or commas. An address that does not end with the file's name
    stands for a folder that has the file.

    Raises:
        InputError: one is not an http or https address.
    """
    given = re.split(r"[\s,]+", environment.get(MIRRORS, "").strip())
    urls = [_address(url, remote.name) for url in given if url]
    for url in urls:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise InputError(
                f"mirror: '{url}' is not a server's address; give one that begins with https://"
            )
    return tuple(urls) or remote.mirrors


def _address(url: str, name: str) -> str:
    """The address of the file, from its own or its folder's."""
    if url.partition("?")[0].rpartition("/")[2] == name:
        return url
    return f"{url.rstrip('/')}/{name}"


def _is_there(target: Path, remote: Remote) -> bool:
    try:
        return target.stat().st_size == remote.size and md5(target) == remote.md5
    except OSError:
        return False


def md5(path: Path) -> str:
    """The MD5 of a file, in hex. It identifies published files; it is not a security measure."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch_from_any(
    urls: tuple[str, ...], remote: Remote, target: Path, progress: Progress
) -> None:
    """Try the mirrors until one provides the file, and move it into place."""
    if target.exists():
        progress.note(f"{target} is not the published file (MD5 {remote.md5}); fetching it again")
    part = target.with_name(f"{remote.name}.part")
    reasons: dict[str, str] = {}
    progress.start(f"downloading {remote.name}", remote.size, "bytes")
    progress.advance(_size(part))
    for url in urls:
        host = urlsplit(url).netloc.rpartition("@")[2]
        try:
            _fetch_from(url, remote, part, progress)
        except _Failed as failure:
            reasons[host] = str(failure)
            progress.note(f"{host}: {failure}")
        else:
            os.replace(part, target)
            progress.finish()
            return
    tried = ", ".join(f"{host} ({reason})" for host, reason in reasons.items())
    raise InputError(
        f"data: can't fetch {remote.name}, MD5 {remote.md5}, from {tried}; get it another way and "
        f"put it into '{target.parent}', or use --data shapes instead"
    )


def _fetch_from(url: str, remote: Remote, part: Path, progress: Progress) -> None:
    """Complete `part` from one mirror and verify it; if its old bytes are wrong, start over once.

    Raises:
        _Failed: the mirror refuses, has a different file, or keeps breaking off.
    """
    inherited = _size(part) > 0  # from an earlier run or another mirror
    fruitless = 0
    for _ in range(CONNECTIONS):
        before = _size(part)
        broken = _receive(url, remote, part, progress) if before < remote.size else ""
        if _size(part) >= remote.size:
            if _size(part) == remote.size and md5(part) == remote.md5:
                return
            _discard(part, progress)
            if not inherited:
                raise _Failed("it has a different file: the MD5 is wrong")
            inherited = False
            continue
        fruitless = 0 if _size(part) > before else fruitless + 1
        if fruitless == FRUITLESS:
            raise _Failed(broken)
        time.sleep(PAUSE)
    raise _Failed(f"it broke off {CONNECTIONS} times")


def _receive(url: str, remote: Remote, part: Path, progress: Progress) -> str:
    """Append the bytes of one connection, up to the file's size; return why it ended, briefly."""
    offset = _size(part)
    try:
        with _open(url, offset) as answer:
            if offset and answer.status == 200:  # it always sends the file from the beginning
                _skip(answer, offset, progress)
            elif offset and not _continues(answer, offset):
                return "it sent a different part than requested"
            while offset < remote.size and (chunk := answer.read1(CHUNK)):
                chunk = chunk[: remote.size - offset]
                _append(part, chunk)
                offset += len(chunk)
                progress.advance(len(chunk))
    except HTTPError as error:
        with error:
            raise _Failed(f"HTTP {error.code}") from None
    except (OSError, HTTPException, UnicodeError) as error:
        return _in_words(error)
    return f"it broke off after {offset:,} of {remote.size:,} bytes"


def _open(url: str, offset: int) -> HTTPResponse:
    headers = {"User-Agent": f"onecycle/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    return urlopen(Request(url, headers=headers), timeout=TIMEOUT)


def _continues(answer: HTTPResponse, offset: int) -> bool:
    """Whether the server continues from the requested byte."""
    begins = (answer.headers.get("Content-Range") or "").strip().lower()
    return answer.status == 206 and begins.startswith(f"bytes {offset}-")


def _skip(answer: HTTPResponse, count: int, progress: Progress) -> None:
    """Skip the bytes already present; they stay on disk if the connection breaks meanwhile."""
    left = count
    progress.advance(-count)
    try:
        while left and (chunk := answer.read1(min(left, CHUNK))):
            left -= len(chunk)
            progress.advance(len(chunk))
    finally:
        progress.advance(left)


def _in_words(error: Exception) -> str:
    """Why a connection failed."""
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no data for {TIMEOUT:g} s"
    if isinstance(error, socket.gaierror):
        return "no such host, or no network"
    if isinstance(error, IncompleteRead):
        return "it broke off"
    text = (error.strerror if isinstance(error, OSError) else "") or str(error) or repr(error)
    return " ".join(text.split())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(part: Path, chunk: bytes) -> None:
    try:
        with part.open("ab") as file:
            file.write(chunk)
    except OSError as error:  # must not count as a network error
        raise cache.unwritable(part.parent, error) from None


def _discard(part: Path, progress: Progress) -> None:
    progress.advance(-_size(part))
    part.unlink(missing_ok=True)
