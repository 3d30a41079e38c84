"""A finished training, as `train` and `resume` return it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onecycle.errors import InputError
from onecycle.evaluate import Evaluation
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.records import Result


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        path: the run folder.
        record: the summary.
    """

    path: Path
    record: Result

    @cached_property
    def result(self) -> dict[str, Any]:
        """What result.json holds."""
        return to_json(self.record)

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, one per epoch."""
        return RunDir.open(self.path).read_rows("metrics.jsonl")

    @cached_property
    def evaluation(self) -> Evaluation:
        """The test split's evaluation after the last epoch."""
        arrays = RunDir.open(self.path).predictions()
        if arrays is None:
            raise InputError(f"{self.path / 'predictions.npz'}: is missing; train again")
        return Evaluation(arrays["logits"], arrays["labels"])
