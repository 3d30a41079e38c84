"""The engine `local`: workers are processes on this machine."""

import signal
import subprocess
from contextlib import suppress

from onecycle.trials.bounded import BoundedEngine
from onecycle.trials.engine import Ended
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.manifest import Jobs
from onecycle.trials.starting import environment, start


class LocalEngine(BoundedEngine[subprocess.Popen[bytes]]):
    """Processes on this machine. Use it as a context; its end leaves no worker running.

    A worker's standard input is a pipe that nothing is written to. It closes when the driver is
    gone, however that ended, and then the worker saves and ends too.
    """

    def __init__(self, folder: TrialsFolder, jobs: Jobs) -> None:
        super().__init__(folder, jobs)
        self._places: dict[str, int] = {}

    def submit(self, name: str) -> None:
        """Start a worker, on the first free GPU if there are any."""
        place = min(set(range(self.jobs.jobs)) - set(self._places.values()))
        device = place % self.jobs.devices if self.jobs.devices else None
        with self._folder.open_log(f"{name}.log") as log:
            self._workers[name] = start(
                "onecycle.trials.worker",
                [str(self._folder.path), name],
                environment(self.jobs.threads, device),
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
        self._wait_for_all()
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
