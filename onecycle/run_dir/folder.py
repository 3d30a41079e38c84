"""Safe access to a folder: no link in it is followed, and no read waits for a pipe.

A run folder may come from a stranger, in a container or from an archive. Its entries are reached by
a descriptor of their folder, so an entry that is swapped meanwhile can't lead out of it. On a
platform without such calls, entries are checked first.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from onecycle.errors import InputError

HAS_HANDLES = (
    {os.open, os.stat, os.unlink, os.rename, os.mkdir, os.rmdir} <= os.supports_dir_fd
    and os.scandir in os.supports_fd
    and hasattr(os, "O_DIRECTORY")
)
"""Whether entries can be reached by a descriptor of their folder."""

SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
AT_ONCE = getattr(os, "O_NONBLOCK", 0)
"""Without this flag, opening a pipe without a writer would wait forever."""

KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


class ForeignEntry(InputError):
    """Something in a run folder is a link, a pipe or the like. A run has none of these there."""


class Folder:
    """One folder: its path and, if the platform supports it, a descriptor.

    If the system refuses, that is an OSError. An entry of another kind is a ForeignEntry.
    """

    def __init__(self, path: Path, handle: int | None) -> None:
        self.path = path
        self._handle = handle

    @contextmanager
    def below(self, name: str) -> Iterator["Folder"]:
        """The folder `name` in this one.

        Raises:
            ForeignEntry: it is a link or a file.
            FileNotFoundError: there is none.
        """
        path = self.path / name
        self.hold(name, stat.S_IFDIR)
        if self._handle is None:
            yield Folder(path, None)
            return
        handle = self._open(name, os.O_RDONLY | os.O_DIRECTORY, stat.S_IFDIR)
        try:
            yield Folder(path, handle)
        finally:
            os.close(handle)

    def entries(self) -> list[str]:
        """The names in it, sorted."""
        with os.scandir(self.path if self._handle is None else self._handle) as found:
            return sorted(entry.name for entry in found)

    def kind(self, name: str) -> int | None:
        """The kind of `name`, from `stat.S_IFMT`: S_IFREG, S_IFDIR, …; None if it is missing."""
        try:
            return stat.S_IFMT(self.status(name).st_mode)
        except FileNotFoundError:
            return None

    def open_to_read(self, name: str, most: int) -> BinaryIO:
        """A file, opened for reading.

        Args:
            name: of the file.
            most: maximum size in bytes.

        Raises:
            ForeignEntry: it is a link, a pipe or the like.
            InputError: it is too large.
            FileNotFoundError: there is none.
        """
        self.hold(name, stat.S_IFREG)
        file = os.fdopen(self._open(name, os.O_RDONLY | AT_ONCE, stat.S_IFREG), "rb")
        size = os.fstat(file.fileno()).st_size
        if size > most:
            file.close()
            raise InputError(
                f"{self.path / name}: is too large ({size:,} bytes; at most {most:,} are read); "
                "restore it, or train again"
            )
        return file

    def read(self, name: str, most: int) -> bytes:
        """The content of a file; see `open_to_read`."""
        with self.open_to_read(name, most) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(size + 1)
        if len(content) > size:  # it has grown since
            raise InputError(f"{self.path / name}: is too large; restore it, or train again")
        return content

    def open_to_append(self, name: str) -> FileIO:
        """A file, opened for writing at its end. It is created if it is missing.

        If it is a hard link to a file in another folder, it is replaced by a copy first.
        """
        self.hold(name, stat.S_IFREG)
        flags, is_new = os.O_WRONLY | os.O_APPEND | os.O_CREAT | AT_ONCE, self.kind(name) is None
        file = FileIO(self._open(name, flags, stat.S_IFREG), "ab")
        if is_new:
            self.flush()
        if os.fstat(file.fileno()).st_nlink < 2:
            return file
        file.close()
        with self.open_to_read(name, most=2**63) as shared, self.beside(name) as own:
            shutil.copyfileobj(shared, own)
        return FileIO(self._open(name, flags, stat.S_IFREG), "ab")

    @contextmanager
    def beside(self, name: str) -> Iterator[IO[bytes]]:
        """A file that replaces `name` if the block succeeds, and is removed otherwise.

        An existing entry with that name, even a link, is replaced. It is never written to.
        """
        temporary = temporary_name(name)
        try:
            with os.fdopen(self._create(temporary), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            self.rename(temporary, name)
        finally:
            with suppress(FileNotFoundError):
                self.remove(temporary)
        self.flush()

    @contextmanager
    def adding(self, name: str) -> Iterator[IO[bytes]]:
        """A new file, which gets its name when the block has succeeded. It is not flushed to disk.

        Raises:
            FileExistsError: there is an entry of this name. It stays as it is.
        """
        temporary = temporary_name("added")
        try:
            with os.fdopen(self._create(temporary), "wb") as file:
                yield file
            self._name(temporary, name)
        finally:
            with suppress(FileNotFoundError):
                self.remove(temporary)

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link.

        Raises:
            FileExistsError: there is an entry of this name.
        """
        os.symlink(target, self._at(name), dir_fd=self._handle)

    def target(self, name: str) -> str:
        """What a symbolic link leads to."""
        return os.readlink(self._at(name), dir_fd=self._handle)

    def write(self, name: str, content: bytes) -> None:
        """Write a new file and flush it to disk."""
        with os.fdopen(self._create(name), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def make(self, name: str) -> None:
        """Make a folder."""
        os.mkdir(self._at(name), dir_fd=self._handle)

    def rename(self, name: str, new: str) -> None:
        """Rename an entry. An entry that has the new name is replaced."""
        os.replace(self._at(name), self._at(new), src_dir_fd=self._handle, dst_dir_fd=self._handle)

    def _name(self, temporary: str, name: str) -> None:
        """Give a file its final name, unless that is taken."""
        own, new, handle = self._at(temporary), self._at(name), self._handle
        try:
            os.link(own, new, src_dir_fd=handle, dst_dir_fd=handle)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if self.kind(name) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from None
            self.rename(temporary, name)

    def remove(self, name: str) -> None:
        """Remove a file, or a link itself."""
        os.unlink(self._at(name), dir_fd=self._handle)

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder."""
        os.rmdir(self._at(name), dir_fd=self._handle)

    def flush(self) -> None:
        """Flush renamed entries to disk, if the platform supports it."""
        if self._handle is not None:
            os.fsync(self._handle)

    def _at(self, name: str) -> str:
        return name if self._handle is not None else str(self.path / name)

    def status(self, name: str) -> os.stat_result:
        """The entry's own status; that of a link, not of what it leads to."""
        return os.stat(self._at(name), dir_fd=self._handle, follow_symlinks=False)

    def hold(self, name: str, wanted: int) -> None:
        """Refuse an entry that is not of the kind `wanted`: S_IFREG or S_IFDIR.

        Raises:
            ForeignEntry: it exists and is of another kind.
        """
        if (found := self.kind(name)) not in (None, wanted):
            raise _not_of_the_run(self.path / name, found, wanted)

    def _open(self, name: str, flags: int, wanted: int) -> int:
        """A descriptor. Its kind is checked again, because the entry may have been swapped."""
        try:
            handle = os.open(self._at(name), flags | SAFELY, 0o666, dir_fd=self._handle)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                self.hold(name, wanted)
            raise
        found = stat.S_IFMT(os.fstat(handle).st_mode)
        if found != wanted:
            os.close(handle)
            raise _not_of_the_run(self.path / name, found, wanted)
        return handle

    def _create(self, name: str) -> int:
        """A descriptor of a new file. Remains of a killed process with that name are removed."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            return self._open(name, flags, stat.S_IFREG)
        except FileExistsError:
            self.remove(name)
            return self._open(name, flags, stat.S_IFREG)


@contextmanager
def opened(path: Path) -> Iterator[Folder]:
    """The folder at `path`, which is the user's own and may contain links.

    Raises:
        OSError: there is none, or it can't be opened.
    """
    if not HAS_HANDLES:
        yield Folder(path, None)
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | getattr(os, "O_CLOEXEC", 0))
    try:
        yield Folder(path, handle)
    finally:
        os.close(handle)


@contextmanager
def place_of(root: Path, name: str) -> Iterator[tuple[Folder, str]]:
    """The folder in `root` that holds `name`, such as `plots/curves.png`, and the name in it.

    Raises:
        ForeignEntry: a folder on the way is a link.
        OSError: there is none.
    """
    *folders, last = PurePosixPath(name).parts
    with ExitStack() as stack:
        folder = stack.enter_context(opened(root))
        for step in folders:
            folder = stack.enter_context(folder.below(step))
        yield folder, last


def temporary_name(name: str) -> str:
    """The name of a file while this process writes it."""
    return f".{name}.{os.getpid()}.tmp"


def _not_of_the_run(path: Path, found: int | None, wanted: int) -> ForeignEntry:
    what, meant = KINDS.get(found or 0, "a device"), KINDS[wanted].removeprefix("a ")
    return ForeignEntry(f"{path}: is {what}, not a {meant}; put the {meant} itself in its place")
