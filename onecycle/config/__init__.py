"""The recipe of a training: every choice as one typed, validated, frozen record.

A recipe goes to and from TOML without loss, and is overridden field by field. `auto` values are
resolved by the training, which writes the resolved recipe into its run folder; those that follow
the number of images by `sizes.resolve_sizes`.
"""

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w

from onecycle.config.checks import check_ranges, check_types
from onecycle.config.names import unknown_name
from onecycle.errors import InputError

Auto = Literal["auto"]
Found = Literal["auto", "proven"]

PEAK_SHARE = 5 / 24
"""Share of the epochs after which the rate peaks when `peak_epoch` is `auto`, as in the brief."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training, complete. Every field is a flag of the same name on the command line.

    Who gives `epochs` and not `min_steps` gets these epochs: `min_steps` is 0 then, here as in
    `override`, in files and by flags.

    Raises:
        InputError: on construction, when a value is out of its range.
    """

    recipe: str = "custom"
    """Name of the recipe; becomes part of the run folder's name."""

    # Data
    data: str = "shapes"
    """`shapes`, `cifar10`, `cifar100`, or a path: class folders, table (.csv) or CIFAR archive."""
    label_set: Literal["fine", "coarse"] = "fine"
    """CIFAR-100's labels: its 100 classes (fine) or the 20 groups of them (coarse)."""
    train_limit: int = 0
    """Use only this many training images (class-balanced choice); 0: all."""
    test_limit: int = 0
    """Use only this many test images; 0: all."""
    val_fraction: float = 0.0
    """Share of the training images set apart for validation, in [0, 1)."""
    image_size: int = 0
    """Height and width in pixels to which images are resized; 0: the data's own size."""
    resize: Literal["crop", "squash"] = "crop"
    """Of images that are not square: cut out the middle (crop), or change their shape (squash)."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What an unreadable image of a folder does: stop (error), or be left out and told (skip)."""
    split_seed: int = 0
    """Seed of the validation split, the limits and a folder's test split; `seed` leaves them be."""
    mean: tuple[float, ...] | Auto = "auto"
    """Channel means in [0, 1]; auto: measured on the train split."""
    std: tuple[float, ...] | Auto = "auto"
    """Channel standard deviations in (0, 1]; auto: measured on the train split."""

    # Network
    model: str = "custom-resnet"
    """Name of the network."""
    width: float = 1.0
    """Factor on the network's channel counts."""
    head_scale: float = 1.0
    """Factor on the logits."""
    dropout: float = 0.0
    """Probability of dropping a feature before the last layer, in [0, 1)."""

    # Cycle
    epochs: int = 24
    """Passes over the training images; `min_steps` may raise them."""
    batch_size: int | Auto = "auto"
    """Images per step; auto: 512, or for a small set less, so that an epoch has several steps."""
    min_steps: int | Auto = "auto"
    """Least number of steps, which raises epochs for small sets; 0 if epochs is given."""
    micro_batch: int = 0
    """Images that pass through the network at once, each part with its own batch norm; 0: all."""
    peak_epoch: float | Auto = "auto"
    """Epoch at whose end the rate peaks; auto: 5/24 of the epochs."""
    lr_max: float | Found = "auto"
    """Rate at the peak; auto: from the range test; proven: by short trainings around that."""
    lr_min: float | Auto = "auto"
    """Rate at the start; auto: from the range test."""
    lr_final: float | Auto = "auto"
    """Rate at the last step; auto: lr_min, so no annihilation phase."""
    anneal: Literal["linear", "cosine"] = "linear"
    """Shape of the cycle's slopes."""
    three_phase: bool = False
    """Go down to lr_min as steeply as up, then to lr_final in a third phase."""
    momentum: float = 0.9
    """SGD's momentum, or AdamW's first beta, in [0, 1)."""
    cycle_momentum: bool = False
    """Move the momentum against the rate, between max_momentum and base_momentum."""
    base_momentum: float = 0.85
    """Momentum at the peak of the rate when cycled."""
    max_momentum: float = 0.95
    """Momentum at the start and the end when cycled."""

    # Optimizer and regularization
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW."""
    nesterov: bool = False
    """Nesterov momentum (SGD only)."""
    weight_decay: float = 0.0
    """L2 penalty (SGD) or decoupled decay (AdamW) on convolution and linear weights."""
    decay_norms_and_biases: bool = False
    """Apply weight decay to norms and biases too."""
    l1: float = 0.0
    """Factor of the sum of absolute convolution and linear weights that is added to the loss."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over the classes, in [0, 1)."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weight of each class in the loss: all alike (none), or against its frequency (balanced)."""

    # Transforms
    crop_padding: int = 4
    """Pixels of padding before the random crop; 0: no crop."""
    flip: float = 0.5
    """Probability of a horizontal flip, in [0, 1]."""
    cutout: int = 8
    """Side in pixels of the square that is cut out of every training image; 0: none."""
    tta: bool = False
    """Report test accuracy averaged over each image and its mirror too (test-time augmentation)."""

    # Range test
    lr_start: float = 1e-7
    """First rate of the range test."""
    lr_end: float = 10.0
    """Last rate of the range test, if the loss does not blow up before."""
    lr_steps: int | Auto = "auto"
    """Steps of the range test; auto: 100, or as many as the training has, and at least 50."""
    lr_repeats: int = 1
    """Range tests with seeds of their own; the suggestions are their medians."""

    # Machine
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward and backward pass; auto: bf16 where the device has it."""
    compile: bool = False
    """Compile the network with torch.compile (on a GPU: CUDA graphs); takes a minute at first."""
    device: str = "auto"
    """cpu, cuda, mps; auto: the fastest there is."""
    seed: int = 0
    """Seed of initialization, shuffling, augmentation and dropout."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints within an epoch; 0: only at each epoch's end."""

    def __new__(cls, **given: Any) -> Self:
        """Remember whether the epochs were asked for, which the fields alone can't tell."""
        recipe = super().__new__(cls)
        if "epochs" in given and "min_steps" not in given:
            object.__setattr__(recipe, "_epochs_asked_for", True)
        return recipe

    def __post_init__(self) -> None:
        if self.__dict__.pop("_epochs_asked_for", False):
            object.__setattr__(self, "min_steps", 0)
        check_types(self)
        for name in ("mean", "std"):  # TOML gives lists
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(float(v) for v in value))
        check_ranges(self)

    @property
    def resolved_peak_epoch(self) -> float:
        """Epoch at whose end the rate peaks, in (0, epochs)."""
        return self.epochs * PEAK_SHARE if self.peak_epoch == "auto" else self.peak_epoch


