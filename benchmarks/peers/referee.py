"""Has contenders take turns: one works, the others are stopped.

Each contender is a process with a process group of its own. Between its turns the whole group is
stopped by SIGSTOP: no thread that waits by spinning takes time from others, and no loader makes
batches for free. A turn starts with the loader's queue as the last one left it, as in the middle
of a training.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.catalogue import Contender
from benchmarks.peers.work import Setting, Work, to_json

LONGEST_TURN = 900.0
"""Seconds after which a contender is given up: it hangs."""
LONG_TURN = 8.0
"""Seconds that a turn should not take: a slow contender has fewer steps, and more time for each."""
KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000"}
"""Have glibc keep freed memory: what `runtime.reused_memory` does for onecycle."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ContenderError(Exception):
    """A contender could not be started, or ended."""


@dataclass(frozen=True)
class Turn:
    """What a contender did in a turn: its own seconds, its images, the loss of each step."""

    seconds: float
    images: int
    losses: list[float]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds


class Contestant:
    """A contender's process, stopped except in its turns. A context: it ends with it.

    Args:
        command: what starts it; it answers and takes orders as `turns` does.
        environment: variables besides this process's own; None as a value takes one away.
    """

    def __init__(
        self, command: Sequence[str], environment: dict[str, str | None] | None = None
    ) -> None:
        started = time.perf_counter()
        wanted = os.environ | (environment or {})
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            list(command),
            env={name: value for name, value in wanted.items() if value is not None},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            process_group=0,
        )
        try:
            self.first = self._answer()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.seconds_per_step = self.first.seconds
        """In the last turn."""
        self.startup_seconds = time.perf_counter() - started
        """From its start until it has made one step: imports, data, compiling, the step."""

    def turn(self, steps: int) -> Turn:
        """Let it work for `steps` steps.

        Raises:
            ContenderError: it ended, or hangs.
        """
        assert self._process.stdin
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(f"{steps}\n")
        except OSError as error:
            raise ContenderError(f"it ended: {self._last_words()}") from error
        done = self._answer()
        self.seconds_per_step = done.seconds / steps
        return done

    def _answer(self) -> Turn:
        """Its next answer, after which it is stopped."""
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], LONGEST_TURN)
        if not ready:
            raise ContenderError(f"no answer in {LONGEST_TURN:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise ContenderError(self._last_words())
        self._signal(signal.SIGSTOP)
        return Turn(**json.loads(line))

    def _last_words(self) -> str:
        """The last line that it wrote to its log."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else f"exit code {self._process.returncode}"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended, which its pipe will tell
            os.killpg(self._process.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe:
                pipe.close()


def start(contender: Contender, setting: Setting, work: Work) -> Contestant:
    """Start a contender, which makes its first step.

    Raises:
        ContenderError: it can't run here; the message is the last line of its log.
    """
    command = [sys.executable, "-m", "benchmarks.peers.contender", contender.module]
    threads = str(setting.threads) if setting.threads else None
    environment: dict[str, str | None] = dict.fromkeys(THREAD_VARIABLES, threads)
    environment |= contender.environment
    if setting.keeps_memory:
        environment |= KEPT_MEMORY
    return Contestant([*command, to_json(work), to_json(setting)], environment)


@contextmanager
def all_ended(contestants: dict[str, Contestant]) -> Iterator[None]:
    """However the block is left, no contestant outlives it."""
    try:
        yield
    finally:
        for contestant in contestants.values():
            contestant.__exit__(None, None, None)


def rounds(
    contestants: dict[str, Contestant],
    *,
    turns: int,
    steps: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[dict[str, Turn]]:
    """Each round's turns by contestant: every one has a turn, in an order reversed each round.

    A turn is `steps` steps, or as many of them as fit into `LONG_TURN`, but one at least.

    Raises:
        ContenderError: one of them ended, with its name.
    """
    names = list(contestants)
    for number in range(turns):
        done = {}
        for name in names if number % 2 == 0 else reversed(names):
            try:
                done[name] = contestants[name].turn(fitting(steps, contestants[name]))
            except ContenderError as error:
                raise ContenderError(f"{name}: {error}") from error
            speed = done[name].images_per_second
            tell(f"round {number + 1} of {turns}: {name} {speed:,.0f} images/s")
        yield {name: done[name] for name in names}


def fitting(steps: int, contestant: Contestant) -> int:
    """How many of `steps` it is given."""
    return max(1, min(steps, int(LONG_TURN / contestant.seconds_per_step)))
