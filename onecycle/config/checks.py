"""What a recipe's values may be: their kinds, their ranges, and which go together."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from onecycle.config.names import unknown_name
from onecycle.errors import InputError
from onecycle.nouns import counted

if TYPE_CHECKING:
    from onecycle.config import Recipe

SMALLEST_IMAGE = 8
"""Pixels of the shortest side that a network can halve three times."""

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "label_set": ("fine", "coarse"),
    "resize": ("crop", "squash"),
    "on_bad_image": ("error", "skip"),
    "anneal": ("linear", "cosine"),
    "optimizer": ("sgd", "adamw"),
    "class_weights": ("none", "balanced"),
    "precision": ("auto", "fp32", "bf16"),
}
_WHOLE_OR_AUTO = ("batch_size", "min_steps", "lr_steps")
_MAY_BE_AUTO = ("mean", "std", "peak_epoch", "lr_max", "lr_min", "lr_final", *_WHOLE_OR_AUTO)

# name: (smallest, largest, smallest allowed?, largest allowed?)
_RANGES: Mapping[str, tuple[float, float, bool, bool]] = {
    "train_limit": (0, 10**9, True, True),
    "test_limit": (0, 10**9, True, True),
    "val_fraction": (0, 1, True, False),
    "image_size": (0, 1024, True, True),
    "width": (0, 64, False, True),
    "head_scale": (0, math.inf, False, False),
    "dropout": (0, 1, True, False),
    "epochs": (1, 10**6, True, True),
    "batch_size": (2, 10**6, True, True),
    "min_steps": (0, 10**9, True, True),
    "micro_batch": (0, 10**6, True, True),
    "peak_epoch": (0, math.inf, False, False),
    "lr_max": (0, math.inf, False, False),
    "lr_min": (0, math.inf, True, False),
    "lr_final": (0, math.inf, True, False),
    "momentum": (0, 1, True, False),
    "base_momentum": (0, 1, True, False),
    "max_momentum": (0, 1, True, False),
    "weight_decay": (0, math.inf, True, False),
    "l1": (0, math.inf, True, False),
    "label_smoothing": (0, 1, True, False),
    "crop_padding": (0, 512, True, True),
    "flip": (0, 1, True, True),
    "cutout": (0, 1024, True, True),
    "lr_start": (0, math.inf, False, False),
    "lr_end": (0, math.inf, False, False),
    "lr_steps": (10, 100_000, True, True),
    "lr_repeats": (1, 100, True, True),
    "seed": (0, 2**63 - 1, True, True),
    "split_seed": (0, 2**63 - 1, True, True),
    "checkpoint_minutes": (0, math.inf, True, False),
}


def check_types(recipe: "Recipe") -> None:
    """Hold every value to its default's kind; whole numbers may stand for floats and become such.

    Raises:
        InputError: one is of another kind.
    """
    for field in dataclasses.fields(recipe):
        name = field.name
        value = getattr(recipe, name)
        if value in _words(name):
            continue
        if name in ("mean", "std"):
            _check_channels(name, value)
        elif name in _WHOLE_OR_AUTO:
            if type(value) is not int:
                raise InputError(f"{name}: '{value}' is not a whole number; give one, or auto")
        elif name in _MAY_BE_AUTO or isinstance(field.default, float):
            if isinstance(value, bool) or not isinstance(value, int | float):
                words = "".join(f" or {word}" for word in _words(name))
                raise InputError(f"{name}: '{value}' is not a number; give a number{words}")
            try:
                object.__setattr__(recipe, name, float(value))
            except OverflowError:
                raise InputError(
                    f"{name}: has too many digits; give a number below 1e308"
                ) from None
        elif type(value) is not type(field.default):
            kind = {bool: "true or false", int: "a whole number", str: "text"}
            raise InputError(f"{name}: '{value}' is not {kind[type(field.default)]}")


def _words(name: str) -> tuple[str, ...]:
    """What a field that is a number may be instead."""
    if name == "lr_max":
        return ("auto", "proven")
    return ("auto",) if name in _MAY_BE_AUTO else ()


def _check_channels(name: str, value: object) -> None:
    numbers = value if isinstance(value, list | tuple) else ()
    if not numbers or any(
        isinstance(v, bool) or not isinstance(v, int | float) or not 0 <= v <= 1 for v in numbers
    ):
        raise InputError(f"{name}: '{value}' is not a list of numbers in [0, 1], one per channel")
    if name == "std" and 0 in numbers:
        raise InputError("std: 0 can't be divided by; give standard deviations above 0")


def check_ranges(recipe: "Recipe") -> None:
    """Hold every value to its range, and to the other fields' where two belong together.

    Raises:
        InputError: one is outside; the message names the field and the range.
    """
    for name, choices in _CHOICES.items():
        if getattr(recipe, name) not in choices:
            raise InputError(unknown_name(name, getattr(recipe, name), choices))
    for name, (low, high, low_in, high_in) in _RANGES.items():
        value = getattr(recipe, name)
        if value in _words(name):
            continue
        above = value >= low if low_in else value > low
        below = value <= high if high_in else value < high
        if not (above and below):  # NaN fails both
            raise InputError(f"{name}: {value} is out of range; {_range_text(name)}")
    _check_together(recipe)


def _range_text(name: str) -> str:
    low, high, low_in, high_in = _RANGES[name]
    lower = f"{'at least' if low_in else 'more than'} {low:g}"
    if math.isinf(high):
        return f"give a finite number {lower}"
    limit = high if isinstance(high, int) else f"{high:g}"
    return f"give a number {lower} and {'at most' if high_in else 'less than'} {limit}"


def _check_together(recipe: "Recipe") -> None:
    """Rules that tie two fields together, or a field to what the program can do."""
    _check_possible(recipe)
    _check_cycle(recipe)
    if recipe.nesterov and recipe.optimizer == "sgd" and recipe.momentum == 0:
        raise InputError("nesterov: needs a momentum above 0; set momentum, or nesterov to false")
    if recipe.image_size and recipe.cutout > recipe.image_size:
        raise InputError(
            f"cutout: {recipe.cutout} is larger than the image ({recipe.image_size} pixels); "
            "lower it"
        )


def _check_possible(recipe: "Recipe") -> None:
    if 0 < recipe.image_size < SMALLEST_IMAGE:
        verb = "is" if recipe.image_size == 1 else "are"
        raise InputError(
            f"image_size: {counted(recipe.image_size, 'pixel')} {verb} too few; give "
            f"{SMALLEST_IMAGE} or more, "
            "or 0 for the data's own size"
        )
    if recipe.micro_batch == 1:
        raise InputError("micro_batch: one image has no statistics; give 2 or more, or 0 for all")
    if not recipe.recipe or "/" in recipe.recipe or recipe.recipe.startswith("."):
        raise InputError(f"recipe: '{recipe.recipe}' can't be part of a folder's name")


def _check_cycle(recipe: "Recipe") -> None:
    if recipe.resolved_peak_epoch >= recipe.epochs:
        raise InputError(
            f"peak_epoch: {recipe.peak_epoch:g} is not within the {counted(recipe.epochs, 'epoch')}"
            f"; give one below {recipe.epochs}, or auto"
        )
    if recipe.three_phase and recipe.resolved_peak_epoch * 2 >= recipe.epochs:
        raise InputError("peak_epoch: with three_phase it must lie before half of the epochs")
    if recipe.lr_start >= recipe.lr_end:
        raise InputError(
            f"lr_start: {recipe.lr_start:g} is not below lr_end ({recipe.lr_end:g}); lower it"
        )
    if recipe.base_momentum > recipe.max_momentum:
        raise InputError(
            f"base_momentum: {recipe.base_momentum:g} is above max_momentum "
            f"({recipe.max_momentum:g}); lower it"
        )
    lr_min, lr_max, lr_final = recipe.lr_min, recipe.lr_max, recipe.lr_final
    if isinstance(lr_max, str):
        lr_max = math.inf  # not known yet
    if lr_min != "auto" and lr_min > lr_max:
        raise InputError(f"lr_min: {lr_min:g} is above lr_max ({lr_max:g}); lower it")
    if lr_final != "auto" and lr_final > lr_max:
        raise InputError(f"lr_final: {lr_final:g} is above lr_max ({lr_max:g}); lower it")
