"""The folder of the trials: a run folder for each, trials.json, and what the workers leave.

trials/<recipe>-<yyyymmdd-hhmmss>-<4 hex>/
trials.json                  what the trials are
width=0.25,seed=0/           an ordinary run folder
.workers/width=0.25,seed=0.log, .json, .lock, .job

The folder itself may be reached over links. In it, none is followed to write, remove or go on.
"""

import os
import platform
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import ClassVar, Literal

from filelock import FileLock, Timeout

from onecycle.config import Recipe
from onecycle.errors import InputError, TrainingError
from onecycle.run_dir import RunDir, new_name, write_atomically
from onecycle.run_dir.checking import Misfit, from_json, to_json
from onecycle.run_dir.files import beside, encode_json, read, read_json, writing
from onecycle.run_dir.folder import opened, place_of
from onecycle.run_dir.records import Recorded
from onecycle.trials.manifest import Manifest

WORKERS, LOCK, OWNER = ".workers", ".lock", ".owner"

RAY_LOG, SLURM = "ray.log", "slurm"
"""What the engines for clusters write into .workers."""

PATIENCE = 90.0
"""Seconds that a worker waits for one before it, which is saving after its driver was killed."""


@dataclass(frozen=True, kw_only=True)
class Outcome(Recorded):
    """What a worker says at its end. One that was killed says nothing.

    Attributes:
        state: whether the trial is finished; saved: it was asked to end, and can go on.
        message: why it failed, in one line.
    """

    FILE: ClassVar = "outcome"

    state: Literal["finished", "failed", "saved"]
    message: str = ""


def claim(path: Path, what: str, file: str, others: Collection[str] = ()) -> None:
    """Have a folder at a path: a new one, an empty one, or one of this kind.

    Args:
        path: its place, as --into gives it.
        what: it is, in words.
        file: that such a folder has.
        others: names that it may have before that file.

    Raises:
        InputError: it can't be made, or holds something else.
    """
    with _making(path):
        path.mkdir(parents=True, exist_ok=True)
        entries = {entry.name for entry in path.iterdir()}
    if file not in entries and entries.difference(others):
        raise InputError(
            f"--into: '{path}' is not {what} (it has no {file}), and not empty; name another folder"
        )


