"""Records of a checkpoint: its state, and the list of its tensors."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from onecycle.run_dir.checking import Within
from onecycle.run_dir.records.base import Count, Seconds
from onecycle.run_dir.records.measured import Measured


class Seal(TypedDict):
    """A log at the time of a checkpoint: its length, and the checksum of its content in hex."""

    bytes: Count
    sha256: str


class TrainingState(TypedDict, total=False):
    """The state of a training; see `engine.state.State`.

    `temperature`, only in the checkpoint `best`: fitted on the validation split.
    """

    step: Count
    loss_sum: float
    correct: Count
    seen: Count
    train_seconds: Seconds
    eval_seconds: Seconds
    total_seconds: Seconds
    best_test_accuracy: float
    best_epoch: Count
    best_val_accuracy: float
    temperature: Annotated[float, Within(0.01, 100)]
    audit: Measured


class TensorPlace(TypedDict):
    """The place of a tensor in a safetensors file, counted from the end of the header."""

    dtype: str
    shape: list[Count]
    data_offsets: tuple[Count, Count]


class Sealed(TypedDict):
    """state.json of a checkpoint."""

    step: Count
    state: dict[str, Any]
    logs: NotRequired[dict[Literal["steps.jsonl", "metrics.jsonl"], Seal]]
    tensors_sha256: str
    state_sha256: str
