"""The folder of the trials: a run folder for each, trials.json, and what the workers leave.

trials/<recipe>-<yyyymmdd-hhmmss>-<4 hex>/
trials.json                  what the trials are
width=0.25,seed=0/           an ordinary run folder
.workers/width=0.25,seed=0.log, .json, .lock, .job
"""

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal

from filelock import FileLock, Timeout

from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.run_dir import RunDir, write_atomically
from onecycle.run_dir.checking import Misfit, from_json, to_json
from onecycle.run_dir.files import encode_json, read, read_json
from onecycle.run_dir.records import Recorded
from onecycle.trials.manifest import Manifest

WORKERS, LOCK, OWNER = ".workers", ".lock", ".owner"

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
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        path = Path(into or f"trials/{recipe.recipe}-{stamp}-{os.urandom(2).hex()}")
        try:
            path.mkdir(parents=True, exist_ok=True)
            entries = {entry.name for entry in path.iterdir()}
            if Manifest.FILE not in entries and entries - {WORKERS, LOCK, OWNER}:
                raise InputError(
                    f"--into: '{path}' is not a folder of trials (it has no {Manifest.FILE}), and "
                    "not empty; name another folder"
                )
            (path / WORKERS).mkdir(exist_ok=True)
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"--into: can't make a folder at '{path}': {reason}; name another folder"
            ) from None
        return cls(path)

    def run(self, name: str) -> Path:
        """The run folder of a trial."""
        return self.path / name

    def log(self, name: str) -> Path:
        """What a trial's worker printed."""
        return self.path / WORKERS / f"{name}.log"

    def outcome(self, name: str) -> Outcome | None:
        """What a trial's last worker said at its end; None if nothing."""
        try:
            value = read_json(self.path, f"{WORKERS}/{name}.json")
            return None if value is None else from_json(value, Outcome)
        except (InputError, Misfit):
            return None

    def note_outcome(self, name: str, outcome: Outcome) -> None:
        """Write what a worker says at its end."""
        path = self.path / WORKERS / f"{name}.json"
        write_atomically(path, encode_json(to_json(outcome), path))

    def forget_outcome(self, name: str) -> None:
        """Remove what an earlier worker said."""
        (self.path / WORKERS / f"{name}.json").unlink(missing_ok=True)

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
        path = self.path / WORKERS / f"{name}.job"
        if number:
            write_atomically(path, f"{number}\n".encode("ascii"))
        else:
            path.unlink(missing_ok=True)

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
        with _locked(self.path / LOCK, 0, lambda: self._owner):
            with suppress(OSError):
                told = f"process {os.getpid()} on {platform.node()}"
                (self.path / OWNER).write_text(told, encoding="utf-8")
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
        with _locked(self.path / WORKERS / f"{name}.lock", patience, lambda: "another worker"):
            yield

    @property
    def _owner(self) -> str:
        try:
            return (read(self.path, OWNER, 1000) or b"another process").decode("utf-8")
        except (InputError, ValueError):
            return "another process"


@contextmanager
def _locked(path: Path, patience: float, owner: Callable[[], str]) -> Iterator[None]:
    lock = FileLock(path)
    try:
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
