"""The engine `slurm`: each worker is a job of a SLURM cluster, submitted with submitit."""

import io
import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from typing import TYPE_CHECKING, Any, Literal

from onecycle.errors import InputError
from onecycle.trials.bounded import ClusterEngine
from onecycle.trials.engine import Ended
from onecycle.trials.folder import SLURM, WORKERS, TrialsFolder
from onecycle.trials.jobs import Wanted
from onecycle.trials.manifest import Jobs
from onecycle.trials.slurm_job import WARNED, SlurmJob

if TYPE_CHECKING:
    from submitit import Job  # pyright: ignore[reportMissingImports]

AT_ONCE, THREADS = 64, 4
"""Jobs in the queue, and CPU threads of each, if nothing else is asked for."""

LOOK = 5.0
"""Seconds between two looks at the queue."""

GPU_OPTIONS = {"gpus", "gres", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "tres-per-task"}
"""The options of sbatch that ask for GPUs."""

OURS = (
    "array", "error", "input", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output",
    "parsable", "requeue", "no-requeue", "signal", "test-only", "wait", "wrap", "chdir",
)  # fmt: skip
"""The options of sbatch that this engine sets, or that it can't work with."""


def read_options(text: str) -> dict[str, str]:
    """The options of sbatch in `partition=gpu,time=4:00:00,gpus=1`.

    A comma within a value is kept: `exclude=n1,n2,mem=8G` has two options.

    Raises:
        InputError: a word has no name, an option is given twice, or the engine sets it itself.
    """
    found: dict[str, str] = {}
    last = ""
    for word in filter(None, text.split(",")):
        name, equals, value = word.strip().partition("=")
        name = name.lstrip("-").replace("_", "-")
        if not equals and last:
            found[last] += f",{word.strip()}"
            continue
        if not equals or not name:
            raise InputError(
                f"--slurm: '{word}' is not an option of sbatch and its value; write "
                "partition=NAME,time=4:00:00,gpus=1"
            )
        if name in found:
            raise InputError(f"--slurm: {name} is given twice; give it once")
        found[name], last = value, name
    return checked_options(found)


def checked_options(options: Mapping[str, str]) -> dict[str, str]:
    """The options, if they may be given.

    Raises:
        InputError: the engine sets one of them itself.
    """
    for name in options:
        if name in OURS:
            raise InputError(
                f"--slurm: {name} is set by onecycle, a job has one trial; leave it out"
            )
    cpus = options.get("cpus-per-task", "1")
    if not cpus.isdecimal() or not 1 <= int(cpus[:6]) <= 1024:
        raise InputError(f"--slurm: cpus-per-task: '{cpus}' is not a number from 1 to 1024")
    return dict(options)


def shared(asked: Wanted, threads: int, options: Mapping[str, str], left: int) -> Jobs:
    """How many jobs are in the queue at once, and the CPU threads of each.

    Raises:
        InputError: the threads are given twice.
    """
    cpus = int(options.get("cpus-per-task", "0"))
    if threads and cpus and threads != cpus:
        raise InputError(
            f"--threads: is {threads}, and cpus-per-task of --slurm is {cpus}; give one of them"
        )
    count = max(1, min(left, AT_ONCE)) if asked == "auto" else asked
    return Jobs(jobs=count, threads=cpus or threads or THREADS)


