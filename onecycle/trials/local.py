"""The engine `local`: workers are processes on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from onecycle.trials.engine import Ended
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.manifest import Jobs

TIME_TO_SAVE = 60.0
"""Seconds that workers get to save and end."""


class LocalEngine:
    """Processes on this machine. Use it as a context; its end leaves no worker running.

    A worker's standard input is a pipe that nothing is written to. It closes when the driver is
    gone, however that ended, and then the worker saves and ends too.
    """

    def __init__(self, folder: TrialsFolder, jobs: Jobs) -> None:
        self._folder, self._jobs = folder, jobs
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._places: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def free(self) -> int:
        """How many more workers may run now."""
        return self._jobs.jobs - len(self._workers)

    def submit(self, name: str) -> None:
        """Start a worker, on the first free GPU if there are any."""
        place = min(set(range(self._jobs.jobs)) - set(self._places.values()))
        with self._folder.log(name).open("ab") as log:
            self._workers[name] = start(
                "onecycle.trials.worker",
                [str(self._folder.path), name],
                environment(self._jobs.threads, place % self._jobs.devices)
                if self._jobs.devices
                else environment(self._jobs.threads),
                output=log.fileno(),
                errors=log.fileno(),
            )
        self._places[name] = place

    def poll(self) -> list[Ended]:
        """The workers that have ended since the last call."""
        ended = [
            Ended(name, worker.returncode)
            for name, worker in self._workers.items()
            if worker.poll() is not None
        ]
        for name, _ in ended:
            self._forget(name)
        return ended

    def cancel(self, name: str) -> None:
        """Ask a worker to save and end."""
        if worker := self._workers.get(name):
            with suppress(ProcessLookupError):
                worker.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask all workers to save and end; those that don't within a minute are killed."""
        for name in self._workers:
            self.cancel(name)
        deadline = time.monotonic() + TIME_TO_SAVE
        while self._workers and time.monotonic() < deadline:
            self.poll()
            time.sleep(0.05)
        self.close()

    def close(self) -> None:
        """Kill what still runs."""
        for name, worker in list(self._workers.items()):
            worker.kill()
            worker.wait()
            self._forget(name)

    def _forget(self, name: str) -> None:
        worker = self._workers.pop(name)
        self._places.pop(name)
        if worker.stdin:
            with suppress(OSError):
                worker.stdin.close()


def start(
    module: str,
    arguments: Sequence[str],
    environ: dict[str, str],
    *,
    output: int = subprocess.PIPE,
    errors: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """A process that runs a module of this package, in a session of its own.

    A terminal's Ctrl-C does not reach it: the driver decides what it does. It finds the packages
    where this process does.
    """
    return subprocess.Popen(
        [sys.executable, *interpreter_flags(), "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        env=environ,
        start_new_session=True,
    )


def interpreter_flags() -> tuple[str, ...]:
    """What a Python process needs to find the packages where this one does."""
    here = sys.path[:1] in ([""], [os.getcwd()])
    return () if here else ("-P",)


def environment(threads: int, device: int | None = None) -> dict[str, str]:
    """The environment of a worker: so many threads, and one GPU if it has a place.

    `device`: which of the GPUs that this process sees.
    """
    found = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    if device is not None:
        seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        found["CUDA_VISIBLE_DEVICES"] = seen[device] if device < len(seen) else str(device)
    return found
