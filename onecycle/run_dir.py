"""The run folder: atomic writes, checkpoints, metrics, environment.

Every file is written beside its place, flushed to disk and renamed, so that it is there whole or
not at all. Logs of rows are appended to; a row that a kill cut short is dropped when read.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors.torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from torch import Tensor

from onecycle import runtime
from onecycle.config import Recipe, read_recipe, to_toml
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress

CHECKPOINTS_KEPT = 2
"""Newest checkpoints that stay; older ones are removed."""

PACKAGES = ("onecycle", "torch", "numpy", "pillow", "matplotlib", "safetensors", "scipy")
"""Packages whose versions environment.json names."""


@dataclass(frozen=True)
class Checkpoint:
    """A training at one step.

    Attributes:
        step: optimizer steps done.
        tensors: flat names, `model.…` and `optimizer.…`, to tensors.
        state: everything else, as JSON values.
    """

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class RunDir:
    """One run's folder; make one with `create` or `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._logs: dict[str, IO[str]] = {}

    @classmethod
    def create(cls, runs: str | Path, recipe: Recipe) -> "RunDir":
        """A new folder `<recipe>-<yyyymmdd-hhmmss>-<4 hex>` under `runs`.

        Raises:
            InputError: `runs` can't hold one.
        """
        while True:
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            path = Path(runs) / f"{recipe.recipe}-{stamp}-{os.urandom(2).hex()}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                if path.exists():
                    continue  # the same name in the same second: draw again
                raise InputError(f"runs: '{runs}' is a file; name a folder") from None
            except OSError as error:
                raise InputError(
                    f"runs: can't make a folder in '{runs}': {error.strerror}; name another"
                ) from None
            (path / "checkpoints").mkdir()
            (path / "plots").mkdir()
            return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> "RunDir":
        """The run folder at `path`.

        Raises:
            InputError: there is none.
        """
        path = Path(path)
        if not path.is_dir():
            raise InputError(f"run: there is no folder '{path}'; name a run folder")
        if not (path / "recipe.toml").is_file():
            raise InputError(f"run: '{path}' has no recipe.toml, so it is not a run folder")
        return cls(path)

    # ------------------------------------------------------------------------------ whole files

    @property
    def plots(self) -> Path:
        """The folder of the plots."""
        return self.path / "plots"

    @property
    def finished(self) -> bool:
        """Whether the run has ended well: result.json is written last."""
        return (self.path / "result.json").is_file()

    def write_recipe(self, recipe: Recipe) -> None:
        """Write recipe.toml."""
        write_atomically(self.path / "recipe.toml", to_toml(recipe).encode())

    def read_recipe(self) -> Recipe:
        """The recipe in recipe.toml."""
        return read_recipe(self.path / "recipe.toml")

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file. Numbers that are not finite are refused with a ValueError."""
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(self.path / name, text.encode())

    def read_json(self, name: str) -> dict[str, Any] | None:
        """What a JSON file holds, or None where there is none.

        Raises:
            InputError: it is damaged.
        """
        return _read_json(self.path / name)

    def write_environment(self, values: Mapping[str, Any]) -> None:
        """Write environment.json."""
        self.write_json("environment.json", values)

    def write_result(self, values: Mapping[str, Any]) -> None:
        """Write result.json, by which the run counts as finished."""
        self.write_json("result.json", values)

    def result(self) -> dict[str, Any] | None:
        """What result.json holds, or None while the run is unfinished."""
        return self.read_json("result.json")

    def save_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Write NumPy arrays, compressed, into an npz file."""
        with _beside(self.path / name) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]

    def load_arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of an npz file.

        Raises:
            InputError: it is missing or damaged.
        """
        path = self.path / name
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except FileNotFoundError:
            raise InputError(f"{path}: is missing; the run has not finished") from None
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise InputError(f"{path}: is damaged ({error}); train again") from None

    # -------------------------------------------------------------------------------------- logs

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a row to a .jsonl file; it is on its way to disk when this returns."""
        if name not in self._logs:
            self._logs[name] = (self.path / name).open("a", encoding="utf-8", buffering=1)
        self._logs[name].write(json.dumps(row, allow_nan=False) + "\n")

    def read_rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a .jsonl file; none where there is no file, a last one cut short dropped.

        Raises:
            InputError: a row before the last is damaged.
        """
        path = self.path / name
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                raise InputError(f"{path}: line {number} is damaged; repair or remove it") from None
        return rows

    def cut_back(self, step: int) -> None:
        """Drop what was logged after `step` steps, so that no step appears twice."""
        self._close_logs()
        for name, keeps in (
            ("steps.jsonl", lambda row: row["step"] < step),
            ("metrics.jsonl", lambda row: row["step"] <= step),
        ):
            if (self.path / name).exists():
                kept = [json.dumps(row) + "\n" for row in self.read_rows(name) if keeps(row)]
                write_atomically(self.path / name, "".join(kept).encode())

    @contextmanager
    def log(self) -> Iterator[Callable[[str], None]]:
        """A function that writes a line with the time to train.log."""
        with (self.path / "train.log").open("a", encoding="utf-8", buffering=1) as file:

            def write(line: str) -> None:
                file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')}  {line}\n")

            yield write

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Own the folder: a second process is refused while the first one works on it.

        Raises:
            InputError: another process owns it; the message has its number.
        """
        owner = self.path / ".owner"
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            holder = owner.read_text() if owner.exists() else "another process"
            raise InputError(
                f"{self.path}: {holder} is working on this run; wait for it or stop it"
            ) from None
        try:
            write_atomically(owner, f"process {os.getpid()} on {platform.node()}".encode())
            yield
        finally:
            self._close_logs()
            owner.unlink(missing_ok=True)
            lock.release()
            (self.path / ".lock").unlink(missing_ok=True)

    def _close_logs(self) -> None:
        for file in self._logs.values():
            file.close()
        self._logs.clear()

    # ------------------------------------------------------------------------------- checkpoints

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Save as `checkpoints/step-<step>` and remove all but the last two."""
        folder = self.path / "checkpoints"
        _write_checkpoint(folder / f"step-{checkpoint.step:07d}", checkpoint)
        for old in self._checkpoints()[CHECKPOINTS_KEPT:]:
            shutil.rmtree(old)

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Save as `checkpoints/best`."""
        _write_checkpoint(self.path / "checkpoints" / "best", checkpoint)

    def newest_checkpoint(self, progress: Progress = SILENT) -> Checkpoint | None:
        """The newest undamaged checkpoint, or None where none was saved yet.

        A damaged one is reported as a note, and the one before it is taken.

        Raises:
            InputError: all are damaged.
        """
        folders = self._checkpoints()
        for folder in folders:
            try:
                return _read_checkpoint(folder)
            except InputError as error:
                progress.note(str(error))
        if folders:
            raise InputError(f"{self.path}: all its checkpoints are damaged; train again")
        return None

    def _checkpoints(self) -> list[Path]:
        """Checkpoint folders, the newest first."""
        return sorted((self.path / "checkpoints").glob("step-*[0-9]"), reverse=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place, flush it to disk, and rename it."""
    with _beside(path) as file:
        file.write(content)


@contextmanager
def _beside(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends well, and vanishes otherwise."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def _flush_folder(path: Path) -> None:
    """Have a rename in `path` survive a power cut, where the platform lets one ask for it."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint folder beside its place and rename it."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        tensors = {
            name: tensor.detach().cpu().contiguous().clone()
            for name, tensor in checkpoint.tensors.items()
        }
        content = safetensors.torch.save(tensors)
        write_atomically(temporary / "tensors.safetensors", content)
        state = {"step": checkpoint.step, "state": checkpoint.state}
        seal = {"tensors_sha256": _sha256(content), "state_sha256": _sha256(_canonical(state))}
        write_atomically(temporary / "state.json", _canonical(state | seal))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        _flush_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, verified by its checksums."""
    try:
        seal = _read_json(folder / "state.json") or {}
        state = {key: seal[key] for key in ("step", "state")}
        content = (folder / "tensors.safetensors").read_bytes()
        if _sha256(_canonical(state)) != seal["state_sha256"]:
            raise InputError(f"{folder}: state.json does not match its checksum")
        if _sha256(content) != seal["tensors_sha256"]:
            raise InputError(f"{folder}: tensors.safetensors does not match its checksum")
        return Checkpoint(seal["step"], safetensors.torch.load(content), seal["state"])
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder}: the checkpoint is damaged ({error!r})") from None


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is damaged ({error}); restore it") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: is damaged (not a JSON object); restore it")
    return value


# --------------------------------------------------------------------------------- environment


def environment(
    command: Sequence[str], device: str, precision: str, threads: int
) -> dict[str, Any]:
    """What a result depends on beside the recipe: versions, machine, commit, command line.

    Args:
        command: the command line; empty when called from Python.
        device: resolved device.
        precision: resolved precision.
        threads: CPU threads in use.
    """
    import torch

    return {
        "started": datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        "command": list(command),
        "versions": {"python": platform.python_version()} | _versions(),
        "platform": platform.platform(),
        "device": device,
        "device_name": (
            torch.cuda.get_device_name(device) if device.startswith("cuda") else runtime.cpu_model()
        ),
        "precision": precision,
        "threads": threads,
        "cpu": runtime.cpu_model(),
        "cpu_count": os.cpu_count(),
        "cpu_flags": sorted(runtime.cpu_flags()),
        "cuda": torch.version.cuda,
        "git": _git(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = getattr(sys.modules.get(package), "__version__", "unknown")
    return found


def _git() -> dict[str, Any] | None:
    """Commit of the checkout that the package runs from, and whether it has changes; else None."""
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changes)}
