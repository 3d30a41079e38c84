"""The run's files that several sections of a report need, each read once.

Shapes: N images, E of them kept as examples.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from onecycle.config import Recipe
from onecycle.evaluate import Evaluation
from onecycle.run_dir import RunDir
from onecycle.run_dir.records import EPOCH, Environment, EpochRow, Network, RangeTest, StepRow


class Files:
    """What a run folder holds.

    Args:
        run: the run folder.
        result: what result.json is about to hold; None: what it holds.
    """

    def __init__(self, run: RunDir, result: Mapping[str, Any] | None = None) -> None:
        self.run = run
        self.result = result or run.result("test_accuracy")

    @cached_property
    def recipe(self) -> Recipe:
        return self.run.read_recipe()

    @cached_property
    def environment(self) -> Environment:
        return self.run.environment()

    @cached_property
    def found(self) -> RangeTest | None:
        """lr_range_test.json."""
        return self.run.range_test()

    @cached_property
    def epochs(self) -> list[EpochRow]:
        return self.run.epochs(*EPOCH)

    @cached_property
    def steps(self) -> list[StepRow]:
        return list(self.run.steps())

    @cached_property
    def network(self) -> Network | None:
        """The network as it was built, from audit.json; None in runs of an earlier version."""
        return self.run.measured().get("network")

    @cached_property
    def predictions(self) -> Mapping[str, np.ndarray] | None:
        """predictions.npz, None where it isn't written yet."""
        return self.run.predictions("classes")

    @cached_property
    def examples(self) -> Mapping[str, np.ndarray] | None:
        """examples.npz, None where there is none, or no predictions that they are examples of."""
        return self.run.examples(*self.predictions["logits"].shape) if self.predictions else None

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """Of the test split."""
        if self.predictions is None:
            return None
        return Evaluation(self.predictions["logits"], self.predictions["labels"])

    @cached_property
    def validation(self) -> Evaluation | None:
        """Of the validation split, where there is one."""
        if self.predictions is None or "val_logits" not in self.predictions:
            return None
        return Evaluation(self.predictions["val_logits"], self.predictions["val_labels"])

    @cached_property
    def classes(self) -> list[str]:
        return [] if self.predictions is None else self.predictions["classes"].tolist()

    def image_name(self, index: int) -> str:
        """Of a test image: where it came from, else its number."""
        names = (self.predictions or {}).get("names")
        return f"image {index:,}" if names is None else str(names[index])
