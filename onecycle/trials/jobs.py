"""How many trainings at once, with how many threads each: measured, not guessed.

Two trainings of two threads on two cores can be three times slower than one after the other, since
threads that wait for each other spin. Which way is best depends on the network and the machine.
"""

import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Literal

from onecycle.errors import InputError
from onecycle.trials.folder import TrialsFolder
from onecycle.trials.listening import Listener
from onecycle.trials.manifest import Jobs, Measurement
from onecycle.trials.starting import environment, start
from onecycle.writing.numbers import counted

Wanted = int | Literal["auto"]
"""Trainings at once; auto: as many as are fastest."""

MOST = 1024
"""Largest number of trainings at once."""

WORTH_IT = 1.05
"""By how much more trainings at once must be faster than fewer, which take less memory."""


def wanted(text: str) -> Wanted:
    """What was given with --jobs.

    Raises:
        InputError: it is neither a number in range nor `auto`.
    """
    if text == "auto":
        return "auto"
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text[:6]) <= MOST:
        raise InputError(f"--jobs: '{text}' is not a number from 1 to {MOST}; give one, or auto")
    return int(text)


def candidates(threads: int, trials: int) -> list[tuple[int, int]]:
    """The ways to share the threads evenly: trainings at once, threads of each; fewest first."""
    counts = range(1, min(threads, trials) + 1)
    return [(count, threads // count) for count in counts if threads % count == 0]


def fastest(measured: Sequence[Measurement]) -> Measurement | None:
    """The way with the most images per second; of nearly equal ones that with the fewest jobs.

    None if none could be measured.
    """
    best, speed = None, 0.0
    for each in sorted(measured, key=lambda each: each.jobs):
        if each.images_per_second and each.images_per_second > speed * WORTH_IT:
            best, speed = each, each.images_per_second
    return best


def decide(
    asked: Wanted, threads: int, devices: int, folder: TrialsFolder, left: Sequence[str],
    listener: Listener,
) -> Jobs:  # fmt: skip
    """How the trials share the machine.

    Args:
        asked: trainings at once.
        threads: CPU threads in all.
        devices: GPUs that the recipe uses; 0: it uses none.
        folder: of the trials.
        left: the trials that are not finished, of which the first is measured.
        listener: is told what was measured.
    """
    if asked == "auto" and devices:
        asked = max(1, min(devices, len(left)))
    if asked != "auto":
        return Jobs(jobs=asked, threads=max(1, threads // asked), devices=devices)
    ways = candidates(threads, len(left))
    if len(ways) == 1:
        return Jobs(jobs=1, threads=threads)
    listener.note(
        f"jobs: timing {counted(len(ways), 'way')} to share {counted(threads, 'thread')} …"
    )
    measured = [
        Measurement(jobs=jobs, threads=each, images_per_second=speed(folder, left[0], jobs, each))
        for jobs, each in ways
    ]
    best = fastest(measured)
    listener.note(told(measured, best))
    if best is None:
        return Jobs(jobs=1, threads=threads, measured=measured)
    return Jobs(jobs=best.jobs, threads=best.threads, measured=measured)


def told(measured: Sequence[Measurement], best: Measurement | None) -> str:
    """`jobs: 1 × 2 threads, 2,310 images/s; 2 × 1 thread had 1,900`."""
    if best is None:
        return "jobs: none could be timed, so one at a time; the first trial will tell why"
    others = [
        f"{_way(each)} "
        + ("failed" if each.images_per_second is None else f"had {each.images_per_second:,.0f}")
        for each in measured
        if each != best
    ]
    return f"jobs: {_way(best)}, {best.images_per_second:,.0f} images/s; {', '.join(others)}"


def _way(each: Measurement) -> str:
    return f"{each.jobs} at a time with {counted(each.threads, 'thread')}"


def speed(folder: TrialsFolder, name: str, jobs: int, threads: int) -> float | None:
    """Images per second of so many trainings at once, in processes as the workers are.

    None if one of them failed, for example because there is too little memory.
    """
    command, environ = [str(folder.path), name, str(threads)], environment(threads)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(jobs):
            processes.append(start("onecycle.trials.measuring", command, environ))
        if not all(_output(each).readline() == b"ready\n" for each in processes):
            return None
        for each in processes:
            _tell(each)
        found = [json.loads(_output(each).readline()) for each in processes]
        return sum(each["images"] / each["seconds"] for each in found)
    except (OSError, ValueError):
        return None
    finally:
        for each in processes:
            each.kill()
            each.communicate()


def _output(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    assert process.stdout
    return process.stdout


def _tell(process: "subprocess.Popen[bytes]") -> None:
    """Have a process begin, now that all are ready."""
    assert process.stdin
    with suppress(BrokenPipeError):
        process.stdin.write(b"go\n")
        process.stdin.flush()
