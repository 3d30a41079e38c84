"""Checkpoints: folders that are there whole or not at all, each sealed with checksums."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.run_dir.files import (
    encode_json,
    flush_folder,
    read_json,
    writing,
)

if TYPE_CHECKING:  # torch is imported by what saves and loads: runs are read without it
    from torch import Tensor

CHECKPOINTS_KEPT = 2
"""Newest checkpoints that stay; older ones are removed."""

NAME = re.compile(r"step-(\d{7,})")
"""Name of a checkpoint's folder; the number is that of the steps done."""


@dataclass(frozen=True)
class Checkpoint:
    """A training at one step.

    Attributes:
        step: optimizer steps done.
        tensors: flat names, `model.…` and `optimizer.…`, to tensors of any layout; they may share
            memory. They come back on the CPU, contiguous, with equal values.
        state: everything else, as JSON values; numbers are finite and come back to the last bit.
        logs: the seals of the logs by their names (see `logs`); empty until it is saved in a run.
    """

    step: int
    tensors: "dict[str, Tensor]"
    state: dict[str, Any]
    logs: dict[str, Any] = field(default_factory=dict)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Save into `folder` as `step-<step>`, with at most the one before it kept beside.

    Raises:
        TrainingError: it can't be written; the checkpoints before it are untouched.
    """
    write(folder / f"step-{checkpoint.step:07d}", checkpoint)
    present = _present(folder)
    kept = [step for step in present if step <= checkpoint.step][:CHECKPOINTS_KEPT]
    for step in present:
        if step not in kept:
            with writing(present[step]):
                shutil.rmtree(present[step])


def undamaged(folder: Path, progress: Progress) -> Iterator[Checkpoint]:
    """The undamaged checkpoints in `folder`, the newest first; nothing where none was saved yet.

    A damaged one is reported as a note when its turn comes.

    Raises:
        InputError: all are damaged.
    """
    present, found = _present(folder), False
    for path in present.values():
        try:
            checkpoint = read(path)
        except InputError as error:
            progress.note(f"{error}; trying the one before it")
            continue
        found = True
        yield checkpoint
    if present and not found:
        raise InputError(f"{folder}: every checkpoint in it is damaged; train again")


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint's folder beside its place and rename it.

    Raises:
        TrainingError: it can't be written; what was at `path` before is untouched.
    """
    temporary, replaced = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    with writing(path):
        _remove_remains(path.parent)
        try:
            temporary.mkdir()
            _write_content(temporary, checkpoint)
            if path.exists():  # no system call swaps two folders, so a kill may fall in between
                os.rename(path, replaced)
            os.rename(temporary, path)
            flush_folder(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _remove_remains(path.parent)


def read(path: Path) -> Checkpoint:
    """The checkpoint in the folder `path`, verified by its checksums. Nothing in it is executed.

    Raises:
        InputError: it is damaged.
    """
    import safetensors.torch

    sealed = read_json(path / "state.json")
    if sealed is None:
        raise InputError(f"{path}: the checkpoint is damaged (it has no state.json)")
    try:
        content = (path / "tensors.safetensors").read_bytes()
        _check(path, "state.json", _state_content(sealed), sealed["state_sha256"])
        _check(path, "tensors.safetensors", content, sealed["tensors_sha256"])
        tensors = safetensors.torch.load(content)
        return Checkpoint(sealed["step"], tensors, sealed["state"], sealed.get("logs", {}))
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"{path}: the checkpoint is damaged ({error})") from None


def _write_content(folder: Path, checkpoint: Checkpoint) -> None:
    """Both files, each flushed to disk."""
    import safetensors.torch
    import torch

    tensors = {
        # Copied: the format wants tensors one after another and none that shares memory.
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in checkpoint.tensors.items()
    }
    content = safetensors.torch.save(tensors)
    _write(folder / "tensors.safetensors", content)
    path = folder / "state.json"
    state = {"step": checkpoint.step, "state": checkpoint.state, "logs": checkpoint.logs}
    state = json.loads(encode_json(state, path))  # as it will be read: all keys are text
    seal = {
        "tensors_sha256": hashlib.sha256(content).hexdigest(),
        "state_sha256": hashlib.sha256(_state_content(state)).hexdigest(),
    }
    _write(path, encode_json(state | seal, path, indent=2))
    flush_folder(folder)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _state_content(sealed: Mapping[str, Any]) -> bytes:
    """What the checksum of the state is over: one form for equal values."""
    state = {"step": sealed["step"], "state": sealed["state"]}
    state |= {"logs": sealed["logs"]} if "logs" in sealed else {}  # older ones have none
    return json.dumps(state, indent=2, sort_keys=True).encode()


def _check(path: Path, name: str, content: bytes, sha256: str) -> None:
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path}: the checkpoint is damaged ({name} fails its checksum)")


def _present(folder: Path) -> dict[int, Path]:
    """The checkpoints' folders by step, the newest first."""
    found = {int(m[1]): path for path in folder.glob("step-*") if (m := NAME.fullmatch(path.name))}
    return dict(sorted(found.items(), reverse=True))


def _remove_remains(folder: Path) -> None:
    """Remove what a killed process left half-written; give back what it had set aside."""
    for remains in folder.glob(".*.tmp"):
        shutil.rmtree(remains, ignore_errors=True)
    for replaced in folder.glob(".*.old"):
        place = folder / replaced.name.removeprefix(".").removesuffix(".old")
        if place.exists():
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.rename(replaced, place)
