"""What the JSON files of a run hold: each record is declared once, for writing and for reading.

A field without a default is in every file of its kind. A field with the default None is not: an
older version did not write it, or not every run has it. It is then left out of the file, unless it
is `NULLABLE`. Undeclared keys are ignored when read. `upgraded` converts the content of older
versions to the present form. Nothing else does.

Accuracies are shares in [0, 1], losses are in nats, times in seconds.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NotRequired, TypedDict

from onecycle.run_dir.checking import NULLABLE, Misfit, Within, from_json

Count = Annotated[int, Within(0, 2**63 - 1)]
Number = Annotated[float, Within(0, 1e100)]
Share = Annotated[float, Within(0, 1)]
Seconds = Annotated[float, Within(0, 1e12)]
Resize = Literal["crop", "squash"]
Side = Annotated[int, Within(1, 65_536)]
Setting = bool | float | str | None | list[float]
"""A setting of an optimizer."""


class Recorded:
    """A record that is a file of the run folder, or a row of one."""

    FILE: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A change in something that a resumed run's bits depend on.

    Attributes:
        what: a recipe's field, or `data_fingerprint`, `torch`, `threads`, `cpu`, `kernels`,
            `device_name`.
        was: its value until then, as in JSON.
        now: its value from then on.
        step: at which the run was resumed; in result.json.
    """

    what: str
    was: Any
    now: Any
    step: Count | None = None

    def __post_init__(self) -> None:
        if self.what == "kernels":  # JSON has an object, or a text of version 0.1.0
            for name in ("was", "now"):
                if not isinstance(value := getattr(self, name), Kernels):
                    object.__setattr__(self, name, from_json(value, Kernels, name))


# ------------------------------------------------------------------------------------ what it gave


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


# ------------------------------------------------------------------------------------ where it ran

Implementation = Literal["compiled", "compiled with convolutions", "pytorch"]
"""The implementation of the operations in a training's blocks; see `kernels.state`."""


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The implementation of a training's operations. Two are equal if `implementation` is.

    Attributes:
        implementation: the bits depend on it.
        reason: why PyTorch's own operations were used.
    """

    implementation: Implementation
    reason: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.implementation + (f" ({self.reason})" if self.reason else "")

    @classmethod
    def upgraded(cls, value: Any) -> Any:
        """Version 0.1.0 had a text, such as `pytorch (cuda)`."""
        if value == "compiled, convolutions too":
            return {"implementation": "compiled with convolutions"}
        if isinstance(value, str):
            implementation, _, reason = value.removesuffix(")").partition(" (")
            return {"implementation": implementation} | ({"reason": reason} if reason else {})
        return value


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """An entry of `resumed` in environment.json."""

    time: str | None = None
    step: Count
    allowed_differences: list[Difference]


@dataclass(frozen=True, kw_only=True)
class Git:
    """The checkout that a run was started from."""

    commit: str
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Environment(Recorded):
    """environment.json: where a run began, with which recipe, and where it was resumed."""

    FILE: ClassVar = "environment.json"

    started: str | None = None
    command: list[str] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    platform: str | None = None
    device: str | None = None
    device_name: str | None = None
    precision: str | None = None
    threads: Annotated[int, Within(0, 65_536)] | None = None
    kernels: Kernels | None = None
    cpu: str | None = None
    cpu_count: int | None = field(default=None, metadata=NULLABLE)
    cpu_flags: list[str] | None = None
    cuda: str | None = field(default=None, metadata=NULLABLE)
    git: Git | None = field(default=None, metadata=NULLABLE)
    data_fingerprint: str | None = None
    data_given: str | None = None
    data_path: str | None = field(default=None, metadata=NULLABLE)
    data_left_out: Any = None
    recipe: dict[str, Any] | None = None
    resumed: list[Resumption] | None = None


@dataclass(frozen=True, kw_only=True)
class Network(Recorded):
    """network.json: what rebuilds the network and prepares its images, without the data.

    Attributes:
        name: in the registry of networks.
        arguments: with which it was built.
        classes: names of the classes, in the order of the logits.
        channels: of the images.
        size: height and width of the images in pixels; None if unknown.
        resize: how images are brought to that size; see `Recipe.resize`.
        mean, std: of each channel, for normalising images.
    """

    FILE: ClassVar = "network.json"

    name: str
    arguments: dict[str, Any]
    classes: list[str]
    channels: Annotated[int, Within(1, 4)]
    size: tuple[Side, Side] | None
    resize: Resize | None = None
    mean: list[float]
    std: list[Annotated[float, Within(1e-30, 1e30)]]

    def __post_init__(self) -> None:
        if not 2 <= len(set(self.classes)) == len(self.classes) <= 10**6:
            raise Misfit("'classes' are too few, too many, or not different")
        if not len(self.mean) == len(self.std) == self.channels:
            raise Misfit("'mean' and 'std' are not one number for each channel")

    @property
    def side(self) -> int:
        """Side of square images in pixels; 0 if they are not square, or it is unknown."""
        return self.size[0] if self.size and self.size[0] == self.size[1] else 0


# ---------------------------------------------------------------------------------- the range test


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A method's suggestion: the median, and the range over repeats."""

    lr: Number
    low: Number
    high: Number