class SlurmEngine(ClusterEngine["Job[int]"]):
    """Each worker is a job. Use it as a context.

    Jobs go on without the driver. A new driver finds those that are in the queue by the file
    `NAME.job` and waits for them.

    Args:
        folder: of the trials, on a path that the compute nodes share.
        options: of sbatch, by their long names.
        device: of the recipe; `cuda` asks for one GPU unless an option does.
        cluster: `local` has submitit start the jobs on this machine, for tests.
    """

    def __init__(
        self,
        folder: TrialsFolder,
        options: Mapping[str, str],
        device: str = "auto",
        *,
        cluster: Literal["slurm", "local"] = "slurm",
    ) -> None:
        super().__init__(folder, Jobs(jobs=1, threads=1))
        self._cluster = cluster
        self._options = dict(options)
        if "cuda" in device and not GPU_OPTIONS & set(options):
            self._options["gpus-per-node"] = "1"
        self._place = folder.path.absolute() / WORKERS / SLURM
        if "%" in str(self._place):
            raise InputError("--into: SLURM can't write into a folder with % in its name")
        self._cancelled: set[str] = set()
        self._queue = Queue()

    def submit(self, name: str) -> None:
        """Submit a job, unless an earlier driver did and it is still in the queue.

        Raises:
            InputError: sbatch refuses it.
        """
        if earlier := self._earlier(name):
            self._workers[name] = earlier
            return
        order = self._order(name, gpus=True)  # SLURM shows those of the job
        self._cancelled.discard(name)
        executor = self._executor(name)
        try:
            with redirect_stderr(io.StringIO()):  # submitit prints there what it raises
                job = executor.submit(SlurmJob(order))
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines()]
            reason = (lines or [type(error).__name__])[0]
            for told in ("sbatch: ", "error: "):
                reason = reason.removeprefix(told)
            raise InputError(f"--slurm: sbatch refuses the job: {reason}") from error
        self._folder.note_job(name, job.job_id if self._cluster == "slurm" else "")
        self._workers[name] = job

    def poll(self) -> list[Ended]:
        """The workers that have ended since the last call.

        Raises:
            InputError: the compute nodes don't see the folder.
        """
        ended = [
            Ended(name, _code(job)) for name, job in self._workers.items() if self._has_ended(job)
        ]
        for name, _ in ended:
            job = self._workers.pop(name)
            self._folder.note_job(name, "")
            left_nothing = self._cluster == "slurm" and not job.paths.stdout.exists()
            if left_nothing and name not in self._cancelled:
                raise InputError(
                    f"--engine slurm: job {job.job_id} ended and wrote nothing into "
                    f"'{self._place}'; if nobody cancelled it, the compute nodes don't see that "
                    "folder: name one with --into that they do"
                )
        return ended

    def cancel(self, name: str) -> None:
        """Ask a worker to save and end; a job that still waits leaves the queue."""
        if name in self._workers:
            self._cancel([name])

    def stop(self) -> None:
        """Ask all workers to save and end, and wait a minute for that."""
        self._cancel(list(self._workers))
        self._queue.every = 1.0
        self._wait_for_all()
        self.close()

    def close(self) -> None:
        """Cancel what is still in the queue. SLURM kills a job that doesn't end soon."""
        self._cancel(list(self._workers))
        self._workers.clear()

    def _executor(self, name: str) -> Any:
        import submitit  # pyright: ignore[reportMissingImports]

        logging.getLogger("submitit").setLevel(logging.CRITICAL)
        if self._cluster == "local":
            executor = submitit.LocalExecutor(self._place)
            executor.update_parameters(timeout_min=10**6, signal_delay_s=WARNED)
            return executor
        executor = submitit.SlurmExecutor(self._place)
        executor.update_parameters(
            time=None,
            job_name=name,
            wckey=None,
            signal_delay_s=WARNED,
            additional_parameters={"cpus_per_task": self.jobs.threads, "requeue": True}
            | {name.replace("-", "_"): value or True for name, value in self._options.items()},
        )
        return executor

    def _earlier(self, name: str) -> "Job[int] | None":
        """The job that an earlier driver submitted for a trial, if it is still in the queue."""
        number = self._folder.job(name)
        if self._cluster != "slurm" or not number or not self._queue.shows(number):
            return None
        import submitit  # pyright: ignore[reportMissingImports]

        return submitit.SlurmJob(self._place, number)

    def _has_ended(self, job: "Job[int]") -> bool:
        if job.paths.result_pickle.exists():
            return True
        return job.done() if self._cluster == "local" else not self._queue.has(job.job_id)

    def _cancel(self, names: Sequence[str]) -> None:
        self._cancelled |= set(names)
        jobs = [self._workers[name] for name in names]
        if not jobs:
            return
        if self._cluster == "local":
            for job in jobs:
                job.cancel()
        else:
            numbers = [job.job_id for job in jobs]
            subprocess.run(["scancel", *numbers], capture_output=True, check=False)


class Queue:
    """Which of the user's jobs are waiting or running, as squeue says.

    Attributes:
        every: seconds between two looks.
    """

    def __init__(self) -> None:
        self.every = LOOK
        self._seen: set[str] = set()
        self._gone: dict[str, int] = {}
        self._looked, self._looks = float("-inf"), 0

    def has(self, number: str) -> bool:
        """Whether a job is in the queue. It is gone if two looks in a row don't show it."""
        if time.monotonic() - self._looked > self.every:
            self._look()
        if number in self._seen:
            self._gone.pop(number, None)
            return True
        return self._looks - self._gone.setdefault(number, self._looks) < 2

    def shows(self, number: str) -> bool:
        """Whether a job is in the queue at the moment."""
        if time.monotonic() - self._looked > 1.0:
            self._look()
        return number in self._seen

    def _look(self) -> None:
        done = subprocess.run(
            ["squeue", "--me", "--noheader", "--format=%i"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        self._looked = time.monotonic()
        if done.returncode == 0:  # else the controller is busy
            self._seen, self._looks = set(done.stdout.split()), self._looks + 1


def _code(job: "Job[int]") -> int | None:
    """The exit code of a job's worker; None if the job was ended before it could say."""
    if not job.paths.result_pickle.exists():
        return None
    try:
        return job.result()
    except Exception:  # submitit raises what the job raised, and errors of its own
        return None
