"""What a run folder holds that an audit looks at, each file read once and when asked for.

Shapes: N images, K classes.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from onecycle.config import Recipe
from onecycle.run_dir import RunDir


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
        return self._result or self.run.result()

    @cached_property
    def measured(self) -> Mapping[str, Any]:
        """audit.json; empty where there is none."""
        return self.run.read_json("audit.json") or {}

    @cached_property
    def search(self) -> Mapping[str, Any] | None:
        """lr_range_test.json."""
        return self.run.read_json("lr_range_test.json")

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        return self.run.read_rows("steps.jsonl")

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        return self.run.read_rows("metrics.jsonl")

    @cached_property
    def predictions(self) -> Mapping[str, np.ndarray] | None:
        """predictions.npz, or None where there is none or it lacks what it should hold."""
        return self._arrays("predictions.npz", {"logits", "labels"})

    @cached_property
    def examples(self) -> Mapping[str, np.ndarray] | None:
        """examples.npz."""
        return self._arrays("examples.npz", {"wrong"})

    def _arrays(self, name: str, needed: set[str]) -> Mapping[str, np.ndarray] | None:
        if not (self.run.path / name).exists():
            return None
        arrays = self.run.load_arrays(name)
        return arrays if needed <= arrays.keys() else None

    @property
    def steps_per_epoch(self) -> int | None:
        """From the first epoch's row; None before it's there."""
        return self.epochs[0]["step"] // self.epochs[0]["epoch"] if self.epochs else None
