"""What the engines have in common: each has so many workers at once, and is used as a context."""

import os
import time
from typing import Generic, Self, TypeVar

from onecycle.trials.engine import Engine
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.held import Order
from onecycle.trials.manifest import Jobs
from onecycle.trials.starting import interpreter_flags

TIME_TO_SAVE = 60.0
"""Seconds that workers get to save and end."""

Worker = TypeVar("Worker")


class BoundedEngine(Engine, Generic[Worker]):
    """An engine for so many workers at once. Use it as a context, whose end closes it.

    Attributes:
        jobs: how many workers at once, and what each of them gets.
    """

    def __init__(self, folder: TrialsFolder, jobs: Jobs) -> None:
        self._folder, self.jobs = folder, jobs
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def free(self) -> int:
        """How many more workers there may be now."""
        return self.jobs.jobs - len(self._workers)

    def _wait_for_all(self) -> None:
        """Wait a minute for workers that were asked to save and end."""
        deadline = time.monotonic() + TIME_TO_SAVE
        while self._workers and time.monotonic() < deadline:
            self.poll()
            time.sleep(0.05)


class ClusterEngine(BoundedEngine[Worker]):
    """An engine whose workers are held by processes of a cluster."""

    def _order(self, name: str, *, gpus: bool) -> Order:
        """What a holder needs to start the worker of a trial."""
        return Order(
            folder=str(self._folder.path.absolute()),
            name=name,
            log=str(self._folder.log(name).absolute()),
            threads=self.jobs.threads,
            gpus=gpus,
            directory=os.getcwd(),
            flags=interpreter_flags(),
        )
