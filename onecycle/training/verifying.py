"""Verifying that a run repeats: the steps between two checkpoints are trained again."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onecycle.engine import loop
from onecycle.engine.plan import Place
from onecycle.engine.state import Training
from onecycle.errors import InputError
from onecycle.models import Network
from onecycle.processes.group import Processes
from onecycle.processes.joining import joined
from onecycle.progress import IN_NOTEBOOKS, SILENT, Progress
from onecycle.run_dir import Checkpoint, RunDir
from onecycle.run_dir.elsewhere import RunElsewhere
from onecycle.training.measurements import note_start
from onecycle.training.reproducibility import recorded_processes
from onecycle.training.resuming import checkpoint_for_all, restore, take_up
from onecycle.training.signals import noted_signals
from onecycle.writing.numbers import counted

TIMES = frozenset({"seconds", "train_seconds", "eval_seconds", "total_seconds"})
"""Figures that differ between any two runs."""


@dataclass(frozen=True)
class Verification:
    """The outcome of a replay.

    Attributes:
        run: the run folder.
        from_step, to_step: optimizer steps done at the two checkpoints. With only one checkpoint,
            the replay starts from 0.
        tensors: number of tensors compared at `to_step`: parameters, buffers, optimizer state.
        first_step: the first step (0-based) whose rate or loss differs, or that is not logged; None
            if all are equal.
        first_tensor: the first tensor that differs at `to_step`, in the order of the network.
        told: what differs, in one line; empty if nothing does.
    """

    run: str
    from_step: int
    to_step: int
    tensors: int
    first_step: int | None = None
    first_tensor: str | None = None
    told: str = ""

    @property
    def equal(self) -> bool:
        """Whether the replay gave the same bits."""
        return not self.told


def verify(
    run: str | Path,
    *,
    data: str | None = None,
    network: Network | None = None,
    threads: int = 0,
    progress: Progress = IN_NOTEBOOKS,
) -> Verification:
    """Train again from the second-newest checkpoint to the newest, and compare every bit.

    Nothing in the run folder is changed. What has changed since the run began is reported, not
    refused. A run of several processes is trained again by as many, started by torchrun.

    Args:
        run: its folder; the run may be finished or not.
        data: where its images are; None: in the same place as before.
        network: the code of its network, if it is not built in; see `resume`.
        threads: CPU threads; 0: as many as the run has used.
        progress: listens.

    Raises:
        InputError: not a run folder, no checkpoint in it, its recipe or data can't be used, or
            another number of processes trained it.
        Interrupted: a signal came.
    """
    with joined() as processes:
        progress = progress if processes.owns_run else SILENT
        folder = RunDir.open(run) if processes.owns_run else RunElsewhere(Path(run))
        before, newest = _between(folder, processes, progress)
        training, _, _ = take_up(
            folder,
            threads,
            allow_differences=True,
            progress=progress,
            data=data,
            network=network,
            from_start=before is None,
            processes=processes,
        )
        if before is not None:
            restore(training, before, folder)
        from_step = training.state.step
        note_start(training)
        with tempfile.TemporaryDirectory(prefix="onecycle-") as scratch:
            replayed = RunElsewhere(Path(scratch))
            if processes.owns_run:
                replayed = RunDir.create(scratch, training.recipe)
            _replay(training, newest, replayed, progress)
            found = None
            if processes.owns_run:
                found = _compared(folder, replayed, training, from_step, newest)
        return Verification(**processes.from_first(found and asdict(found)))


def _between(
    run: RunDir, processes: Processes, progress: Progress
) -> tuple[Checkpoint | None, Checkpoint]:
    """The second-newest checkpoint and the newest, which process 0 reads for all.

    Raises:
        InputError: there is none, or another number of processes trained the run.
    """
    saved: list[Checkpoint] = []
    if processes.owns_run:
        count = recorded_processes(run)
        if count != processes.count:
            torchrun = f"torchrun --nproc-per-node {count} -m " if count > 1 else ""
            raise InputError(
                f"{run.path}: was trained by {counted(count, 'process', 'processes')}, and another "
                f"number gives other bits; verify it with: {torchrun}onecycle resume {run.path} "
                "--verify"
            )
        saved = list(run.checkpoints(progress))
        if not saved:
            raise InputError(
                f"{run.path}: has no checkpoint yet; go on with: onecycle resume {run.path}"
            )
    newest = checkpoint_for_all(saved[0] if saved else None, processes)
    before = checkpoint_for_all(saved[1] if len(saved) > 1 else None, processes)
    assert newest is not None
    return before, newest


def _compared(
    run: RunDir, replayed: RunDir, training: Training, from_step: int, newest: Checkpoint
) -> Verification:
    """The replay against what was logged and saved."""
    step, step_told = _first_step(run, replayed, from_step, newest.step)
    epoch_told = _first_epoch(run, replayed, from_step, newest.step)
    again = training.checkpoint()
    tensor, tensor_told = _first_tensor(newest, again)
    told = list(filter(None, (step_told, tensor_told)))
    told = told or list(filter(None, (epoch_told, _first_figure(newest, again))))
    return Verification(
        run=str(run.path),
        from_step=from_step,
        to_step=newest.step,
        tensors=len(newest.tensors),
        first_step=step,
        first_tensor=tensor,
        told="; ".join(told),
    )


def _replay(training: Training, newest: Checkpoint, run: RunDir, progress: Progress) -> None:
    """Train to the point of `newest`, exactly as a training does, and log into `run`."""
    progress.start("replaying", newest.step - training.state.step)
    with run.lock(), noted_signals(processes=training.processes) as signals:
        until = Place(newest.step, closed=not newest.state.get("seen"))
        loop.fit(training, training.plan, run, signals, progress, until=until)
    progress.finish()


def _first_step(run: RunDir, replayed: RunDir, start: int, end: int) -> tuple[int | None, str]:
    """The first step whose row differs, and how."""
    logged = {row.get("step"): row for row in run.read_rows("steps.jsonl")}
    again = {row["step"]: row for row in replayed.read_rows("steps.jsonl")}
    for step in range(start, end):
        if told := _differing(f"step {step}", logged.get(step), again.get(step)):
            return step, told
    return None, ""


def _first_epoch(run: RunDir, replayed: RunDir, start: int, end: int) -> str:
    """How the first epoch that ended in between differs; empty if none does."""
    logged = {row.get("step"): row for row in run.read_rows("metrics.jsonl")}
    for row in replayed.read_rows("metrics.jsonl"):
        if start < row["step"] <= end and (
            told := _differing(f"epoch {row['epoch']}", logged.get(row["step"]), row)
        ):
            return told
    return ""


def _first_figure(saved: Checkpoint, again: Checkpoint) -> str:
    """How the sums and the best so far differ; empty if they don't."""
    return _differing(f"state after step {saved.step - 1}", saved.state, again.state)


