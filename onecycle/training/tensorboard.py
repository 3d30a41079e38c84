"""Curves and pictures of a run for TensorBoard, written while it trains."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import (  # made at run time, without types
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from torch.utils.tensorboard import RecordWriter
from torch.utils.tensorboard.summary import image, scalar

from onecycle.progress import Progress
from onecycle.progress.stage import splits_of
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.files import writing


@contextmanager
def tensorboard(run: RunDir) -> Iterator[Progress]:
    """A listener that writes an event file into the run's folder `tensorboard`.

    It first writes what the run has logged so far. A resumed run's logs have been cut back to its
    checkpoint. So its curves have neither a step twice nor a gap, and they are complete even if it
    was begun without TensorBoard.

    Raises:
        InputError: that folder is a link.
        TrainingError: it can't be written; the listener raises this too.
    """
    with closing(EventFile(run)) as listener:
        for row in run.steps():
            listener.step(to_json(row))
        for row in run.epochs():
            listener.epoch(to_json(row))
        yield listener


class EventFile(Progress):
    """Writes what it hears into a new event file. The axis of its curves counts the steps done."""

    def __init__(self, run: RunDir) -> None:
        name = f"events.out.tfevents.{time.time_ns()}"  # read in the order of their names
        self._path, self._done = run.folder("tensorboard") / name, 0
        with writing(self._path):
            self._file = BufferedWriter(run.open_to_append(f"tensorboard/{name}"))
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        # TensorBoard forgets what it has read from earlier files of this folder.
        self._write(session_log=SessionLog(status=SessionLog.START))

    def step(self, row: Mapping[str, float]) -> None:
        self._done = int(row["step"]) + 1
        self._write(summary=scalar("loss/batch", row["loss"]))
        for rate in ("lr", "momentum"):
            self._write(summary=scalar(f"rates/{rate}", row[rate]))

    def epoch(self, row: Mapping[str, float]) -> None:
        self._done = int(row["step"])
        for split in splits_of(row):
            for figure in ("loss", "accuracy"):
                self._write(summary=scalar(f"{figure}/{split}", row[f"{split}_{figure}"]))

    def picture(self, path: Path) -> None:
        pixels_HWC = np.asarray(Image.open(path))
        self._write(summary=image(f"pictures/{path.stem}", pixels_HWC, dataformats="HWC"))

    def close(self) -> None:
        """Close the file."""
        with writing(self._path):
            self._file.close()

    def _write(self, **content: Any) -> None:
        event = Event(wall_time=time.time(), step=self._done, **content)
        with writing(self._path):
            self._records.write(event.SerializeToString())
            self._records.flush()
