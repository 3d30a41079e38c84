"""What a run folder holds that an audit looks at, each file read once and when asked for.

Shapes: N images, K classes.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.lr_finder.curve import LRCurve
from onecycle.run_dir import RunDir
from onecycle.run_dir.files import damaged
from onecycle.run_dir.records import EpochRow, Measured, RangeTest


@dataclass(frozen=True)
class Steps:
    """The rows of steps.jsonl, column by column: int64, float64, float64."""

    step: np.ndarray
    lr: np.ndarray
    momentum: np.ndarray

    def __len__(self) -> int:
        return len(self.step)


class Evidence:
    """The files of a run.

    Args:
        run: the run folder.
        result: what result.json is about to hold; None: what it holds.
    """

    def __init__(self, run: RunDir, result: Mapping[str, Any] | None = None) -> None:
        self.run = run
        self._result = result

    @cached_property
    def recipe(self) -> Recipe:
        return self.run.read_recipe()

    @cached_property
    def result(self) -> Mapping[str, Any] | None:
        return self._result or self.run.result("test_accuracy")

    @cached_property
    def measured(self) -> Measured:
        """audit.json; empty where there is none."""
        return self.run.measured()

    @cached_property
    def search(self) -> RangeTest | None:
        """lr_range_test.json."""
        return self.run.range_test()

    @cached_property
    def curves(self) -> list[LRCurve]:
        """Those of the range test."""
        try:
            return [
                LRCurve.from_json(dict(curve)) for curve in (self.search or {}).get("curves", [])
            ]
        except InputError as error:
            raise damaged(self.run.path / "lr_range_test.json", error) from None

    @cached_property
    def steps(self) -> Steps:
        steps, rates, momenta = array("q"), array("d"), array("d")
        for row in self.run.steps():
            steps.append(row["step"])
            rates.append(row["lr"])
            momenta.append(row["momentum"])
        return Steps(np.array(steps), np.array(rates), np.array(momenta))

    @cached_property
    def epochs(self) -> list[EpochRow]:
        return self.run.epochs()

    @cached_property
    def predictions(self) -> Mapping[str, np.ndarray] | None:
        """predictions.npz, or None where there is none."""
        return self.run.predictions("classes")

    @property
    def names(self) -> list[str]:
        """Of the test images: where they came from, else their numbers."""
        found = self.predictions or {}
        numbers = (f"image {index:,}" for index in range(len(found.get("labels", ()))))
        return found["names"].tolist() if "names" in found else list(numbers)

    @cached_property
    def examples(self) -> Mapping[str, np.ndarray] | None:
        """examples.npz."""
        return self.run.examples(*self.predictions["logits"].shape) if self.predictions else None

    @property
    def steps_per_epoch(self) -> int | None:
        """From the first epoch's row; None before it's there."""
        first = self.epochs[0].get("step") if self.epochs else None
        return first // self.epochs[0]["epoch"] if first else None
