"""The record of the audit: audit.json."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from onecycle.run_dir.checking import Within
from onecycle.run_dir.records.base import Count, Number, Recorded, Setting

Drawn = Annotated[float, Within(-1e6, 1e6)]
"""A number that a transform drew."""


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
    trainable: Count | None = None
    macs: Count
    receptive_field: Annotated[int, Within(0, 10**6)]
    jump: Annotated[int, Within(0, 10**6)]


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The layers of the network."""

    layers: list[Layer]
    parameters: Count
    trainable_parameters: Count | None = None
    macs: Count
    image_shape: tuple[Count, Count, Count]


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """The parameters and buffers of frozen stages, before the first step and after the last.

    Attributes:
        tensors: their number.
        before, after: SHA-256 of their bytes in name order, in hex.
    """

    tensors: Count
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Training images made again from what was drawn for them; see `engine.replay`."""

    images: Count
    agree: Count
    shifted: Count
    mirrored: Count
    cut: Count
    lowest: dict[str, Drawn]
    highest: dict[str, Drawn]


@dataclass(frozen=True, kw_only=True)
class Measured(Recorded):
    """audit.json: measurements for the audit.

    Attributes:
        initial_weights_repeat: whether the seed, and the weights to start from, gave them again.
        initial_weights_sha256: of the tensors that were loaded from elsewhere, read before the
            first step, as `InitialWeights.sha256`.
        applied: see `engine.transform_check`.
        replayed: of a run whose transforms hide what was done to an image.
        frozen: of a run with frozen stages.
        head_lr_factors: the smallest and the largest ratio of the head's rate to another one, over
            all steps; of a run with `head_lr_factor`.
        weights_of_processes: SHA-256 of each process's weights after the last step, by rank; of a
            run that several processes ended.
        weight_norms: Euclidean norm of each parameter of two or more dimensions after the last
            step, by its name.
    """

    FILE: ClassVar = "audit.json"

    initial_weights_repeat: bool | None = None
    initial_weights_sha256: str | None = None
    applied: dict[str, Count] | None = None
    replayed: Replayed | None = None
    frozen: Frozen | None = None
    head_lr_factors: tuple[Number, Number] | None = None
    weights_of_processes: list[str] | None = None
    weight_norms: dict[str, Number] | None = None
    optimizer: dict[str, Setting] | None = None
    duplicates: dict[str, Duplicates] | None = None
    network: Layers | None = None
