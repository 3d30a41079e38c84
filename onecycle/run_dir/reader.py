"""Reading a run: only this module reads the files and checks them against `records` and `arrays`.

A run may come from a stranger: no link in its folder is followed, and reading takes no more memory
than the files of a real run do.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from onecycle.config import Recipe, from_toml
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress
from onecycle.run_dir import arrays, checkpoints, logs, saved_weights
from onecycle.run_dir.checking import Misfit, from_json
from onecycle.run_dir.checkpoints import Checkpoint
from onecycle.run_dir.files import damaged, read, read_json
from onecycle.run_dir.record_files import Record, read_record
from onecycle.run_dir.records import (
    Band,
    Curve,
    Environment,
    EpochRow,
    Measured,
    Network,
    RangeTest,
    Result,
    StepRow,
)

RECIPE_BYTES = 2**20
"""Maximum size of recipe.toml, in bytes."""


class Reader:
    """The content of a run folder. Each method raises an InputError if its file is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def finished(self) -> bool:
        """Whether the run has finished: result.json is written last."""
        return (self.path / "result.json").is_file()

    def read(self, name: str, most: int) -> bytes | None:
        """The content of a file of up to `most` bytes; None if there is none.

        Raises:
            InputError: it is too large, a link or not a file.
        """
        return read(self.path, name, most)

    def read_recipe(self) -> Recipe:
        """The recipe in recipe.toml.

        Raises:
            InputError: it is missing, can't be read, or its content is refused.
        """
        path = self.path / "recipe.toml"
        content = read(self.path, path.name, RECIPE_BYTES)
        if content is None:
            raise InputError(f"{path}: can't be read: No such file or directory")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{path}: can't be read: it is not UTF-8 text") from None
        return from_toml(text, source=str(path))

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The unchecked content of a JSON file; None if there is none.

        Raises:
            InputError: it is damaged.
        """
        return read_json(self.path, name)

    def environment(self) -> Environment:
        """The content of environment.json; an empty record if there is none.

        Raises:
            InputError: it is damaged.
        """
        return self.record(Environment) or Environment()

    def range_test(self) -> RangeTest | None:
        """The content of lr_range_test.json; None if no range test was run.

        Raises:
            InputError: it is damaged.
        """
        found = self.record(RangeTest)
        for curve in [] if found is None else [found.curve, *found.curves]:
            if curve is not None and (len(lengths := _lengths(curve)) != 1 or 0 in lengths):
                raise damaged(self.path / RangeTest.FILE, "a curve has gaps")
        return found

    def measured(self) -> Measured:
        """The content of audit.json; an empty record if there is none.

        Raises:
            InputError: it is damaged.
        """
        return self.record(Measured) or Measured()

    def result(self) -> Result | None:
        """The content of result.json; None if the run is unfinished.

        Raises:
            InputError: it is damaged.
        """
        return self.record(Result)

    def network(self) -> Network | None:
        """The content of network.json; None in a run of an older version.

        Raises:
            InputError: it is damaged.
        """
        return self.record(Network)

    def record(self, kind: type[Record]) -> Record | None:
        """The content of a record's file; None if there is none.

        Raises:
            InputError: it is damaged.
        """
        return read_record(self.path, kind)

    def load_arrays(self, name: str) -> dict[str, np.ndarray]:
        """All arrays of an npz file. Nothing in it is executed.

        Raises:
            InputError: it is missing or damaged.
        """
        try:
            return arrays.read_arrays(self.path, name)
        except FileNotFoundError:
            raise self._missing(name) from None

    def predictions(self, *needed: str) -> dict[str, np.ndarray] | None:
        """The arrays of predictions.npz; None if there is none yet. See `arrays.PREDICTIONS`.

        Args:
            needed: required arrays besides `logits` and `labels`.

        Raises:
            InputError: it is damaged.
        """
        try:
            found = arrays.read_arrays(self.path, "predictions.npz", arrays.PREDICTIONS)
        except FileNotFoundError:
            return None
        arrays.check_predictions(self.path / "predictions.npz", found, needed)
        return found

    def examples(self, images: int, classes: int) -> dict[str, np.ndarray] | None:
        """The arrays of examples.npz; None if there is none yet. See `arrays.EXAMPLES`.

        Args:
            images: number of images in the test split.
            classes: number of classes.

        Raises:
            InputError: it is damaged.
        """
        try:
            found = arrays.read_arrays(self.path, "examples.npz", arrays.EXAMPLES)
        except FileNotFoundError:
            return None
        arrays.check_examples(self.path / "examples.npz", found, images, classes)
        return found

    def _missing(self, name: str) -> InputError:
        return InputError(f"{self.path / name}: is missing; resume the run, or train again")

    def example_images(self, images: int) -> tuple[np.ndarray, np.ndarray] | None:
        """From examples.npz only the indices and the images, uint8 E H W C.

        None if there is no such file. Raises the same errors as `examples`.
        """
        forms = {name: arrays.EXAMPLES[name] for name in ("indices", "images")}
        try:
            found = arrays.read_arrays(self.path, "examples.npz", forms)
        except FileNotFoundError:
            return None
        arrays.check_images(self.path / "examples.npz", found, images)
        return found["indices"], found["images"]

    def has_checkpoints(self) -> bool:
        """Whether any checkpoint was saved, damaged or not."""
        return checkpoints.exist(self.path / "checkpoints")

    def best_checkpoint(self) -> Checkpoint | None:
        """The checkpoint `best`; None if there is none.

        Raises:
            InputError: it is damaged, or a link.
        """
        return checkpoints.best(self.path / "checkpoints")

    def newest_checkpoint(
        self, progress: Progress = SILENT, most: int | None = None
    ) -> Checkpoint | None:
        """The newest undamaged checkpoint; None if none was saved yet.

        A damaged one is reported as a note, and the one before it is used.

        Raises:
            InputError: all are damaged, or one is a link.
        """
        return next(self.checkpoints(progress, most), None)

    def checkpoint_to_go_on_from(
        self, progress: Progress = SILENT, most: int | None = None
    ) -> Checkpoint | None:
        """The newest checkpoint that is undamaged and has undamaged logs; None if none was saved.

        Damage is reported as a note, and the checkpoint before is used.

        Raises:
            InputError: there are checkpoints, but none of them can be used.
        """
        reason = None
        for checkpoint in self.checkpoints(progress, most):
            reason = self._damaged_log(checkpoint)
            if reason is None:
                return checkpoint
            progress.note(f"{reason}; trying the checkpoint before step {checkpoint.step}")
        if reason:
            raise InputError(f"{reason}; restore it, or train again")
        return None

    def checkpoints(
        self, progress: Progress = SILENT, most: int | None = None
    ) -> Iterator[Checkpoint]:
        """The undamaged checkpoints, the newest first; a damaged one is reported as a note.

        Args:
            progress: listens.
            most: largest size of a checkpoint's tensors, in bytes.

        Raises:
            InputError: all are damaged, or one is a link.
        """
        return checkpoints.undamaged(self.path / "checkpoints", progress, most)

    def _damaged_log(self, checkpoint: Checkpoint) -> str | None:
        if checkpoint.logs.keys() != set(logs.NAMES):
            return f"{self.path}: its checkpoints are of a version that did not seal the logs"
        found = (logs.damage(self.path, name, seal) for name, seal in checkpoint.logs.items())
        return next((reason for reason in found if reason), None)

    def newest_weights(self) -> tuple[int, str] | None:
        """Step and `weights_sha256` of the newest undamaged checkpoint; None if none was saved.

        The file is read piece by piece, so this takes little memory.

        Raises:
            InputError: all are damaged, or one is a link.
        """
        return saved_weights.newest(self.path / "checkpoints")

    def read_rows(self, name: str) -> list[dict[str, Any]]:
        """The unchecked rows of a .jsonl file; none if there is no file.

        A last row that was cut short is dropped.

        Raises:
            InputError: a row before the last is damaged.
        """
        return [row for _, row in logs.rows(self.path, name)]

    def epochs(self) -> list[EpochRow]:
        """The rows of metrics.jsonl.

        Raises:
            InputError: a row is damaged.
        """
        return list(self._rows(EpochRow))

    def steps(self) -> Iterator[StepRow]:
        """The rows of steps.jsonl, one at a time, for there may be millions.

        Raises:
            InputError: a row is damaged.
        """
        return self._rows(StepRow)

    def _rows(self, kind: type[Record]) -> Iterator[Record]:
        for number, row in logs.rows(self.path, kind.FILE):
            try:
                yield from_json(row, kind)
            except Misfit as misfit:
                raise logs.damaged_row(self.path / kind.FILE, number, str(misfit)) from None


def _lengths(curve: Band | Curve) -> set[int]:
    """The numbers of readings in the columns."""
    columns = ("lr", "loss", "smoothed", "low", "high")
    values = (getattr(curve, name, None) for name in columns)
    return {len(column) for column in values if column is not None}