@contextmanager
def _making(path: Path) -> Iterator[None]:
    """A context in which a failure to make a folder is one line."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--into: can't make a folder at '{path}': {reason}; name another folder"
        ) from None


class TrialsFolder:
    """Where the files of the trials are."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def at(cls, into: str | Path, recipe: Recipe) -> "TrialsFolder":
        """The folder that is asked for, or a new one under `trials`.

        Raises:
            InputError: it can't be made, or holds something else.
        """
        path = Path(into or f"trials/{new_name(recipe)}")
        claim(path, "a folder of trials", Manifest.FILE, others={WORKERS, LOCK, OWNER})
        with _making(path / WORKERS), opened(path) as folder:
            folder.hold(WORKERS, stat.S_IFDIR)
            with suppress(FileExistsError):
                folder.make(WORKERS)
        return cls(path)

    def hold(self, names: Iterable[str]) -> None:
        """Refuse links before anything is trained: they could lead out of the folder.

        Args:
            names: of the trials whose runs, logs and locks are looked at.

        Raises:
            InputError: one of these is a link, or a file of the workers is none.
        """
        with opened(self.path) as folder, folder.below(WORKERS) as workers:
            workers.hold(SLURM, stat.S_IFDIR)
            for name in names:
                if folder.kind(name) == stat.S_IFLNK:
                    folder.hold(name, stat.S_IFDIR)
                for ending in ("log", "lock"):
                    workers.hold(f"{name}.{ending}", stat.S_IFREG)

    def run(self, name: str) -> Path:
        """The run folder of a trial."""
        return self.path / name

    def log(self, name: str) -> Path:
        """What a trial's worker printed."""
        return self.path / WORKERS / f"{name}.log"

    def open_log(self, file: str) -> FileIO:
        """A log beside those of the workers, opened for writing at its end.

        Raises:
            InputError: it is a link, or not a file.
            TrainingError: it can't be written.
        """
        name = f"{WORKERS}/{file}"
        with writing(self.path / name), place_of(self.path, name) as (folder, last):
            return folder.open_to_append(last)

    def outcome(self, name: str) -> Outcome | None:
        """What a trial's last worker said at its end; None if nothing."""
        try:
            value = read_json(self.path, f"{WORKERS}/{name}.json")
            return None if value is None else from_json(value, Outcome)
        except (InputError, Misfit):
            return None

    def note_outcome(self, name: str, outcome: Outcome) -> None:
        """Write what a worker says at its end."""
        file = f"{WORKERS}/{name}.json"
        self._write(file, encode_json(to_json(outcome), self.path / file))

    def forget_outcome(self, name: str) -> None:
        """Remove what an earlier worker said."""
        self._remove(f"{WORKERS}/{name}.json")

    def checkpoints(self, name: str) -> set[str]:
        """The names of the checkpoints of a trial's run."""
        place = self.run(name) / "checkpoints"
        return {path.name for path in place.iterdir()} if place.is_dir() else set()

    def job(self, name: str) -> str:
        """The number of the job that carries out a trial; empty if there is none."""
        try:
            return (read(self.path, f"{WORKERS}/{name}.job", 100) or b"").decode("ascii").strip()
        except (InputError, ValueError):
            return ""

    def note_job(self, name: str, number: str) -> None:
        """Keep the number of the job that carries out a trial, or forget it if it is empty."""
        file = f"{WORKERS}/{name}.job"
        if number:
            self._write(file, f"{number}\n".encode("ascii"))
        else:
            self._remove(file)

    def _write(self, file: str, content: bytes) -> None:
        """Write a whole file of the workers.

        Raises:
            InputError: their folder is a link.
            TrainingError: it can't be written.
        """
        with beside(self.path, file) as target:
            target.write(content)

    def _remove(self, file: str) -> None:
        """Remove a file of the workers, if there is one.

        Raises:
            InputError: their folder is a link.
        """
        with suppress(FileNotFoundError), place_of(self.path, file) as (folder, last):
            folder.remove(last)

    @contextmanager
    def visible(self) -> Iterator[Path]:
        """A file that is there while the block runs: who sees it sees this folder."""
        path = (self.path / WORKERS / f".sign-{os.urandom(4).hex()}").absolute()
        path.touch()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def finished(self, name: str) -> bool:
        """Whether a trial's run is finished."""
        return RunDir(self.run(name)).finished

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Be the only driver of these trials.

        Raises:
            InputError: there is another one, or the folder can't be locked.
        """
        with _locked(self.path, LOCK, 0, lambda: self._owner):
            with suppress(TrainingError):
                told = f"process {os.getpid()} on {platform.node()}"
                write_atomically(self.path / OWNER, told.encode())
            try:
                yield
            finally:
                with suppress(OSError):
                    (self.path / OWNER).unlink()

    @contextmanager
    def working_on(self, name: str, patience: float = PATIENCE) -> Iterator[None]:
        """Be the only worker of a trial; one before it may still be saving.

        Raises:
            InputError: another one works on it all the time.
        """
        file = f"{WORKERS}/{name}.lock"
        with _locked(self.path, file, patience, lambda: "another worker"):
            yield

    @property
    def _owner(self) -> str:
        try:
            return (read(self.path, OWNER, 1000) or b"another process").decode("utf-8")
        except (InputError, ValueError):
            return "another process"


@contextmanager
def _locked(root: Path, name: str, patience: float, owner: Callable[[], str]) -> Iterator[None]:
    path = root / name
    lock = FileLock(path)
    try:
        with place_of(root, name) as (folder, last):
            folder.hold(last, stat.S_IFREG)
        lock.acquire(timeout=patience)
    except Timeout:
        raise InputError(
            f"{path.parent}: {owner()} is working on these trials; wait for it or stop it"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path.parent}: can't be locked: {reason}; name another folder") from None
    try:
        yield
    finally:
        lock.release()
