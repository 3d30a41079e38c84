"""Checkpoints: folders that are either complete or missing, each sealed with checksums."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.run_dir.checking import Misfit, from_json
from onecycle.run_dir.files import JSON_BYTES, decode_json, encode_json, reading, writing
from onecycle.run_dir.folder import Folder, ForeignEntry, opened
from onecycle.run_dir.records import Seal, Sealed

if TYPE_CHECKING:  # torch is imported by what saves and loads: runs are read without it
    from torch import Tensor

CHECKPOINTS_KEPT = 2
"""Number of newest checkpoints that are kept; older ones are removed."""

NAME = re.compile(r"step-(\d{7}|[1-9]\d{7,17})")
"""Name of a checkpoint's folder; the number is that of the steps done."""

STATE, TENSORS = "state.json", "tensors.safetensors"
"""The files of a checkpoint. Nothing else in a checkpoint's folder is ever removed."""

REMAINS = re.compile(rf"\.(?P<name>{NAME.pattern}|best)\.(?P<kind>tmp|old)")
"""Names of a folder while it is written, and of the folder that it replaces."""

HEADER_BYTES = 2**24
"""Maximum size of the list of a checkpoint's tensors in bytes: a hundred thousand tensors."""

MOST_BYTES = 2**36
"""Maximum size of a checkpoint's tensors, in bytes."""


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
    logs: dict[str, Seal] = field(default_factory=dict)


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Save into `folder` as `step-<step>`, and keep at most the one before it.

    Raises:
        TrainingError: it can't be written. Earlier checkpoints are untouched.
        InputError: `folder` is a link.
    """
    with writing(folder), _own(folder) as own:
        write(own, f"step-{checkpoint.step:07d}", checkpoint)
        present = _present(own)
        kept = [step for step in present if step <= checkpoint.step][:CHECKPOINTS_KEPT]
        for step, name in present.items():
            if step not in kept:
                with writing(folder / name):
                    _remove(own, name)


def save_best(folder: Path, checkpoint: Checkpoint) -> None:
    """Save into `folder` as `best`. Raises the same errors as `save`."""
    with writing(folder), _own(folder) as own:
        write(own, "best", checkpoint)


def remove(folder: Path) -> None:
    """Remove all checkpoints in `folder`.

    Raises:
        InputError: it is a link.
    """
    if not os.path.lexists(folder):
        return
    with writing(folder), _own(folder) as own:
        for name in (*_present(own).values(), "best"):
            _remove(own, name)


def best(folder: Path) -> Checkpoint | None:
    """The checkpoint `best` in `folder`; None if there is none.

    Raises:
        InputError: it is damaged, or the folder or something in it is a link.
    """
    try:
        with reading(folder), _own(folder) as own:
            if own.kind("best") is None:
                return None
    except FileNotFoundError:
        return None
    return read(folder / "best")


def exist(folder: Path) -> bool:
    """Whether there is a checkpoint in `folder`, damaged or not.

    Raises:
        InputError: the folder or something in it is a link.
    """
    return bool(names(folder))


def undamaged(folder: Path, progress: Progress, most: int | None = None) -> Iterator[Checkpoint]:
    """The undamaged checkpoints in `folder`, the newest first; none if none was saved yet.

    A damaged one is reported as a note when it is reached.

    Args:
        folder: of the checkpoints.
        progress: listens.
        most: maximum size of a checkpoint's tensors, in bytes.

    Raises:
        InputError: all are damaged, or the folder or something in it is a link.
    """
    present, found = names(folder), False
    for name in present:
        try:
            checkpoint = read(folder / name, most)
        except ForeignEntry:
            raise
        except InputError as error:
            progress.note(f"{error}; trying the one before it")
            continue
        found = True
        yield checkpoint
    if present and not found:
        raise InputError(f"{folder}: every checkpoint in it is damaged; train again")


def write(folder: Folder, name: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint's folder under a temporary name and rename it.

    Raises:
        TrainingError: it can't be written. A checkpoint that had its name is untouched.
    """
    temporary, replaced = f".{name}.tmp", f".{name}.old"
    with writing(folder.path / name):
        _remove_remains(folder)
        folder.hold(name, stat.S_IFDIR)
        try:
            folder.make(temporary)
            with folder.below(temporary) as new:
                _write_content(new, checkpoint)
            if folder.kind(name) is not None:
                # No system call swaps two folders, so a kill may fall in between.
                folder.rename(name, replaced)
            folder.rename(temporary, name)
            folder.flush()
        finally:
            with suppress(OSError):
                _remove(folder, temporary)
            _remove_remains(folder)


def read(path: Path, most: int | None = None) -> Checkpoint:
    """The checkpoint in the folder `path`, verified by its checksums. Nothing in it is executed.

    Args:
        path: of its folder.
        most: maximum size of its tensors, in bytes.

    Raises:
        InputError: it is damaged, or it or something in it is a link.
    """
    with verified_content(path, most) as (sealed, file):
        import safetensors.torch
        from safetensors import SafetensorError

        content = file.read()
        if int.from_bytes(content[:8], "little") > HEADER_BYTES:
            raise damaged(path, "its list of tensors is too long")
        compare(path, TENSORS, hashlib.sha256(content).hexdigest(), sealed["tensors_sha256"])
        try:
            tensors = safetensors.torch.load(content)
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise damaged(path, error) from None
        logs = cast(dict[str, Seal], sealed.get("logs", {}))
        return Checkpoint(sealed["step"], tensors, sealed["state"], logs)


