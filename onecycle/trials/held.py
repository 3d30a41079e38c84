"""A worker that is held by a process of a cluster: it saves and ends when its holder is gone.

The holder runs wherever the cluster starts it. This module imports only the standard library, so
that a holder is small.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

LOOK = 0.1
"""Seconds between two looks at the worker."""

SHELL = 'trap "" USR1 USR2; trap : TERM INT HUP; "$@"; exit $?'
"""The shell between holder and worker. A cluster may signal all processes of a job: warnings on
USR1 and USR2 are the holder's matter, and on TERM the worker saves, for which the shell waits. Ray
kills the children of a holder that ends; those of the shell get the time to save."""

STOPPED = 128 + signal.SIGTERM
"""The exit code of a worker that was asked to save and end."""


class Order(NamedTuple):
    """What a holder needs to start a worker.

    Attributes:
        folder: of the trials, absolute.
        name: of the trial.
        log: the file for what the worker prints.
        threads: CPU threads.
        gpus: whether it may use the GPUs that the cluster gave to the holder.
        directory: in which it works; paths in the recipe start there.
        flags: of the Python interpreter.
    """

    folder: str
    name: str
    log: str
    threads: int
    gpus: bool
    directory: str
    flags: tuple[str, ...] = ()


class HeldWorker:
    """A worker's process.

    Raises:
        OSError: on construction, when it can't be started here.
    """

    def __init__(self, order: Order) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(order.threads))
        hidden = {} if order.gpus else {"CUDA_VISIBLE_DEVICES": ""}
        module = "onecycle.trials.worker"
        worker = [sys.executable, *order.flags, "-m", module, order.folder, order.name]
        with open(order.log, "ab", opener=_opened_itself) as log:
            self._process = subprocess.Popen(
                ["sh", "-c", SHELL, "sh", *worker],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=order.directory,
                env=os.environ | threads | hidden,
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        """The exit code, 128 + n if signal n killed it; None while it runs."""
        code = self._process.poll()
        if code is not None:
            self.ask_to_end()  # nobody listens any more
        return code

    def wait(self, until: Callable[[], bool] = lambda: False) -> int | None:
        """Its exit code, once it has ended; None if `until` holds before."""
        while (code := self.code) is None and not until():
            time.sleep(LOOK)
        return code

    def ask_to_end(self) -> None:
        """Have it save and end, as when the holder is gone: its standard input is closed."""
        if self._process.stdin:
            self._process.stdin.close()


def _opened_itself(path: str, flags: int) -> int:
    """A descriptor of a file, which may not be a link."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


class Lines:
    """The lines that come from a pipe, as they come.

    Attributes:
        closed: whether there will be no more.
    """

    def __init__(self, source: int) -> None:
        self._source, self._rest, self.closed = source, b"", False

    def read(self, seconds: float) -> list[bytes]:
        """The lines that have come, after waiting so long for the first."""
        if self.closed or not select.select([self._source], [], [], seconds)[0]:
            return []
        part = os.read(self._source, 65536)
        self.closed = not part
        *lines, self._rest = (self._rest + part).split(b"\n")
        return lines

    def first(self, seconds: float = 3600.0) -> bytes:
        """The first line; empty if none comes within so many seconds. No other may follow yet."""
        deadline, lines = time.monotonic() + seconds, list[bytes]()
        while not (lines or self.closed) and time.monotonic() < deadline:
            lines = self.read(1.0)
        return next(iter(lines), b"")
