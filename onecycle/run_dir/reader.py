"""Reading a run: only this module reads the files and checks them against `records` and `arrays`.

A run may come from a stranger: no link in its folder is followed, and reading takes no more memory
than the files of a real run do.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from onecycle.config import Recipe, from_toml
from onecycle.errors import InputError
from onecycle.run_dir import arrays, checkpoints, logs
from onecycle.run_dir.checking import Misfit, from_json
from onecycle.run_dir.files import damaged, read, read_json
from onecycle.run_dir.records import (
    Band,
    Curve,
    Environment,
    EpochRow,
    Measured,
    Network,
    RangeTest,
    Recorded,
    Result,
    StepRow,
)

RECIPE_BYTES = 2**20
"""Maximum size of recipe.toml, in bytes."""

Record = TypeVar("Record", bound=Recorded)


class Reader:
    """What a run folder holds. Each method raises an InputError where its file is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def finished(self) -> bool:
        """Whether the run has finished: result.json is written last."""
        return (self.path / "result.json").is_file()

    def read(self, name: str, most: int) -> bytes | None:
        """What a file of up to `most` bytes holds, or None where there is none.

        Raises:
            InputError: it is too large, a link or no file.
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
        """What a JSON file holds, unchecked, or None where there is none.

        Raises:
            InputError: it is damaged.
        """
        return read_json(self.path, name)

    def environment(self) -> Environment:
        """What environment.json holds; nothing where there is none.

        Raises:
            InputError: it is damaged.
        """
        return self.record(Environment) or Environment()

    def range_test(self) -> RangeTest | None:
        """What lr_range_test.json holds, or None where no range test was run.

        Raises:
            InputError: it is damaged.
        """
        found = self.record(RangeTest)
        for curve in [] if found is None else [found.curve, *found.curves]:
            if curve is not None and (len(lengths := _lengths(curve)) != 1 or 0 in lengths):
                raise damaged(self.path / RangeTest.FILE, "a curve has gaps")
        return found

    def measured(self) -> Measured:
        """What audit.json holds; nothing where there is none.

        Raises:
            InputError: it is damaged.
        """
        return self.record(Measured) or Measured()

    def result(self) -> Result | None:
        """What result.json holds, or None while the run is unfinished.

        Raises:
            InputError: it is damaged.
        """
        return self.record(Result)

    def network(self) -> Network | None:
        """What network.json holds, or None in a run of an older version.

        Raises:
            InputError: it is damaged.
        """
        return self.record(Network)

    def record(self, kind: type[Record]) -> Record | None:
        """What the file of a record holds, or None where there is none.

        Raises:
            InputError: it is damaged.
        """
        value = self.read_json(kind.FILE)
        if value is None:
            return None
        try:
            return from_json(value, kind)
        except Misfit as misfit:
            raise damaged(self.path / kind.FILE, misfit) from None

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
        """The arrays of predictions.npz, or None where there is none yet; see `arrays.PREDICTIONS`.

        Args:
            needed: arrays that it must have besides `logits` and `labels`.

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
        """The arrays of examples.npz, or None where there is none yet; see `arrays.EXAMPLES`.

        Args:
            images: in the test split.
            classes: of these.

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
        """Of examples.npz the images alone, uint8 E H W C, and before them their indices.

        None where there is no such file. Raises what `examples` does.
        """
        forms = {name: arrays.EXAMPLES[name] for name in ("indices", "images")}
        try:
            found = arrays.read_arrays(self.path, "examples.npz", forms)
        except FileNotFoundError:
            return None
        arrays.check_images(self.path / "examples.npz", found, images)
        return found["indices"], found["images"]

    def newest_weights(self) -> tuple[int, str] | None:
        """Step and `weights_sha256` of the newest undamaged checkpoint; None: none was saved yet.

        They are read piece by piece, and take no memory to speak of.

        Raises:
            InputError: all are damaged, or one is a link.
        """
        return checkpoints.newest_weights(self.path / "checkpoints")

    def read_rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a .jsonl file, unchecked; none where there is no file.

        A last one that was cut short is dropped.

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
    """How many readings each column has."""
    columns = ("lr", "loss", "smoothed", "low", "high")
    values = (getattr(curve, name, None) for name in columns)
    return {len(column) for column in values if column is not None}
