"""A folder that files are added to, in which nothing is changed or replaced."""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from onecycle.errors import InputError
from onecycle.run_dir.files import writing
from onecycle.run_dir.folder import KINDS, Folder, ForeignEntry, opened
from onecycle.writing.file_names import key, numbered

Mark = int | str | None
"""What two equal files have in common: the size of a file, the target of a link."""

_NUMBERED = re.compile(r"(.+)-\d+(\.[^.]*)?", re.DOTALL)

PIECE = 2**20
"""Bytes that are compared at a time."""


class Item(Protocol):
    """Something to add.

    Attributes:
        mark: only an entry with the same mark can be equal to it.
    """

    mark: Mark

    def equals(self, folder: Folder, name: str) -> bool:
        """Whether it is equal to an entry that has the same mark."""
        ...

    def put(self, folder: Folder, name: str) -> None:
        """Add it.

        Raises:
            FileExistsError: there is an entry of this name. It stays as it is.
        """
        ...


class Copy:
    """A copy of a file, with its times and permissions."""

    def __init__(self, path: str) -> None:
        self._path = path
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"is {KINDS.get(stat.S_IFMT(status.st_mode), 'a device')}, not a file")
        self._status = status
        self.mark: Mark = status.st_size

    def equals(self, folder: Folder, name: str) -> bool:
        with open(self._path, "rb") as own, folder.open_to_read(name, 2**63) as other:
            return all(piece == other.read(PIECE) for piece in iter(lambda: own.read(PIECE), b""))

    def put(self, folder: Folder, name: str) -> None:
        with open(self._path, "rb") as own, folder.adding(name) as file:
            shutil.copyfileobj(own, file, PIECE)
            file.flush()
            os.chmod(file.fileno(), self._status.st_mode & 0o777)
            os.utime(file.fileno(), ns=(self._status.st_atime_ns, self._status.st_mtime_ns))


class Link:
    """A symbolic link to a file."""

    def __init__(self, path: str) -> None:
        self._target = os.path.abspath(path)
        self.mark: Mark = self._target

    def equals(self, folder: Folder, name: str) -> bool:
        return True

    def put(self, folder: Folder, name: str) -> None:
        folder.link(name, self._target)


class Written:
    """A file with this content."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.mark: Mark = len(content)

    def equals(self, folder: Folder, name: str) -> bool:
        return folder.read(name, len(self._content)) == self._content

    def put(self, folder: Folder, name: str) -> None:
        with folder.adding(name) as file:
            file.write(self._content)


class Destination:
    """A folder of the user's, to which files are added.

    A name that is taken by another file gets a number: `photo-2.jpg`. Where an equal file has the
    name, or the name with a number, that stays and nothing is added. No link inside is followed.

    Args:
        root: the folder; it is made when the first file is added.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[tuple[str, ...], _Names] = {}

    def hold(self, name: str) -> None:
        """Refuse an entry of this name that is not a folder.

        Raises:
            InputError: there is such an entry.
        """
        path = self.root / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise _no_folder(path)

    def contains(self, path: str) -> bool:
        """Whether a path leads into the folder."""
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))

    def add(self, folders: tuple[str, ...], name: str, item: Item) -> str:
        """Add a file in these folders, one inside the other, under this name if it is free.

        Returns:
            The path of the file, or of an equal one that was there already.

        Raises:
            InputError: one of the folders is a link or a file.
            TrainingError: it can't be written.
        """
        path = self.root.joinpath(*folders)
        with writing(path / name, "try again"), self._opened(folders) as folder:
            if folders not in self._names:
                self._names[folders] = _Names(folder)
            names = self._names[folders]
            for each in names.alike(name, item.mark):
                if item.equals(folder, each):
                    return str(path / each)
            while True:
                free = names.free(name)
                with suppress(FileExistsError):
                    item.put(folder, free)
                    names.note(free, item.mark)
                    return str(path / free)
                names.note(free, None)  # somebody else's, since

    @contextmanager
    def _opened(self, folders: tuple[str, ...]) -> Iterator[Folder]:
        """The innermost of these folders. They are made where they are missing."""
        self.root.mkdir(exist_ok=True)
        with ExitStack() as stack:
            folder = stack.enter_context(opened(self.root))
            for name in folders:
                if folder.kind(name) is None:
                    with suppress(FileExistsError):
                        folder.make(name)
                try:
                    folder = stack.enter_context(folder.below(name))
                except ForeignEntry:
                    raise _no_folder(folder.path / name) from None
            yield folder


class _Names:
    """The names that are taken in a folder."""

    def __init__(self, folder: Folder) -> None:
        self._taken: set[str] = set()
        self._alike: dict[tuple[str, Mark], list[str]] = {}
        self._next: dict[str, int] = {}
        for name in folder.entries():
            self.note(name, _mark(folder, name))

    def note(self, name: str, mark: Mark) -> None:
        """Note that a name is taken."""
        self._taken.add(key(name))
        found = _NUMBERED.fullmatch(name)
        for plain in {name, *({found[1] + (found[2] or "")} if found else ())}:
            self._alike.setdefault((key(plain), mark), []).append(name)

    def alike(self, name: str, mark: Mark) -> list[str]:
        """The entries with this mark that have the name, or the name with a number."""
        return self._alike.get((key(name), mark), [])

    def free(self, name: str) -> str:
        """The name itself if it is free, else the name with the next free number."""
        number, free = self._next.get(key(name), 1), name
        while key(free) in self._taken:
            number += 1
            free = numbered(name, number)
        self._next[key(name)] = max(number - 1, 1)
        return free


def _mark(folder: Folder, name: str) -> Mark:
    status = folder.status(name)
    if stat.S_ISLNK(status.st_mode):
        return folder.target(name)
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _no_folder(path: Path) -> InputError:
    what = "a link" if path.is_symlink() else "a file"
    return InputError(f"{path}: is {what}, not a folder; remove it, or name another folder")
