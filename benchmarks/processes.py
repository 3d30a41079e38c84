"""Images per second of two processes with a thread each, against one process with two threads.

    python benchmarks/processes.py                    three turns, some minutes
    python benchmarks/processes.py --turns 5 --batch 512 --width 1

In each turn the arrangements are measured one after another, so that a machine whose load changes
slows them alike; only their ratios within a turn count. Each is a fresh set of processes that
trains some steps of `custom-resnet-8` on drawn images. The time of the exchange is that of process
0 in its sum over the processes, waiting for the other included. At the end, the exchange alone is
timed for several sizes.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from datetime import date
from typing import Any

import torch

from onecycle import runtime
from onecycle.config import override
from onecycle.engine import loop
from onecycle.engine.plan import AtStep
from onecycle.processes.group import Processes
from onecycle.processes.joining import joined
from onecycle.progress import SILENT
from onecycle.recipes import named
from onecycle.training.preparation import prepare

ARRANGEMENTS = {"1 x 2": (1, 2), "2 x 1": (2, 1), "1 x 1": (1, 1)}
"""Processes and threads of each, by name."""

WARM_UP = 2
"""Steps before those that are timed."""

SIZES = (0.1, 1.0, 6.6, 26.3)
"""Megabytes of the exchanges that are timed alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    print(f"{date.today()}, torch {torch.__version__}, {runtime.cpu_model()}, {platform.machine()}")
    print(f"custom-resnet-8, width {options.width:g}, batch {options.batch}\n")
    print("turn   " + "   ".join(f"{name:>6}" for name in ARRANGEMENTS) + "   2x1 / 1x2   exchange")
    ratios, found = [], {}
    for turn in range(options.turns):
        found = {name: measured(*counts, options) for name, counts in ARRANGEMENTS.items()}
        ratios.append(found["2 x 1"]["rate"] / found["1 x 2"]["rate"])
        rates = "   ".join(f"{each['rate']:6.0f}" for each in found.values())
        share = found["2 x 1"]["exchange"]
        print(f"{turn + 1:4}   {rates}   {ratios[-1]:9.2f}   {share:8.1%}", flush=True)
    low, high = min(ratios), max(ratios)
    print(f"\nmedian ratio {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})")
    print(f"bytes of an exchange {found['2 x 1']['bytes']:,}\n\nMB of an exchange   ms")
    for size, seconds in found["2 x 1"]["alone"]:
        print(f"{size:17.1f}   {1000 * seconds:.1f}")


def measured(count: int, threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """What process 0 of so many has measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, __file__, "--worker", str(threads), "--steps", str(options.steps),
        "--batch", str(options.batch), "--width", str(options.width),
    ]  # fmt: skip
    started = []
    for rank in range(count):
        place = {"WORLD_SIZE": count, "RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": threads}
        variables = os.environ | {name: str(value) for name, value in place.items()}
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=variables))
    outputs = [each.communicate()[0] for each in started]
    return json.loads(outputs[0])


def work(options: argparse.Namespace) -> None:
    """Train some steps as one of the processes; process 0 prints what it has measured."""
    recipe = override(
        named("custom-resnet-8").recipe, data="shapes", train_limit=4 * options.batch,
        test_limit=100, batch_size=options.batch, width=options.width,
    )  # fmt: skip
    with joined() as processes:
        training, _ = prepare(recipe, threads=options.worker, progress=SILENT, processes=processes)
        training.audited = False
        timed = Timed(processes)
        at = AtStep(0.01, 0.9)
        with runtime.reused_memory():
            for index in range(WARM_UP):
                loop.step(training, index, at)
            timed.reset()
            started = time.perf_counter()
            for index in range(WARM_UP, WARM_UP + options.steps):
                float(loop.step(training, index, at).loss)
            seconds = time.perf_counter() - started
        found = {
            "rate": options.steps * options.batch / seconds,
            "exchange": timed.seconds / seconds,
            "bytes": timed.bytes,
            "alone": [(size, alone(processes, size)) for size in SIZES],
        }
    if processes.owns_run:
        print(json.dumps(found))


class Timed:
    """Times the sums over the processes from now on, and keeps the size of the largest."""

    def __init__(self, processes: Processes) -> None:
        self._sum, self.seconds, self.bytes = processes.sum_, 0.0, 0
        if processes.count > 1:
            processes.sum_ = self  # pyright: ignore[reportAttributeAccessIssue]

    def reset(self) -> None:
        self.seconds = 0.0

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        started = time.perf_counter()
        found = self._sum(tensor)
        self.seconds += time.perf_counter() - started
        self.bytes = max(self.bytes, tensor.nbytes)
        return found


def alone(processes: Processes, megabytes: float) -> float:
    """Median seconds of an exchange of so many megabytes."""
    if processes.count == 1:
        return 0.0
    tensor, seconds = torch.zeros(int(megabytes * 1e6 / 4)), []
    for _ in range(11):
        started = time.perf_counter()
        processes.sum_(tensor)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
