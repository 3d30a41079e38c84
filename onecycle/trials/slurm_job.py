"""What runs in a SLURM job: the holder of a worker. submitit starts it."""

import signal
import subprocess
import threading
from pathlib import Path

from onecycle.trials.held import STOPPED, HeldWorker, Order

WARNED = 90
"""Seconds before the time limit at which SLURM warns the job."""


class SlurmJob:
    """A worker for one trial. When SLURM warns the job, the worker saves and the job queues again.

    SLURM warns before the time limit, and on some clusters before another job takes the place.
    """

    def __init__(self, order: Order) -> None:
        self._order = order

    def __call__(self) -> int:
        """Hold a worker; its exit code.

        Raises:
            SystemExit: the worker was asked to end, and saved. Then the job leaves no result, since
                SLURM may run it again.
        """
        from submitit import JobEnvironment  # pyright: ignore[reportMissingImports]

        warned, before = threading.Event(), self._saved()
        number = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        signal.signal(number, lambda *_: warned.set())
        worker = HeldWorker(self._order)
        code = worker.wait(until=warned.is_set)
        if code is None:
            worker.ask_to_end()
            code = worker.wait()
            if code == STOPPED and self._saved() != before:
                self._queue_again()
        assert code is not None
        if code == STOPPED:
            raise SystemExit(code)
        return code

    def _queue_again(self) -> None:
        """Have this job run again. If SLURM refuses, the driver submits another one."""
        from submitit import JobEnvironment  # pyright: ignore[reportMissingImports]

        try:
            JobEnvironment()._requeue(0)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"not queued again: {error}", flush=True)  # noqa: T201 - the job's log

    def _saved(self) -> set[str]:
        """The names of the run's checkpoints."""
        place = Path(self._order.folder, self._order.name, "checkpoints")
        return {path.name for path in place.iterdir()} if place.is_dir() else set()