@dataclass(frozen=True, kw_only=True)
class Band:
    """The median of the range test's curves, for the plot."""

    lr: list[Number]
    loss: list[float]
    smoothed: list[float]
    searched: tuple[Number, Number] | None = None
    low: list[float] | None = None
    high: list[float] | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One range test's curve; see `lr_finder.LRCurve`."""

    lr: list[Number]
    loss: list[float]
    ramp: Literal["exponential", "linear"]
    stopped: str
    planned: Count
    adaptive: bool = False
    batch_size: Count = 0
    optimizer: dict[str, Any] = field(default_factory=dict)
    smoothed: list[float] | None = None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A short training. Its score is None if it diverged."""

    lr: Number
    score: Share | None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The short trainings that proved a peak rate, and the images that judged them."""

    lr_max: Number
    best: Number
    probes: list[Probe]
    bracketed: bool
    epochs: Count
    steps: Count
    images: Count


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rates that a range test has chosen."""

    lr_min: Number
    lr_max: Number


BOTH = {"lr_min": "auto", "lr_max": "auto"}
"""The request in a run of an older version, which did not record it."""

Method = Literal["recommended", "safe", "proven", "lr_min"]
"""How a rate was found."""


@dataclass(frozen=True, kw_only=True)
class RangeTest(Recorded):
    """lr_range_test.json: the outcome of the range test.

    Attributes:
        lr_min, lr_max: the rates that it recommends.
        asked: the two rates in the recipe: numbers, or `auto` or `proven`.
        chosen: the rates that the training used.
        by: the method by which each rate was found.
        why: the same as text.
    """

    FILE: ClassVar = "lr_range_test.json"

    lr_min: Number | None = None
    lr_max: Number | None = None
    suggestions: dict[str, Suggestion] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    replaced: Number | None = field(default=None, metadata=NULLABLE)
    curve: Band | None = None
    curves: list[Curve] = field(default_factory=list)
    asked: dict[str, float | str] = field(default_factory=lambda: dict(BOTH))
    chosen: Rates | None = None
    by: dict[str, Method] = field(default_factory=dict)
    why: str = ""
    proof: Proof | None = field(default=None, metadata=NULLABLE)
    optimizer: dict[str, Setting] | None = None
    seconds: Seconds | None = None

    @classmethod
    def upgraded(cls, value: Any) -> Any:
        """The first versions gave the method for each rate only as text."""
        if not isinstance(value, dict) or "by" in value or not isinstance(value.get("why"), str):
            return value
        methods = {"lr_max": "proven" if value.get("proof") else "recommended", "lr_min": "lr_min"}
        by = {name: method for name, method in methods.items() if f"{name} by" in value["why"]}
        return value | {"by": by}


# --------------------------------------------------------------------------------------- the audit


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Two equal images, by their names."""

    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Equal images of two splits."""

    images: Count
    conflicting_labels: Count
    examples: list[Duplicate]
    of: Count


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer of the network; see `models.summary`."""

    name: str
    kind: str
    output_shape: list[Count]
    parameters: Count
    macs: Count
    receptive_field: Annotated[int, Within(0, 10**6)]
    jump: Annotated[int, Within(0, 10**6)]


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The layers of the network."""

    layers: list[Layer]
    parameters: Count
    macs: Count
    image_shape: tuple[Count, Count, Count]


@dataclass(frozen=True, kw_only=True)
class Measured(Recorded):
    """audit.json: measurements for the audit. `applied`: see `engine.transform_check`."""

    FILE: ClassVar = "audit.json"

    initial_weights_repeat: bool | None = None
    applied: dict[str, Count] | None = None
    optimizer: dict[str, Setting] | None = None
    duplicates: dict[str, Duplicates] | None = None
    network: Layers | None = None


# ------------------------------------------------------------------------------------- checkpoints


class Seal(TypedDict):
    """A log at the time of a checkpoint: its length, and the checksum of its content in hex."""

    bytes: Count
    sha256: str


class TrainingState(TypedDict, total=False):
    """The state of a training; see `engine.state.State`."""

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
