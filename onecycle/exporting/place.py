"""Where an export goes: into the run's folder `export`, or where the user says.

An earlier export is replaced if nobody has changed it since, which its check file shows. Anything
else in its place is refused.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from onecycle.errors import InputError
from onecycle.exporting.format import Format
from onecycle.run_dir import RunDir
from onecycle.run_dir.files import read_json, writing
from onecycle.run_dir.folder import Folder, opened, place_of, temporary_name

FOLDER = "export"
"""Name of the folder in a run's folder."""

CACHE = "__pycache__"
"""What Python leaves in an exported folder when its network is imported."""


@dataclass(frozen=True)
class Place:
    """The place of an export.

    Attributes:
        root: the folder of the user's or of the run, below which no link is followed.
        name: of the exported file or folder below it, with slashes.
        is_folder: whether it is a folder.
    """

    root: Path
    name: str
    is_folder: bool

    @classmethod
    def of(cls, run: RunDir, form: Format, output: str | Path | None) -> "Place":
        """The place that the user names, or the one in the run's folder.

        Raises:
            InputError: it can't be written there, or something else is there.
        """
        place = cls(run.path, f"{FOLDER}/{form.name}", form.is_folder)
        if output is not None:
            path = Path(output)
            ending = Path(form.name).suffix
            if not path.parent.is_dir():
                raise InputError(f"output: there is no folder '{path.parent}'; make it first")
            if path.suffix.lower() != ending and not form.is_folder:
                raise InputError(f"output: '{path}' does not end in {ending}; give it that ending")
            place = cls(path.parent, path.name, form.is_folder)
        if not place._is_free():
            raise InputError(
                f"output: '{place.path}' exists, and is not an earlier export, or has been changed "
                "since; remove it, or name another place with --output"
            )
        return place

    @property
    def path(self) -> Path:
        """The file or folder."""
        return self.root / self.name

    @property
    def check(self) -> str:
        """Name of the check file: in the folder, or next to the file."""
        return "check.json" if self.is_folder else f"{self.path.stem}.check.json"

    def fill(self, made: Path) -> None:
        """Copy the files in the folder `made`, one of which is the check file, to their place.

        Raises:
            InputError: a folder on the way is a link.
            TrainingError: they can't be written.
        """
        with writing(self.path, "try again"), self._holder() as (holder, name):
            if self.is_folder:
                _replace_folder(holder, name, made)
                return
            for file in sorted(made.iterdir(), key=lambda file: file.name == self.check):
                with file.open("rb") as source, holder.beside(file.name) as target:
                    shutil.copyfileobj(source, target)

    @contextmanager
    def _holder(self) -> Iterator[tuple[Folder, str]]:
        """The folder that holds the export, and the name in it; the run's is made if missing."""
        if self.name.startswith(f"{FOLDER}/"):
            with opened(self.root) as run:
                if run.kind(FOLDER) is None:
                    run.make(FOLDER)
        with place_of(self.root, self.name) as found:
            yield found

    def _is_free(self) -> bool:
        """Whether nothing is there, or nothing but an earlier export as it was written."""
        holder = self.path if self.is_folder else self.path.parent
        check = holder / self.check
        if not os.path.lexists(self.path) and not os.path.lexists(check):
            return True
        try:
            found = read_json(self.root, str(check.relative_to(self.root))) or {}
        except InputError:
            return False
        files = found.get("files")
        if not isinstance(files, dict) or not files:
            return False
        if self.is_folder and set(os.listdir(holder)) - {*files, self.check, CACHE}:
            return False
        there = {name: holder / name for name in files if os.path.lexists(holder / name)}
        return all(_is(path) and sha256(path) == files[name] for name, path in there.items())


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is(path: Path) -> bool:
    """Whether it is a file itself, not a link to one."""
    return path.is_file() and not path.is_symlink()


def _replace_folder(holder: Folder, name: str, made: Path) -> None:
    """Put a copy of the folder `made` in the place of `name`, whole."""
    new, old = temporary_name(name), temporary_name(f"{name}.old")
    try:
        holder.make(new)
        with holder.below(new) as inside:
            for file in sorted(made.iterdir()):
                inside.write(file.name, file.read_bytes())
        if holder.kind(name) is not None:
            holder.rename(name, old)
        holder.rename(new, name)
        holder.flush()
    finally:
        for rest in (new, old):
            with suppress(FileNotFoundError):
                shutil.rmtree(holder.path / rest)
