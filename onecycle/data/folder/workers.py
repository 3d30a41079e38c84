"""Decode many files on all cores, directly into one array on disk.

Workers are plain Python processes that receive lines of JSON and answer with lines of JSON. Unlike
with multiprocessing, the caller's program is not imported again, and no pixels are sent. A worker
ends with its input, so none survives the process that started it. If a file ends a worker, by a bug
in an image library or by the system's memory killer, that file is identified and reported.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np

from onecycle.data.folder.decoding import Resize, Size, Unreadable, grey, pixels, quiet

CHUNK = 64
"""Most files that a worker decodes at a time."""

CHUNK_BYTES = 2**23
"""About the number of bytes that a worker writes at a time."""

WORTH_FILES, WORTH_BYTES = 5000, 2**25
"""With fewer files of fewer bytes, starting workers would take longer than decoding."""

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.readline()); "
    "from onecycle.data.folder.workers import serve; serve()"
)


@dataclass(frozen=True)
class Job:
    """What to do with every file.

    Attributes:
        root: folder that names are relative to.
        target: the .npy file to write the pixels to.
        offset: position of the first image in it.
        shape: (H, W, C) of an image.
        size, resize: as for `decoding.pixels`.
        to_grey: whether an image in colour becomes grey if `shape` has one channel.
    """

    root: str
    target: str
    offset: int
    shape: tuple[int, int, int]
    size: Size
    resize: Resize
    to_grey: bool = False


@dataclass
class Answer:
    """The outcome for a chunk of files.

    Attributes:
        bad: (name, reason) of unreadable files; their places stay empty.
        odd: (name, width, height) of images of another size.
        coloured: whether one has colours although the shape has one channel.
        failure: why the pixels could not be written, or empty.
    """

    bad: list[tuple[str, str]] = field(default_factory=list)
    odd: list[tuple[str, int, int]] = field(default_factory=list)
    coloured: bool = False
    failure: str = ""


def cores() -> int:
    """Number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decode_all(job: Job, names: Sequence[str], total_bytes: int) -> Iterator[tuple[int, Answer]]:
    """Decode the files into their places, in order; yield the count and answer of each chunk.

    Args:
        job: what to do.
        names: the files.
        total_bytes: their total size, which decides whether workers pay off.
    """
    per_chunk = max(1, min(CHUNK, CHUNK_BYTES // int(np.prod(job.shape))))
    chunks = [
        (start, list(names[start : start + per_chunk])) for start in range(0, len(names), per_chunk)
    ]
    count = min(cores(), len(chunks))
    if count > 1 and (len(names) >= WORTH_FILES or total_bytes >= WORTH_BYTES):
        with Workers(count, job) as workers:
            if workers.started:
                for (_, part), answer in zip(chunks, workers.map(chunks), strict=True):
                    yield len(part), answer
                return
    for start, part in chunks:
        yield len(part), do(job, start, part)


def do(job: Job, start: int, names: Sequence[str]) -> Answer:
    """Decode some files and write them to the places from `start` on."""
    answer = Answer()
    images_NHWC = np.zeros((len(names), *job.shape), dtype=np.uint8)
    with quiet():
        for image_HWC, name in zip(images_NHWC, names, strict=True):
            try:
                found_HWC = pixels(os.path.join(job.root, name), job.size, job.resize)
            except Unreadable as error:
                answer.bad.append((name, str(error)))
                continue
            if job.to_grey and job.shape[2] == 1:
                found_HWC = grey(found_HWC)
            height, width, channels = found_HWC.shape
            if (height, width) != job.shape[:2]:
                answer.odd.append((name, width, height))
            elif channels > job.shape[2]:
                answer.coloured = True
            else:
                image_HWC[:] = found_HWC  # grey ones fill all channels
    try:
        with open(job.target, "r+b") as file:
            file.seek(job.offset + start * int(np.prod(job.shape)))
            file.write(images_NHWC.data)
    except OSError as error:
        answer.failure = error.strerror or str(error)
    return answer


# ------------------------------------------------------------------------------------------ workers


def serve() -> None:
    """Run as a worker: read a job, then chunks, one per line, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent process
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # output that a library prints must not count as an answer
    given = json.loads(sys.stdin.readline())
    lists = {name: tuple(each) for name, each in given.items() if isinstance(each, list)}
    job = Job(**given | lists)
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(asdict(do(job, *json.loads(line)))) + "\n")
        answers.flush()


class Workers:
    """Worker processes, each fed by a thread; they are stopped when the block ends."""

    def __init__(self, count: int, job: Job) -> None:
        self._job = job
        self._closing = False
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._all: list[subprocess.Popen[str]] = []
        self._threads = ThreadPoolExecutor(count)
        with suppress(OSError, ValueError):  # if no process can be started, use none
            for process in [self._start() for _ in range(count)]:
                _greet(process)
                self._idle.put(process)
        self.started = self._idle.qsize() == count

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        for process in self._all:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._all:
            with suppress(OSError), process:  # closes the pipes, which may be broken, and waits
                pass

    def map(self, chunks: Sequence[tuple[int, list[str]]]) -> Iterator[Answer]:
        """The answers, in order."""
        return self._threads.map(lambda chunk: self._ask(*chunk), chunks)

    def submit(self, start: int, names: list[str]) -> Future[Answer]:
        """The answer for a chunk, as soon as a worker has decoded it."""
        return self._threads.submit(self._ask, start, names)

    def _ask(self, start: int, names: list[str]) -> Answer:
        process = self._idle.get()
        line = _exchange(process, [start, names])
        if line:
            self._idle.put(process)
            return Answer(**json.loads(line))
        if self._closing:
            return Answer()
        return self._search(process, start, names)

    def _search(self, ended: "subprocess.Popen[str]", start: int, names: list[str]) -> Answer:
        """Decode the files of a chunk that ended a worker, one by one."""
        code = ended.wait()
        process = self._start()
        _greet(process)
        self._idle.put(process)
        if len(names) == 1:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return Answer(bad=[(names[0], f"decoding it ended the process ({how})")])
        whole = Answer()
        for place, name in enumerate(names, start):
            answer = self._ask(place, [name])
            whole.bad += answer.bad
            whole.odd += answer.odd
            whole.coloured |= answer.coloured
            whole.failure = whole.failure or answer.failure
        return whole

    def _start(self) -> "subprocess.Popen[str]":
        """A new process that has received its job."""
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # NumPy's threads would be idle
        )
        self._all.append(process)
        path = [os.path.abspath(folder) for folder in sys.path]
        _say(process, path, asdict(self._job))
        return process


def _greet(process: "subprocess.Popen[str]") -> None:
    """Wait until a worker is ready.

    Raises:
        OSError: it has ended instead.
    """
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        raise OSError("a worker can't be started")


def _exchange(process: "subprocess.Popen[str]", question: Any) -> str:
    """A worker's answer; empty if the worker has ended."""
    assert process.stdout
    try:
        _say(process, question)
    except OSError:
        return ""
    line = process.stdout.readline()
    return line if line.endswith("\n") else ""


def _say(process: "subprocess.Popen[str]", *lines: Any) -> None:
    assert process.stdin
    for line in lines:
        process.stdin.write(json.dumps(line) + "\n")
    process.stdin.flush()
