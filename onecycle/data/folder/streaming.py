"""Decode files one after another, on all cores, into memory instead of the cache.

Shapes: N images, H height, W width, C channels.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from onecycle.data.folder.decoding import Resize, Unreadable, grey, pixels, quiet
from onecycle.data.folder.workers import CHUNK, CHUNK_BYTES, Answer, Job, Workers, cores
from onecycle.errors import TrainingError

AHEAD = 512
"""About the number of images that are decoded ahead of those that are asked for."""


@dataclass(frozen=True)
class Form:
    """The form that all images get.

    Attributes:
        shape: (H, W, C), with C 1 or 3.
        resize: as for `decoding.pixels`.
    """

    shape: tuple[int, int, int]
    resize: Resize

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.shape[:2]

    @property
    def per_chunk(self) -> int:
        """Number of images that a worker decodes at a time."""
        return max(1, min(CHUNK, CHUNK_BYTES // int(np.prod(self.shape))))

    def fitted(self, image_HWC: np.ndarray) -> np.ndarray:
        """An image of this size with as many channels as the form has."""
        if self.shape[2] == 1:
            return grey(image_HWC)
        return np.broadcast_to(image_HWC, self.shape)


@dataclass(frozen=True)
class Chunk:
    """Decoded files, in order.

    Attributes:
        paths: of the files.
        images_NHWC: uint8. The place of an unreadable file has no meaning.
        reasons: why a file is unreadable, by its path.
    """

    paths: list[str]
    images_NHWC: np.ndarray
    reasons: dict[str, str]


def decoded(paths: Iterable[str | None], form: Form, *, few: bool) -> Iterator[Chunk | None]:
    """The files in order, chunk by chunk.

    Args:
        paths: of the files. None means that the next one may take a while: everything before it is
            given first, and then None.
        form: that of the decoded images.
        few: whether they are too few to start worker processes for them.

    Raises:
        TrainingError: the pixels can't be written to a temporary file.
    """
    chunks = _chunks(paths, form.per_chunk)
    if few or cores() == 1:
        yield from _in_threads(chunks, form)
        return
    with TemporaryDirectory(prefix="onecycle-") as folder:
        ring = _Ring(Path(folder) / "pixels", form)
        with _starting(ring.job) as starting:
            yield from _in_threads(_until(chunks, starting.done), form)
            if starting.result().started:
                yield from ring.filled(chunks, starting.result())
            else:
                yield from _in_threads(chunks, form)


@contextmanager
def _starting(job: Job) -> Iterator[Future[Workers]]:
    """Workers that start in the meantime, and are stopped when the block ends."""
    with ThreadPoolExecutor(1) as aside:
        starting = aside.submit(Workers, cores(), job)
        try:
            yield starting
        finally:
            with starting.result():
                pass


def _until(
    chunks: Iterator[list[str] | None], done: Callable[[], bool]
) -> Iterator[list[str] | None]:
    """The chunks that are asked for before something is done."""
    while not done():
        chunk = next(chunks, _END)
        if chunk is _END:
            return
        yield chunk


_END: list[str] = []


def _chunks(paths: Iterable[str | None], most: int) -> Iterator[list[str] | None]:
    """Up to `most` paths at a time; None where it is time to give what there is."""
    chunk: list[str] = []
    for path in paths:
        if path is not None:
            chunk.append(path)
        if chunk and (path is None or len(chunk) == most):
            yield chunk
            chunk = []
        if path is None:
            yield None
    if chunk:
        yield chunk


def _in_threads(chunks: Iterable[list[str] | None], form: Form) -> Iterator[Chunk | None]:
    with ThreadPoolExecutor(cores()) as threads, quiet():
        for paths in chunks:
            if paths is None:
                yield None
                continue
            found = list(threads.map(lambda path: _one(path, form), paths))
            images_NHWC = np.zeros((len(paths), *form.shape), dtype=np.uint8)
            reasons = {}
            for path, image_HWC, place in zip(paths, found, images_NHWC, strict=True):
                if isinstance(image_HWC, str):
                    reasons[path] = image_HWC
                else:
                    place[:] = image_HWC
            yield Chunk(paths, images_NHWC, reasons)


def _one(path: str, form: Form) -> np.ndarray | str:
    """The image in a file, or the reason why it is unreadable."""
    try:
        return form.fitted(pixels(path, form.size, form.resize))
    except Unreadable as error:
        return str(error)


class _Ring:
    """A file that worker processes write chunks to, and whose places are used in turn."""

    def __init__(self, target: Path, form: Form) -> None:
        self._per_chunk = form.per_chunk
        self._places = -(-AHEAD // self._per_chunk) + cores()
        shape = (self._places * self._per_chunk, *form.shape)
        try:
            self._images_NHWC = np.memmap(target, np.uint8, "w+", shape=shape)
        except OSError as error:
            raise _unwritable(error.strerror or str(error)) from None
        self.job = Job(
            root="", target=str(target), offset=0, shape=form.shape, size=form.size,
            resize=form.resize, to_grey=True,
        )  # fmt: skip

    def filled(
        self, chunks: Iterable[list[str] | None], workers: Workers
    ) -> Iterator[Chunk | None]:
        """The chunks in order, decoded ahead as far as there are places."""
        waiting: deque[tuple[list[str], int, Future[Answer]]] = deque()
        count = 0
        for paths in chunks:
            while waiting and (paths is None or len(waiting) == self._places):
                yield self._taken(*waiting.popleft())
            if paths is None:
                yield None
                continue
            start = count % self._places * self._per_chunk
            waiting.append((paths, start, workers.submit(start, paths)))
            count += 1
        while waiting:
            yield self._taken(*waiting.popleft())

    def _taken(self, paths: list[str], start: int, future: Future[Answer]) -> Chunk:
        """A chunk in memory of its own, so that its place can be used again."""
        answer = future.result()
        if answer.failure:
            raise _unwritable(answer.failure)
        images_NHWC = np.array(self._images_NHWC[start : start + len(paths)])
        return Chunk(paths, images_NHWC, dict(answer.bad))


def _unwritable(reason: str) -> TrainingError:
    where = os.environ.get("TMPDIR") or "/tmp"
    return TrainingError(
        f"decoding: can't write to a temporary file in '{where}': {reason}; free space there, or "
        "name another folder in TMPDIR"
    )
