"""Records of where a run comes from: environment.json and network.json."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from onecycle.run_dir.checking import NULLABLE, Misfit, Within, from_json
from onecycle.run_dir.records.base import Count, Recorded, Resize, Side

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
class Difference:
    """A change in something that a resumed run's bits depend on.

    Attributes:
        what: a recipe's field, or `data_fingerprint`, `torch`, `threads`, `processes`, `cpu`,
            `kernels`, `device_name`, `initial_weights` (the checksum), `network source`.
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
class InitialWeights:
    """Weights that a training started from; see `models.weights.Fitting`.

    Attributes:
        given: the path as it was given.
        path: the absolute path.
        kind: a run folder, or the format of a file.
        step: of the run's checkpoint.
        sha256: of the bytes of the loaded tensors, in the order of the network's names, in hex.
        loaded: names in the network.
        loaded_parameters: number of parameters in them.
        left_out: names in the file.
        new: names in the network.
        new_head: why the head is new; empty if it was loaded.
        statistics: whether the channel means and deviations are those of the run.
    """

    given: str
    path: str
    kind: Literal["run", "safetensors", "pytorch"]
    step: Count | None = field(default=None, metadata=NULLABLE)
    sha256: str
    loaded: list[str]
    loaded_parameters: Count
    left_out: list[str]
    new: list[str]
    new_head: str
    statistics: bool


@dataclass(frozen=True, kw_only=True)
class Environment(Recorded):
    """environment.json: where a run began, with which recipe, and where it was resumed.

    `threads`: of each process. `processes`: that trained together; None in an older run, which had
    one. `source_sha256`: see `Network`.
    """

    FILE: ClassVar = "environment.json"

    started: str | None = None
    command: list[str] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    platform: str | None = None
    device: str | None = None
    device_name: str | None = None
    precision: str | None = None
    threads: Annotated[int, Within(0, 65_536)] | None = None
    processes: Annotated[int, Within(1, 65_536)] | None = None
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
    initial_weights: InitialWeights | None = None
    source_sha256: str | None = None
    recipe: dict[str, Any] | None = None
    resumed: list[Resumption] | None = None


@dataclass(frozen=True, kw_only=True)
class Network(Recorded):
    """network.json: what rebuilds the network and prepares its images, without the data.

    Attributes:
        name: in the registry of networks, or that of code of the user's own, which is never run
            because it is named here.
        arguments: with which it was built.
        classes: names of the classes, in the order of the logits.
        channels: of the images.
        size: height and width of the images in pixels; None if unknown.
        resize: how images are brought to that size; see `Recipe.resize`.
        mean, std: of each channel, for normalising images.
        source_sha256: of the network's source; empty if it can't be known; None if it is built in.
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
    source_sha256: str | None = None

    def __post_init__(self) -> None:
        if not 2 <= len(set(self.classes)) == len(self.classes) <= 10**6:
            raise Misfit("'classes' are too few, too many, or not different")
        if not len(self.mean) == len(self.std) == self.channels:
            raise Misfit("'mean' and 'std' are not one number for each channel")

    @property
    def side(self) -> int:
        """Side of square images in pixels; 0 if they are not square, or it is unknown."""
        return self.size[0] if self.size and self.size[0] == self.size[1] else 0
