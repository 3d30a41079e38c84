"""What several processes settle before they train together, and what they can't do."""

import os
import platform
from dataclasses import asdict
from typing import Any

import torch

from onecycle import runtime
from onecycle.config import Recipe
from onecycle.config.declaring import settings
from onecycle.config.sizes import steps_per_epoch
from onecycle.data import Splits
from onecycle.engine.state import Training
from onecycle.errors import InputError
from onecycle.processes.group import Processes
from onecycle.run_dir import package_versions
from onecycle.run_dir.provenance import kernels_used
from onecycle.writing.numbers import counted


def threads(processes: Processes) -> int:
    """CPU threads of each process, if the user names none: its part of the cores; 0: any number."""
    if processes.count == 1:
        return 0
    return max(1, _cores() // processes.place.local_count)


def _cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device(name: str, processes: Processes) -> torch.device:
    """The device on which this process trains: each has a GPU of its own.

    Raises:
        InputError: there is no such device, there are fewer GPUs than processes, or several
            processes can't use the device.
    """
    found = runtime.resolve_device(name)
    if processes.count == 1 or found.type == "cpu":
        return found
    if found.type != "cuda":
        raise InputError(
            f"device: {counted(processes.count, 'process', 'processes')} can't train on "
            f"'{found.type}'; give --device cpu, or start a single process"
        )
    if found.index is not None:
        raise InputError(
            f"device: each process takes a GPU of its own, not '{name}'; give --device cuda"
        )
    gpus, local = torch.cuda.device_count(), processes.place.local_count
    if gpus < local:
        raise InputError(
            f"device: {counted(local, 'process', 'processes')} on a machine with "
            f"{counted(gpus, 'GPU')}; start one for each GPU, or give --device cpu"
        )
    own = torch.device("cuda", processes.place.local_rank)
    torch.cuda.set_device(own)
    return own


def recorded_device(found: torch.device, processes: Processes) -> str:
    """The device as the recipe of the run records it: that of several processes has no number."""
    return str(found) if processes.count == 1 else found.type


def refuse(recipe: Recipe, images: int, processes: Processes) -> None:
    """Refuse batches that the processes can't share.

    Args:
        recipe: all sizes are numbers.
        images: in the train split.
        processes: those that train together.

    Raises:
        InputError: naming the setting and the remedy.
    """
    count = processes.count
    if count == 1:
        return
    batch = min(int(recipe.batch_size), images)
    if batch < 2 * count:
        raise InputError(
            f"batch_size: {counted(batch, 'image')} can't be shared by {count} processes, which "
            f"need 2 each; give {2 * count} or more, or start fewer processes"
        )
    if recipe.sync_batch_norm:
        _refuse_synchronized(recipe, images, count)
    parts = -(-batch // recipe.micro_batch) if recipe.micro_batch else count
    if min(parts, batch // 2) < count:
        raise InputError(
            f"micro_batch: {recipe.micro_batch} makes {counted(parts, 'part')} of a batch of "
            f"{batch} for {count} processes; give {batch // count} or less, or start fewer"
        )


def _refuse_synchronized(recipe: Recipe, images: int, count: int) -> None:
    if recipe.compile:
        raise InputError("sync_batch_norm: can't be compiled; leave out --compile")
    batch = int(recipe.batch_size)
    last = images - (steps_per_epoch(images, batch) - 1) * batch
    if last < count:
        raise InputError(
            f"sync_batch_norm: the last batch of an epoch has {counted(last, 'image')} for {count} "
            "processes, and each needs one; give another batch_size"
        )


def compare(training: Training, splits: Splits) -> None:
    """Refuse processes that would not train the same thing.

    Raises:
        InputError: naming what differs, and where.
    """
    processes = training.processes
    if processes.count == 1:
        return
    found = processes.gather([_facts(training, splits), platform.node()])
    first, _ = found[0]
    for rank, (facts, node) in enumerate(found):
        for name, value in facts.items():
            if value != first[name]:
                raise InputError(
                    f"{name}: process {rank} on {node} has {value!r} and process 0 has "
                    f"{first[name]!r}; give all machines the same"
                )


def _facts(training: Training, splits: Splits) -> dict[str, Any]:
    """What must be the same in all processes."""
    recipe = asdict(training.recipe)
    return {
        "torch": package_versions()["torch"],
        "onecycle": package_versions()["onecycle"],
        "data_fingerprint": splits.fingerprint,
        "kernels": str(kernels_used(training.device, training.recipe.precision)),
        "initial_weights": training.initial.record.sha256 if training.initial else None,
        "network source": training.architecture.source_sha256,
        **{
            name: str(recipe[name])
            for name, each in settings(type(training.recipe)).items()
            if each.changes_bits
        },
    }
