"""Records of what a training gave: result.json, metrics.jsonl, steps.jsonl."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from onecycle.run_dir.checking import Within
from onecycle.run_dir.records.base import Count, Number, Recorded, Seconds, Share
from onecycle.run_dir.records.origin import Difference


@dataclass(frozen=True, kw_only=True)
class TestFigures:
    """The figures of the test split. Class sizes: the smallest and the largest."""

    __test__ = False  # not a test, whatever pytest makes of the name

    test_images: Count
    test_class_sizes: tuple[Count, Count] | None = None
    test_loss: float
    test_accuracy: Share
    test_balanced_accuracy: Share | None = None
    test_accuracy_tta: Share | None = None

    @property
    def uneven(self) -> bool:
        """Whether the test split's classes are known to differ in size."""
        return self.test_class_sizes is not None and len(set(self.test_class_sizes)) > 1


@dataclass(frozen=True, kw_only=True)
class Result(TestFigures, Recorded):
    """result.json: the summary of a finished run."""

    FILE: ClassVar = "result.json"

    recipe: str
    data: str
    data_fingerprint: str
    model: str
    parameters: Count
    trainable_parameters: Count | None = None
    seed: Count
    device: str
    precision: str
    torch: str
    epochs: Count
    steps: Count
    batch_size: Count
    processes: Count | None = None
    lr_min: Number
    lr_max: Number
    lr_final: Number
    peak_step: Count
    train_images: Count
    train_loss: float
    train_accuracy: Share
    val_loss: float | None = None
    val_accuracy: Share | None = None
    val_balanced_accuracy: Share | None = None
    best_test_accuracy: Share
    best_epoch: Count
    train_seconds: Seconds
    eval_seconds: Seconds
    total_seconds: Seconds
    images_per_second: Number
    peak_memory_bytes: Count | None
    weights_sha256: str
    finished: str
    allowed_differences: list[Difference] | None = None


@dataclass(frozen=True, kw_only=True)
class EpochRow(Recorded):
    """A row of metrics.jsonl. `seconds`: since the training began."""

    FILE: ClassVar = "metrics.jsonl"

    epoch: Annotated[int, Within(1, 2**53)]
    step: Count
    lr: Number
    momentum: float
    train_loss: float
    train_accuracy: Share
    test_loss: float
    test_accuracy: Share
    test_balanced_accuracy: Share | None = None
    val_loss: float | None = None
    val_accuracy: Share | None = None
    val_balanced_accuracy: Share | None = None
    seconds: Seconds


@dataclass(frozen=True, kw_only=True)
class StepRow(Recorded):
    """A row of steps.jsonl."""

    FILE: ClassVar = "steps.jsonl"

    step: Annotated[int, Within(0, 2**53)]
    lr: Number
    momentum: float
    loss: float