FIELDS: dict[str, dataclasses.Field[Any]] = {f.name: f for f in dataclasses.fields(Recipe)}


def override(recipe: Recipe, /, **changes: Any) -> Recipe:
    """`recipe` with some fields changed; a numeric peak keeps its share when only epochs change.

    Epochs that are given are obeyed: `min_steps` becomes 0 unless it is given too.

    Raises:
        InputError: an unknown field (with the nearest name), or a value out of its range.
    """
    for name in changes:
        if name not in FIELDS:
            raise InputError(unknown_name("recipe field", name, FIELDS))
    if "epochs" in changes and "peak_epoch" not in changes and recipe.peak_epoch != "auto":
        changes["peak_epoch"] = recipe.peak_epoch * changes["epochs"] / recipe.epochs
    if "epochs" in changes:
        changes.setdefault("min_steps", 0)
    return dataclasses.replace(recipe, **changes)


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML text, one field a line; `from_toml` reads it back equal."""
    values = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(recipe).items()
    }
    return tomli_w.dumps(values)


def from_toml(text: str, *, base: Recipe | None = None, source: str = "recipe") -> Recipe:
    """The recipe that TOML `text` holds; fields it lacks come from `base` (default: the defaults).

    Raises:
        InputError: not TOML, an unknown field, a value of the wrong type or range; the message
            begins with `source`.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of too many digits
        raise InputError(f"{source}: not valid TOML: {error}") from None
    try:
        return override(base or Recipe(), **values)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def read_recipe(path: str | Path, *, base: Recipe | None = None) -> Recipe:
    """The recipe in the TOML file at `path`.

    Raises:
        InputError: the file is missing or unreadable, or its content is refused.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path}: can't be read: {reason}") from None
    return from_toml(text, base=base, source=str(path))


def differences(recipe: Recipe, base: Recipe) -> dict[str, tuple[Any, Any]]:
    """Fields in which two recipes differ, as `{name: (value in base, value in recipe)}`."""
    return {
        name: (getattr(base, name), getattr(recipe, name))
        for name in FIELDS
        if getattr(base, name) != getattr(recipe, name)
    }