def _differing(
    place: str, logged: Mapping[str, Any] | None, again: Mapping[str, Any] | None
) -> str:
    """The first difference between two rows, as text; empty if there is none."""
    if logged is None or again is None:
        return f"{place}: is not logged" if logged is None else f"{place}: was not replayed"
    for name in again:
        if name not in TIMES and logged.get(name) != again[name]:
            return f"{place}: {name} was {logged.get(name)} and is {again[name]} in the replay"
    return ""


def _first_tensor(saved: Checkpoint, again: Checkpoint) -> tuple[str | None, str]:
    """The first tensor that differs in any bit, in the order of the network, and how."""
    for name, tensor in again.tensors.items():
        if name not in saved.tensors:
            return name, f"tensor {name}: is not in the checkpoint"
        was_N, is_N = _raw(saved.tensors[name]), _raw(tensor)
        if len(was_N) != len(is_N):
            return name, f"tensor {name}: has another shape"
        if differing := int((was_N != is_N).any(axis=1).sum()):
            return name, f"tensor {name}: {differing:,} of {counted(len(is_N), 'value')} differ"
    for name in saved.tensors:
        if name not in again.tensors:
            return name, f"tensor {name}: is not in the replay"
    return None, ""


def _raw(tensor: Tensor) -> np.ndarray:
    """The bytes of each value: uint8, N values x bytes of one. NaNs are compared by their bits."""
    flat_N = tensor.detach().cpu().contiguous().reshape(-1)
    return flat_N.view(torch.uint8).numpy().reshape(len(flat_N), flat_N.element_size())
