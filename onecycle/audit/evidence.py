"""The files of a run folder, each read once when needed: for audit, pictures and report.

Shapes: N images, K classes.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.evaluate import Evaluation
from onecycle.lr_finder.curve import LRCurve
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.files import damaged
from onecycle.run_dir.records import Environment, EpochRow, Measured, RangeTest, Result


@dataclass(frozen=True)
class Steps:
    """The rows of steps.jsonl, column by column: int64, float64, float64."""

    step: np.ndarray
    lr: np.ndarray
    momentum: np.ndarray

    def __len__(self) -> int:
        return len(self.step)


class Evidence:
    """The files of a run. An attribute raises an InputError if its file is damaged."""

    def __init__(self, run: RunDir) -> None:
        self.run = run

    @cached_property
    def recipe(self) -> Recipe:
        return self.run.read_recipe()

    @cached_property
    def environment(self) -> Environment:
        return self.run.environment()

    @cached_property
    def result(self) -> Result | None:
        """result.json; None while the run is unfinished."""
        return self.run.result()

    @cached_property
    def measured(self) -> Measured:
        """audit.json; an empty record where there is none."""
        return self.run.measured()

    @cached_property
    def search(self) -> RangeTest | None:
        """lr_range_test.json."""
        return self.run.range_test()

    @cached_property
    def curves(self) -> list[LRCurve]:
        """The curves of the range test."""
        try:
            found = self.search.curves if self.search else []
            return [LRCurve.from_json(to_json(curve)) for curve in found]
        except InputError as error:
            raise damaged(self.run.path / RangeTest.FILE, error) from None

    @cached_property
    def steps(self) -> Steps:
        steps, rates, momenta = array("q"), array("d"), array("d")
        for row in self.run.steps():
            steps.append(row.step)
            rates.append(row.lr)
            momenta.append(row.momentum)
        return Steps(np.array(steps), np.array(rates), np.array(momenta))

    @cached_property
    def epochs(self) -> list[EpochRow]:
        return self.run.epochs()

    @property
    def steps_per_epoch(self) -> int | None:
        """From the row of the first epoch; None before that epoch ends."""
        return self.epochs[0].step // self.epochs[0].epoch or None if self.epochs else None

    @cached_property
    def predictions(self) -> Mapping[str, np.ndarray] | None:
        """predictions.npz, or None where there is none."""
        return self.run.predictions("classes")

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """The evaluation of the test split."""
        if self.predictions is None:
            return None
        return Evaluation(self.predictions["logits"], self.predictions["labels"])

    @cached_property
    def validation(self) -> Evaluation | None:
        """The evaluation of the validation split, where there is one."""
        if self.predictions is None or "val_logits" not in self.predictions:
            return None
        return Evaluation(self.predictions["val_logits"], self.predictions["val_labels"])

    @cached_property
    def classes(self) -> list[str]:
        return [] if self.predictions is None else self.predictions["classes"].tolist()

    @cached_property
    def names(self) -> list[str]:
        """Names of the test images: where they came from, else their numbers."""
        found = self.predictions or {}
        numbers = (f"image {index:,}" for index in range(len(found.get("labels", ()))))
        return found["names"].tolist() if "names" in found else list(numbers)

    @cached_property
    def examples(self) -> Mapping[str, np.ndarray] | None:
        """examples.npz; None where it or predictions.npz is missing."""
        return self.run.examples(*self.predictions["logits"].shape) if self.predictions else None
