"""What each of the engine's ways of saving time gives: the step with all of them, and without one.

    python -m benchmarks.what_each_gave        batch 512, full width: some minutes

Variants take turns, so that a busy machine slows all of them. How freed memory is kept can't be
undone within a process, nor can threads be pinned to cores later than at its start, so that with
and without these are processes of their own, again and again. Page faults are counted by the
operating system and do not depend on the neighbours.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from unittest.mock import patch

import torch

from benchmarks.training_step import layer_by_layer, prepared, training_step
from onecycle import runtime
from onecycle.engine.state import Training
from onecycle.kernels import amx
from onecycle.kernels.operators import convolutions

STEPS = 2
"""Timed at a time."""

ALL = "all"
GIVEN_BACK = "freed memory given back"
PROCESSES: dict[str, dict[str, str]] = {
    ALL: {},
    GIVEN_BACK: {},
    "threads pinned to cores": {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"},
}
"""What can be changed only at the start of a process, and with what environment."""

Variant = Callable[[Training], AbstractContextManager[None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--child", choices=PROCESSES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.micro_batch = 0
    if options.child:
        print(json.dumps(child(options)))
        return
    job = prepared(options)
    print(f"machine  {runtime.cpu_model()}, {torch.get_num_threads()} threads")
    print(f"work     width {options.width:g}, batch {options.batch_size}, {job.recipe.precision}")
    operations(job, options)
    processes(options)


def operations(job: Training, options: argparse.Namespace) -> None:
    speeds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with runtime.reused_memory():
        for turn in range(options.turns + 1):
            for name, variant in VARIANTS.items():
                with variant(job):
                    speed, _ = measured(job, options)
                if turn:  # the first one warms up
                    speeds[name].append(speed)
    print("\noperations, turn by turn")
    for name, found in speeds.items():
        tell(name, found, speeds[ALL])


def processes(options: argparse.Namespace) -> None:
    speeds: dict[str, list[float]] = {name: [] for name in PROCESSES}
    faults: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for _ in range(max(2, options.turns)):
        for name, variables in PROCESSES.items():
            words = ("--child", name, "--batch-size", options.batch_size, "--width", options.width)
            command = [sys.executable, "-m", "benchmarks.what_each_gave", *map(str, words)]
            done = subprocess.run(
                command, env=os.environ | variables, stdout=subprocess.PIPE, check=True
            )
            found = json.loads(done.stdout)
            speeds[name].append(found[0])
            faults[name].append(found[1])
    print("\na process each time")
    for name, found in speeds.items():
        tell(name, found, speeds[ALL])
        print(f"{'':32} {statistics.median(faults[name]):9,.0f} page faults a step")


def child(options: argparse.Namespace) -> tuple[float, float]:
    job = prepared(options)
    with nullcontext() if options.child == GIVEN_BACK else runtime.reused_memory():
        measured(job, options)
        return measured(job, options)


def measured(job: Training, options: argparse.Namespace) -> tuple[float, float]:
    """Images per second, and page faults a step, after a step that settles the memory."""
    training_step(job, 0)
    before, started = page_faults(), time.perf_counter()
    for step in range(STEPS):
        training_step(job, step)
    seconds = time.perf_counter() - started
    return STEPS * options.batch_size / seconds, (page_faults() - before) / STEPS


def tell(name: str, found: list[float], base: list[float]) -> None:
    ratios = [one / two for one, two in zip(found, base, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{name:32} {statistics.median(found):5.0f} images/s, against the first "
        f"{middle:.2f} ({low:.2f} to {high:.2f})"
    )


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@contextmanager
def small_maps_by_pytorch(_: Training) -> Iterator[None]:
    with patch.object(convolutions, "SMALL_MAP", 0):
        yield


@contextmanager
def convolutions_by_pytorch(_: Training) -> Iterator[None]:
    with patch.object(amx, "find", lambda: "switched off"):
        yield


VARIANTS: dict[str, Variant] = {
    ALL: lambda _: nullcontext(),
    "PyTorch's for small maps": small_maps_by_pytorch,
    "all convolutions PyTorch's": convolutions_by_pytorch,
    "PyTorch's layers": lambda job: layer_by_layer(job.model, on=True),
}

if __name__ == "__main__":
    main()