@contextmanager
def verified_content(path: Path, most: int | None) -> Iterator[tuple[Sealed, BinaryIO]]:
    """The verified content of state.json, and the file of the tensors."""
    with ExitStack() as stack:
        try:
            with reading(path):
                own = stack.enter_context(_own(path.parent))
                folder = stack.enter_context(own.below(path.name))
                sealed = _sealed(folder)
                file = stack.enter_context(folder.open_to_read(TENSORS, most or MOST_BYTES))
        except FileNotFoundError as error:
            missing = Path(str(error.filename)).name
            raise damaged(path, f"it has no {missing}") from None
        yield sealed, file


def _sealed(folder: Folder) -> Sealed:
    path = folder.path / STATE
    try:
        sealed: Any = decode_json(folder.read(STATE, JSON_BYTES), path)
        from_json(sealed, Sealed)
        content = _state_content(sealed)
    except (Misfit, RecursionError) as misfit:
        raise damaged(path, misfit) from None
    found = hashlib.sha256(content).hexdigest()
    compare(folder.path, STATE, found, sealed["state_sha256"])
    return sealed


def _write_content(folder: Folder, checkpoint: Checkpoint) -> None:
    """Write both files, each flushed to disk."""
    import safetensors.torch
    import torch

    tensors = {
        # Copied: the format wants tensors one after another and none that shares memory.
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in checkpoint.tensors.items()
    }
    content = safetensors.torch.save(tensors)
    folder.write(TENSORS, content)
    path = folder.path / STATE
    state = {"step": checkpoint.step, "state": checkpoint.state, "logs": checkpoint.logs}
    state = json.loads(encode_json(state, path))  # as it will be read: all keys are text
    seal = {
        "tensors_sha256": hashlib.sha256(content).hexdigest(),
        "state_sha256": hashlib.sha256(_state_content(state)).hexdigest(),
    }
    folder.write(STATE, encode_json(state | seal, path, indent=2))
    folder.flush()


def _state_content(sealed: Mapping[str, Any]) -> bytes:
    """The state in the form of its checksum. Equal values give equal bytes."""
    state = {"step": sealed["step"], "state": sealed["state"]}
    state |= {"logs": sealed["logs"]} if "logs" in sealed else {}  # older ones have none
    return json.dumps(state, indent=2, sort_keys=True).encode()


def compare(path: Path, name: str, found: str, sha256: str) -> None:
    """Refuse a file of a checkpoint whose checksum is another one.

    Raises:
        InputError: it is damaged.
    """
    if found != sha256:
        raise damaged(path, f"{name} fails its checksum")


def damaged(path: Path, reason: object) -> InputError:
    """The error for a damaged checkpoint."""
    return InputError(f"{path}: the checkpoint is damaged ({reason})")


@contextmanager
def _own(folder: Path) -> Iterator[Folder]:
    """The folder of the checkpoints. It must not be a link."""
    with opened(folder.parent) as run, run.below(folder.name) as own:
        yield own


def names(folder: Path) -> list[str]:
    """Names of the checkpoints, the newest first."""
    try:
        with reading(folder), _own(folder) as own:
            return list(_present(own).values())
    except FileNotFoundError:
        return []


def _present(folder: Folder) -> dict[int, str]:
    """The checkpoints by step, the newest first.

    A folder with such a name that holds other files, but no file of a checkpoint, belongs to the
    user. An empty one is the remainder of an interrupted removal.
    """
    found = {int(m[1]): m[0] for name in folder.entries() if (m := NAME.fullmatch(name))}
    return {
        step: found[step] for step in sorted(found, reverse=True) if _is_one(folder, found[step])
    }


def _is_one(folder: Folder, name: str) -> bool:
    with folder.below(name) as inner:
        entries = inner.entries()
    return not entries or not {STATE, TENSORS}.isdisjoint(entries)


def _remove(folder: Folder, name: str) -> None:
    """Remove a checkpoint's folder. If it holds other files, they and the folder stay."""
    if folder.kind(name) != stat.S_IFDIR:
        return
    with folder.below(name) as inner:
        for file in (STATE, TENSORS):
            if inner.kind(file) not in (None, stat.S_IFDIR):
                inner.remove(file)
        empty = not inner.entries()
    if empty:
        folder.remove_folder(name)


def _remove_remains(folder: Folder) -> None:
    """Remove what a killed process left half-written, and restore what it had renamed."""
    for entry in folder.entries():
        remains = REMAINS.fullmatch(entry)
        if not remains or folder.kind(entry) != stat.S_IFDIR:
            continue
        if remains["kind"] == "old" and folder.kind(remains["name"]) is None:
            folder.rename(entry, remains["name"])
        else:
            with suppress(OSError):
                _remove(folder, entry)
