"""The run folder: atomic writes, logs, checkpoints, environment.

Every file is written under a temporary name, flushed to disk and renamed, so it is either complete
or missing. Logs are appended to; a last row that a kill cut short is dropped when read. No file
holds the folder's own path, so a run can be moved or copied.

`folder` follows no link inside the run folder, neither when reading nor when writing.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from onecycle.config import Recipe, to_toml
from onecycle.errors import InputError
from onecycle.run_dir import checkpoints, logs
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.checkpoints import CHECKPOINTS_KEPT, Checkpoint
from onecycle.run_dir.files import beside, encode_json, flush_folder, write_atomically, writing
from onecycle.run_dir.folder import ForeignEntry, opened, place_of
from onecycle.run_dir.ownership import owned
from onecycle.run_dir.provenance import environment, package_versions
from onecycle.run_dir.reader import Reader
from onecycle.run_dir.records import Recorded

__all__ = [
    "CHECKPOINTS_KEPT",
    "Checkpoint",
    "ForeignEntry",
    "RunDir",
    "environment",
    "new_name",
    "package_versions",
    "write_atomically",
]


COMPRESSED_BYTES = 2**26
"""Arrays with a larger total size are saved uncompressed."""


class RunDir(Reader):
    """One run's folder; use `create` or `open` to get one.

    A failed write raises a TrainingError that names the file and the remedy.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._logs: dict[str, FileIO] = {}
        self._locked = False

    @classmethod
    def create(cls, runs: str | Path, recipe: Recipe, name: str = "") -> "RunDir":
        """A new folder `<recipe>-<yyyymmdd-hhmmss>-<4 hex>` under `runs`, or one called `name`.

        Raises:
            InputError: `runs` can't hold one, or there is one called `name` already.
        """
        while True:
            path = Path(runs) / (name or new_name(recipe))
            try:
                new = [folder for folder in (path, *path.parents) if not folder.exists()]
                path.mkdir(parents=True)
                (path / "checkpoints").mkdir()
                (path / "plots").mkdir()
                for folder in (path, *(folder.parent for folder in new)):
                    with suppress(OSError):  # one that may not be read can't be flushed
                        flush_folder(folder)
                return cls(path)
            except (OSError, ValueError) as error:  # ValueError: a NUL in the name
                if isinstance(error, FileExistsError) and path.is_dir() and not name:
                    continue  # the same name in the same second: draw again
                raise _no_place(runs, error) from None

    @staticmethod
    def check_place(runs: str | Path, recipe: Recipe) -> None:
        """Refuse a place where `create` would fail, before longer work starts; nothing is created.

        Raises:
            InputError: `runs` is a file or under one, may not be written, or can't be a path.
        """
        path = Path(runs) / f"{recipe.recipe}-yyyymmdd-hhmmss-0000"
        try:
            with suppress(FileNotFoundError):
                path.lstat()
            above = next(folder for folder in path.parents if os.path.lexists(folder))
            for name in path.relative_to(above).parts:  # one may be too long
                with suppress(FileNotFoundError):
                    (above / name).lstat()
            if not above.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(above, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise _no_place(runs, error) from None

    @classmethod
    def open(cls, path: str | Path) -> "RunDir":
        """The run folder at `path`.

        Raises:
            InputError: there is none.
        """
        path = Path(path)
        try:
            is_folder, is_run = path.is_dir(), (path / "recipe.toml").is_file()
        except OSError as error:
            raise InputError(
                f"run: can't look into '{path}': {error.strerror}; name a run folder"
            ) from None
        if not is_folder:
            raise InputError(f"run: there is no folder '{path}'; name a run folder")
        if not is_run:
            raise InputError(
                f"run: '{path}' has no recipe.toml, so it is not a run folder; name one"
            )
        return cls(path)

    # ------------------------------------------------------------------------------ whole files

    @property
    def plots(self) -> Path:
        """The folder of the plots."""
        return self.path / "plots"

    def folder(self, name: str) -> Path:
        """The path of a folder in the run. It is made if it is missing.

        Raises:
            InputError: it is a link or a file.
        """
        with writing(self.path / name), opened(self.path) as run:
            run.hold(name, stat.S_IFDIR)
            if run.kind(name) is None:
                run.make(name)
        return self.path / name

    def write_plot(self, name: str, content: bytes) -> None:
        """Write `plots/<name>.png`. The folder is made if it is missing, as in a run from git.

        Raises:
            InputError: the folder is a link.
        """
        self.folder("plots")
        self.write(f"plots/{name}.png", content)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write recipe.toml.

        Raises:
            InputError: a value is not text that TOML can hold.
        """
        try:
            content = to_toml(recipe).encode()
        except UnicodeEncodeError:  # a path whose bytes are not UTF-8
            raise InputError(
                f"recipe: '{recipe.data}' or another value is not valid Unicode; rename the folder"
            ) from None
        write_atomically(self.path / "recipe.toml", content)

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file, such as `plots/curves.png`.

        Raises:
            InputError: a folder on the way to it is a link.
        """
        with beside(self.path, name) as file:
            file.write(content)

    def set_aside(self, name: str) -> None:
        """Rename a file that can't be read to `<name>.damaged`."""
        with writing(self.path / name), opened(self.path) as folder:
            folder.rename(name, f"{name}.damaged")

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file, with its keys in the given order.

        Raises:
            TrainingError: a number in it is not finite. JSON has no such numbers, and in a
                training they mean that it has diverged.
        """
        self.write(name, encode_json(value, self.path / name, indent=2))

    def write_record(self, record: Recorded) -> None:
        """Write the file of a record. A run with a result.json counts as finished."""
        self.write_json(record.FILE, to_json(record))

    def save_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Write NumPy arrays into an npz file, compressed unless they are large.

        Equal arrays give equal bytes. The logits of 10,000 images and 10,000 classes would take a
        minute and a half to compress, and shrink by a tenth.
        """
        large = sum(array.nbytes for array in arrays.values()) > COMPRESSED_BYTES
        save = np.savez if large else np.savez_compressed
        with beside(self.path, name) as file:
            save(file, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]

    # -------------------------------------------------------------------------------------- logs

    def append_row(self, row: Recorded) -> None:
        """Add a row to its log; see `append`."""
        self.append(row.FILE, to_json(row))

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a row to a .jsonl file, in one write.

        `save_checkpoint` flushes the rows to disk before the checkpoint, against a power cut.

        Raises:
            TrainingError: a number in it is not finite.
        """
        path = self.path / name
        line = encode_json(row, path) + b"\n"
        with writing(path):
            if name not in self._logs:
                self._logs[name] = self.open_to_append(name)
            if self._logs[name].write(line) != len(line):
                raise OSError("no space left for the whole row")

    def open_to_append(self, name: str) -> FileIO:
        """A file, opened for writing at its end. It is created if it is missing.

        Raises:
            InputError: it is a link, or a folder on the way to it is one.
        """
        with place_of(self.path, name) as (folder, last):
            return folder.open_to_append(last)

    def cut_back(self, checkpoint: Checkpoint | None) -> None:
        """Drop what was logged after `checkpoint` (None: all), so that no step appears twice.

        Raises:
            InputError: another process works on this run.
        """
        with self.lock():
            self._close_logs()
            for name in logs.NAMES:
                sealed = checkpoint.logs[name] if checkpoint else logs.EMPTY
                logs.cut(self.path, name, sealed)

    @contextmanager
    def log(self) -> Iterator[Callable[[str], None]]:
        """A function that writes a line and the time to train.log."""
        path = self.path / "train.log"
        with writing(path):
            file = self.open_to_append(path.name)

        def write(line: str) -> None:
            stamp = datetime.now().astimezone().isoformat(timespec="seconds")
            with writing(path):
                file.write(f"{stamp}  {line}\n".encode("utf-8", "backslashreplace"))

        with file:
            yield write

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Own the folder: a second process is refused while the first one works on it.

        Locking it again through the same object is allowed. Remains of interrupted writes are
        removed.

        Raises:
            InputError: another process owns it (the message names it), or it can't be locked.
        """
        if self._locked:
            yield
            return
        with owned(self.path):
            self._locked = True
            try:
                yield
            finally:
                self._locked = False
                self._close_logs()

    def _close_logs(self) -> None:
        for file in self._logs.values():
            file.close()
        self._logs.clear()

    # ------------------------------------------------------------------------------- checkpoints

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save as `checkpoints/step-<step>`, and keep only the one before it.

        A checkpoint of a later step is removed, because its steps are being trained again. The logs
        are flushed to disk and sealed with the checkpoint.
        """
        for name, file in self._logs.items():
            with writing(self.path / name):
                os.fsync(file.fileno())
        seals = {name: logs.seal(self.path, name) for name in logs.NAMES}
        checkpoints.save(self.path / "checkpoints", replace(checkpoint, logs=seals))

    def save_best(self, checkpoint: Checkpoint, **figures: float) -> None:
        """Save as `checkpoints/best`, with figures of the validation split in its state."""
        state = checkpoint.state | figures
        checkpoints.save_best(self.path / "checkpoints", replace(checkpoint, state=state))

    def remove_checkpoints(self) -> None:
        """Remove all checkpoints of a run that nobody goes on with; other files stay.

        Raises:
            InputError: their folder is a link.
        """
        checkpoints.remove(self.path / "checkpoints")


def new_name(recipe: Recipe) -> str:
    """A name for a new folder of a recipe: `<recipe>-<yyyymmdd-hhmmss>-<4 hex>`."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"{recipe.recipe}-{stamp}-{os.urandom(2).hex()}"


def _no_place(runs: str | Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"runs: can't make a folder in '{runs}': {reason}; name another folder")
