"""What the JSON files of a run hold: each record declared once, for who writes and who reads it.

Keys that not every version wrote are not required. A reader that needs one of them asks for it.
Accuracies are shares in [0, 1], losses are in nats, times in seconds.
"""

from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

from onecycle.run_dir.checking import Within

Count = Annotated[int, Within(0, 2**63 - 1)]
Number = Annotated[float, Within(0, 1e100)]
Share = Annotated[float, Within(0, 1)]
Seconds = Annotated[float, Within(0, 1e12)]
Setting = bool | float | str | None | list[float]
"""A setting of an optimizer."""


class Difference(TypedDict):
    """Something that a resumed run's bits depend on and that was not as before."""

    what: str
    was: Any
    now: Any


class AllowedDifference(Difference):
    """One that a resumption at `step` was allowed."""

    step: Count


class Result(TypedDict, total=False):
    """result.json: the summary of a finished run."""

    recipe: str
    data: str
    data_fingerprint: str
    model: str
    parameters: Count
    seed: Count
    device: str
    precision: str
    torch: str
    epochs: Count
    steps: Count
    batch_size: Count
    lr_min: Number
    lr_max: Number
    lr_final: Number
    peak_step: Count
    train_images: Count
    train_loss: float
    train_accuracy: Share
    test_images: Count
    test_class_sizes: tuple[Count, Count]
    test_loss: float
    test_accuracy: Required[Share]
    test_balanced_accuracy: Share
    test_accuracy_tta: Share
    val_loss: float
    val_accuracy: Share
    val_balanced_accuracy: Share
    best_test_accuracy: Share
    best_epoch: Count
    train_seconds: Seconds
    eval_seconds: Seconds
    total_seconds: Seconds
    images_per_second: Number
    peak_memory_bytes: Count | None
    weights_sha256: str
    finished: str
    allowed_differences: list[AllowedDifference]


class EpochRow(TypedDict):
    """A row of metrics.jsonl."""

    epoch: Annotated[int, Within(1, 2**53)]
    step: NotRequired[Count]
    lr: NotRequired[Number]
    momentum: NotRequired[float]
    train_loss: NotRequired[float]
    train_accuracy: NotRequired[Share]
    test_loss: NotRequired[float]
    test_accuracy: NotRequired[Share]
    test_balanced_accuracy: NotRequired[Share]
    val_loss: NotRequired[float]
    val_accuracy: NotRequired[Share]
    val_balanced_accuracy: NotRequired[Share]
    seconds: NotRequired[Seconds]


EPOCH = ("epoch", "step", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
"""What a row of metrics.jsonl must hold to be shown."""


class StepRow(TypedDict):
    """A row of steps.jsonl."""

    step: Annotated[int, Within(0, 2**53)]
    lr: Number
    momentum: float
    loss: float


class Resumption(TypedDict):
    """An entry of `resumed` in environment.json."""

    step: Count
    allowed_differences: list[Difference]
    time: NotRequired[str]


class Git(TypedDict):
    """The checkout that a run was started from."""

    commit: str
    changed: bool


class Environment(TypedDict, total=False):
    """environment.json: where a run began, on what, by which recipe, and where it went on."""

    started: str
    command: list[str]
    versions: dict[str, str]
    platform: str
    device: str
    device_name: str
    precision: str
    threads: Annotated[int, Within(0, 65_536)]
    kernels: str
    cpu: str
    cpu_count: int | None
    cpu_flags: list[str]
    cuda: str | None
    git: Git | None
    data_fingerprint: str
    data_given: str
    data_path: str | None
    data_left_out: Any
    recipe: dict[str, Any]
    resumed: list[Resumption]


class Suggestion(TypedDict):
    """What one method reads from the curves: the middle, and the range over repeats."""

    lr: Number
    low: Number
    high: Number


class Band(TypedDict):
    """The middle of the range test's curves, as a plot shows it."""

    lr: list[Number]
    loss: list[float]
    smoothed: list[float]
    searched: NotRequired[tuple[Number, Number]]
    low: NotRequired[list[float]]
    high: NotRequired[list[float]]


class Curve(TypedDict):
    """One range test's curve; see `lr_finder.LRCurve`."""

    lr: list[Number]
    loss: list[float]
    ramp: Literal["exponential", "linear"]
    stopped: str
    planned: Count
    adaptive: NotRequired[bool]
    batch_size: NotRequired[Count]
    optimizer: NotRequired[dict[str, Any]]


class Probe(TypedDict):
    """A short training; its score is None where it diverged."""

    lr: Number
    score: Share | None


class Proof(TypedDict):
    """The short trainings by which a peak rate was proven."""

    lr_max: Number
    best: Number
    probes: list[Probe]
    bracketed: bool
    epochs: Count
    steps: Count
    images: Count


class Rates(TypedDict, total=False):
    """The rates that a range test has chosen."""

    lr_min: Number
    lr_max: Number


class RangeTest(TypedDict, total=False):
    """lr_range_test.json."""

    lr_min: Number
    lr_max: Number
    suggestions: dict[str, Suggestion]
    warnings: list[str]
    curve: Band
    curves: list[Curve]
    asked: dict[str, float | str]
    chosen: Rates
    why: str
    by: dict[str, str]
    proof: Proof | None
    optimizer: dict[str, Setting]
    seconds: Seconds


class Applied(TypedDict, total=False):
    """Counts of what was done to images; see `applied.Applied`."""

    images: Count
    decided: Count
    shifted: Count
    flipped: Count
    untouched: Count
    cut: Count
    cut_pixels: Count
    unexplained: Count
    farthest: Count
    wrong_size: Count


class Duplicate(TypedDict):
    """Two equal images, by their names."""

    first: str
    second: str


class Duplicates(TypedDict):
    """Equal images of two splits."""

    images: Count
    conflicting_labels: Count
    examples: list[Duplicate]
    of: Count


class Layer(TypedDict):
    """A layer of the network; see `models.summary`."""

    name: str
    kind: str
    output_shape: list[Count]
    parameters: Count
    macs: Count
    receptive_field: Annotated[int, Within(0, 10**6)]
    jump: Annotated[int, Within(0, 10**6)]


class Network(TypedDict):
    """The network as it was built."""

    layers: list[Layer]
    parameters: Count
    macs: Count
    image_shape: tuple[Count, Count, Count]


class Measured(TypedDict, total=False):
    """audit.json: what was measured for the audit."""

    initial_weights_repeat: bool
    applied: Applied
    optimizer: dict[str, Setting]
    duplicates: dict[str, Duplicates]
    network: Network


class Seal(TypedDict):
    """A log as it was at a checkpoint: its length, and the checksum of its content in hex."""

    bytes: Count
    sha256: str


class TrainingState(TypedDict, total=False):
    """Where a training stood; see `state.State`."""

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
    audit: Measured


class TensorPlace(TypedDict):
    """Where a tensor lies in a safetensors file, from the end of the list of tensors."""

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
