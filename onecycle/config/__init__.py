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

from onecycle.config.checks import check_together
from onecycle.config.declaring import setting, settings
from onecycle.config.model_args import parsed, written
from onecycle.config.names import unknown_name
from onecycle.errors import InputError

Auto = Literal["auto"]
Found = Literal["auto", "proven"]

PEAK_SHARE = 5 / 24
"""Share of the epochs after which the rate peaks when `peak_epoch` is `auto`, as in the brief."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training, complete. Every field is a flag of the same name on the command line.

    A new setting is one field: flags, help, TOML, checks, resuming and comparing follow it.

    If `epochs` is given and `min_steps` is not, `min_steps` becomes 0, so that the epochs are kept.
    If `resized_crop` is given and `crop_padding` is not, `crop_padding` becomes 0, as they are two
    ways to crop. The same holds in `override`, in files and for flags.

    Raises:
        InputError: on construction, when a value is out of its range.
    """

    # fmt: off
    recipe: str = setting("custom", group="", decides="record",
        help="Name of the recipe; becomes part of the run folder's name.")

    # Data
    data: str = setting("shapes", group="data", metavar="NAME|PATH", path=True, decides="images",
        changes_bits=False,  # the fingerprint identifies the images, not their place
        help="`shapes`, `cifar10`, `cifar100`, or a path: class folders, an archive of them (.zip, "
        ".tar.gz), table (.csv), arrays (.npz), saved Hugging Face data set, CIFAR archive.")
    label_set: Literal["fine", "coarse"] = setting("fine", group="data", decides="images",
        help="CIFAR-100's labels: its 100 classes (fine) or their 20 groups (coarse).")
    train_limit: int = setting(0, group="data", unit="images", ge=0, le=10**9, decides="images",
        help="Use only this many training images (class-balanced choice); 0: all.")
    test_limit: int = setting(0, group="data", unit="images", ge=0, le=10**9, decides="images",
        help="Use only this many test images; 0: all.")
    val_fraction: float = setting(0.0, group="data", ge=0, lt=1, decides="images",
        help="Share of the training images set apart for validation, in [0, 1).")
    folds: int = setting(0, group="data", unit="folds", ge=0, le=1000, decides="images",
        help="Cross-validation: cut the images into so many parts, one of which is the test split.")
    fold: int = setting(0, group="data", ge=0, lt=1000, decides="images",
        help="With folds: which part is the test split, from 0.")
    image_size: int = setting(0, group="data", unit="pixels", ge=0, le=1024, decides="images",
        help="Height and width in pixels to which images are resized; 0: the data's own size.")
    resize: Literal["crop", "squash"] = setting("crop", group="data", decides="images",
        help="Images that are not square: cut out the middle (crop) or distort them (squash).")
    on_bad_image: Literal["error", "skip"] = setting("error", group="data", decides="images",
        help="An unreadable image of a folder: stop (error), or leave it out and say so (skip).")
    split_seed: int = setting(0, group="data", ge=0, le=2**63 - 1, decides="images",
        help="Seed of the validation split, the limits and a folder's test split; not of training.")
    mean: tuple[float, ...] | Auto = setting("auto", group="data", unit="channel",
        ge=0, le=1, decides="statistics",
        help="Channel means in [0, 1]; auto: measured on the train split.")
    std: tuple[float, ...] | Auto = setting("auto", group="data", unit="channel",
        ge=0, le=1, decides="statistics",
        help="Channel standard deviations in (0, 1]; auto: measured on the train split.")

    # Network
    model: str = setting("custom-resnet", group="network", metavar="NAME|CODE", path=True,
        help="A built-in network, or code of yours: `FILE.py:FUNCTION` or `MODULE:FUNCTION`.")
    model_args: str = setting("", group="network", metavar="NAME=VALUE,...",
        help="Further arguments of the network: depth=3,act=gelu.")
    width: float = setting(1.0, group="network", gt=0, le=64, decides="network",
        help="Factor on the network's channel counts.")
    head_scale: float = setting(1.0, group="network", gt=0, decides="network",
        help="Factor on the logits.")
    dropout: float = setting(0.0, group="network", ge=0, lt=1, decides="network",
        help="Probability of dropping a feature before the last layer, in [0, 1).")
    stem: Literal["auto", "small", "large"] = setting("auto", group="network", decides="network",
        help="First layers of resnet18, resnet34: small to 64 pixels, large above; auto: by size.")

    # Start from weights
    init_from: str = setting("", group="weights", metavar="RUN|FILE", path=True,
        help="Start from the weights of a run, or of a .safetensors or .pth file, where they fit.")
    freeze: str = setting("", group="weights", metavar="STAGE,…",
        help="Modules that are not trained, e.g. `prep,layer1`; `body`: all but the last layer.")
    head_lr_factor: float = setting(1.0, group="weights", ge=1, le=1e6,
        help="Divisor of the rate of all layers but the last, which learns at the step's rate.")

    # Cycle
    epochs: int = setting(24, group="cycle", unit="epochs", ge=1, le=10**6,
        help="Passes over the training images; `min_steps` may raise them.")
    batch_size: int | Auto = setting("auto", group="cycle", unit="images", ge=2, le=10**6,
        help="Images per step; auto: 512, or less for a small set, to have several steps an epoch.")
    min_steps: int | Auto = setting("auto", group="cycle", unit="steps", ge=0, le=10**9,
        help="Least number of steps; raises the epochs for small sets; 0 if epochs is given.")
    micro_batch: int = setting(0, group="cycle", unit="images", ge=0, le=10**6,
        help="Images per pass through the network, each pass with its own batch norm; 0: all.")
    sync_batch_norm: bool = setting(False, group="cycle",
        help="Batch norm over the images of all processes; off: each process has its own.")
    peak_epoch: float | Auto = setting("auto", group="cycle", unit="epochs", gt=0,
        help="Number of epochs until the rate peaks; auto: 5/24 of the epochs.")
    lr_max: float | Found = setting("auto", group="cycle", gt=0,
        help="Rate at the peak; auto: from the range test; proven: from short trainings around it.")
    lr_min: float | Auto = setting("auto", group="cycle", ge=0,
        help="Rate at the start; auto: from the range test.")
    lr_final: float | Auto = setting("auto", group="cycle", ge=0,
        help="Rate at the last step; auto: lr_min, so no annihilation phase.")
    anneal: Literal["linear", "cosine"] = setting("linear", group="cycle",
        help="Shape of the cycle's slopes.")
    three_phase: bool = setting(False, group="cycle",
        help="Go down to lr_min as steeply as up, then in a third phase to lr_final.")
    momentum: float = setting(0.9, group="cycle", ge=0, lt=1,
        help="SGD's momentum, or AdamW's first beta, in [0, 1).")
    cycle_momentum: bool = setting(False, group="cycle",
        help="Lower the momentum as the rate rises, from max_momentum to base_momentum.")
    base_momentum: float = setting(0.85, group="cycle", ge=0, lt=1,
        help="Momentum at the peak of the rate when cycled.")
    max_momentum: float = setting(0.95, group="cycle", ge=0, lt=1,
        help="Momentum at the start and the end when cycled.")

    # Optimizer and regularization
    optimizer: Literal["sgd", "adamw"] = setting("sgd", group="optimizer",
        help="SGD with momentum, or AdamW.")
    nesterov: bool = setting(False, group="optimizer",
        help="Nesterov momentum (SGD only).")
    weight_decay: float = setting(0.0, group="optimizer", ge=0,
        help="L2 penalty (SGD) or decoupled decay (AdamW) on convolution and linear weights.")
    decay_norms_and_biases: bool = setting(False, group="optimizer",
        help="Apply weight decay to norms and biases too.")
    l1: float = setting(0.0, group="optimizer", ge=0,
        help="Factor of the sum of absolute convolution and linear weights added to the loss.")
    label_smoothing: float = setting(0.0, group="optimizer", ge=0, lt=1,
        help="Share of the target spread evenly over the classes, in [0, 1).")
    class_weights: Literal["none", "balanced"] = setting("none", group="optimizer",
        help="Class weights in the loss: equal (none), or by inverse frequency (balanced).")

    # Transforms
    crop_padding: int | float = setting(4, group="transforms", unit="pixels", ge=0, le=512,
        help="Padding before the random crop, also as a share of the shorter side; 0: no crop.")
    flip: float = setting(0.5, group="transforms", ge=0, le=1,
        help="Probability of a horizontal flip, in [0, 1].")
    cutout: int | float = setting(8, group="transforms", unit="pixels", ge=0, le=1024,
        help="Side of the square cut out of each image, also as a share of the shorter side.")
    resized_crop: float = setting(0.0, group="transforms", ge=0, le=1,
        help="Random resized crop: least share of the area shown (published: 0.08); 0: none.")
    rotation: float = setting(0.0, group="transforms", unit="degrees", ge=0, le=180,
        help="Largest angle of a random rotation in either direction; 0: none.")
    brightness: float = setting(0.0, group="transforms", ge=0, le=1,
        help="Colour jitter: largest change of a random factor around 1 on the brightness.")
    contrast: float = setting(0.0, group="transforms", ge=0, le=1,
        help="Colour jitter: largest change of a random factor around 1 on the contrast.")
    saturation: float = setting(0.0, group="transforms", ge=0, le=1,
        help="Colour jitter: largest change of a random factor around 1 on the saturation.")
    hue: float = setting(0.0, group="transforms", ge=0, le=0.5,
        help="Colour jitter: largest random shift of the hue, as a share of the colour circle.")
    trivial_augment: bool = setting(False, group="transforms",
        help="TrivialAugment: one of 14 operations of random strength for each training image.")
    tta: bool = setting(False, group="transforms", decides="record",
        help="Test-time augmentation: report the accuracy over each image and its mirror too.")

    # Range test
    lr_start: float = setting(1e-7, group="range-test", gt=0, decides="rates",
        help="First rate of the range test.")
    lr_end: float = setting(10.0, group="range-test", gt=0, decides="rates",
        help="Last rate of the range test, unless the loss blows up before.")
    lr_steps: int | Auto = setting("auto", group="range-test", unit="steps",
        ge=10, le=100_000, decides="rates",
        help="Steps of the range test; auto: 100, or as many as the training has, and at least 50.")
    lr_repeats: int = setting(1, group="range-test", ge=1, le=100, decides="rates",
        help="Range tests, each with its own seed; the suggestions are their medians.")

    # Machine
    precision: Literal["auto", "fp32", "bf16"] = setting("auto", group="machine",
        help="Arithmetic of the forward and backward pass; auto: bf16 where the device has it.")
    compile: bool = setting(False, group="machine",
        help="Compile the network (torch.compile; CUDA graphs on a GPU); takes a minute at first.")
    device: str = setting("auto", group="machine",
        help="cpu, cuda or mps; auto: the fastest available.")
    seed: int = setting(0, group="machine", ge=0, le=2**63 - 1, decides="chance",
        help="Seed of initialization, shuffling, augmentation and dropout.")
    checkpoint_minutes: float = setting(5.0, group="machine", unit="minutes", ge=0,
        decides="record", changes_bits=False,
        help="Minutes between checkpoints within an epoch; 0: only at each epoch's end.")
    # fmt: on

    def __new__(cls, **given: Any) -> Self:
        """Remember what was asked for, where the fields alone don't show it."""
        recipe = super().__new__(cls)
        if given.get("resized_crop") and "crop_padding" not in given:
            object.__setattr__(recipe, "_one_crop", True)
        if "epochs" in given and "min_steps" not in given:
            object.__setattr__(recipe, "_epochs_asked_for", True)
        return recipe

    def __post_init__(self) -> None:
        if self.__dict__.pop("_epochs_asked_for", False):
            object.__setattr__(self, "min_steps", 0)
        if self.__dict__.pop("_one_crop", False):
            object.__setattr__(self, "crop_padding", 0)
        for name, each in settings(type(self)).items():
            object.__setattr__(self, name, each.check(getattr(self, name)))
        object.__setattr__(self, "model_args", written(parsed(self.model_args)))
        check_together(self)

    @property
    def resolved_peak_epoch(self) -> float:
        """Epoch at whose end the rate peaks, in (0, epochs)."""
        return self.epochs * PEAK_SHARE if self.peak_epoch == "auto" else self.peak_epoch


settings(Recipe)  # an incomplete declaration is refused when the package is imported


def override(recipe: Recipe, /, **changes: Any) -> Recipe:
    """`recipe` with some fields changed; a numeric peak keeps its share when only epochs change.

    Epochs that are given are obeyed: `min_steps` becomes 0 unless it is given too. So is a
    `resized_crop`: `crop_padding` becomes 0.

    Raises:
        InputError: an unknown field (with the nearest name), or a value out of its range.
    """
    known = settings(type(recipe))
    for name in changes:
        if name not in known:
            raise InputError(unknown_name("recipe field", name, known))
    if "epochs" in changes:
        epochs = known["epochs"].check(changes["epochs"])
        changes.setdefault("min_steps", 0)
        if recipe.peak_epoch != "auto":
            changes.setdefault("peak_epoch", recipe.peak_epoch * epochs / recipe.epochs)
    if changes.get("resized_crop"):
        changes.setdefault("crop_padding", 0)
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
    values = {
        name: (getattr(base, name, each.default), getattr(recipe, name))
        for name, each in settings(type(recipe)).items()
    }
    return {name: (there, here) for name, (there, here) in values.items() if there != here}
