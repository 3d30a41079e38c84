"""Check which values of a recipe fit together. Each setting's declaration checks its own range."""

import math
from typing import TYPE_CHECKING

from onecycle.errors import InputError
from onecycle.writing.numbers import counted, in_full

if TYPE_CHECKING:
    from onecycle.config import Recipe

SMALLEST_IMAGE = 8
"""Pixels of the shortest side that a network can halve three times."""


def check_together(recipe: "Recipe") -> None:
    """Check the rules that relate two fields, or a field to what the program can do.

    Raises:
        InputError: one is broken; the message names the field and the remedy.
    """
    _check_possible(recipe)
    _check_cycle(recipe)
    if recipe.nesterov and recipe.optimizer == "sgd" and recipe.momentum == 0:
        raise InputError("nesterov: needs a momentum above 0; set momentum, or nesterov to false")
    if recipe.resized_crop and recipe.crop_padding:
        raise InputError("crop_padding: resized_crop crops already; set one of them to 0")
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
    if recipe.folds == 1:
        raise InputError("folds: 1 leaves nothing to train on; give 2 or more, or 0 for none")
    if recipe.fold and recipe.fold >= recipe.folds:
        remedy = f"give one from 0 to {recipe.folds - 1}" if recipe.folds else "set folds too"
        raise InputError(f"fold: there is no fold {recipe.fold}; {remedy}")
    if recipe.folds and recipe.test_limit:
        raise InputError(
            "test_limit: with folds, the test split is a fold as it is; set test_limit to 0"
        )
    if recipe.micro_batch == 1:
        raise InputError("micro_batch: one image has no statistics; give 2 or more, or 0 for all")
    if recipe.micro_batch and recipe.sync_batch_norm:
        raise InputError(
            "sync_batch_norm: with micro_batch each part has its own batch norm; set one of them"
        )
    if recipe.std != "auto" and 0 in recipe.std:
        raise InputError("std: 0 can't be divided by; give standard deviations above 0")
    if not recipe.recipe or "/" in recipe.recipe or recipe.recipe.startswith("."):
        raise InputError(f"recipe: '{recipe.recipe}' can't be part of a folder's name")


def _check_cycle(recipe: "Recipe") -> None:
    peak = recipe.resolved_peak_epoch
    if peak >= recipe.epochs:
        raise InputError(
            f"peak_epoch: {in_full(peak)} is not within the "
            f"{counted(recipe.epochs, 'epoch')}; give one below {recipe.epochs}, or auto"
        )
    if recipe.three_phase and peak * 2 >= recipe.epochs:
        raise InputError("peak_epoch: with three_phase it must lie before half of the epochs")
    start, end = recipe.lr_start, recipe.lr_end
    if start >= end:
        raise InputError(
            f"lr_start: {in_full(start)} is not below lr_end ({in_full(end)}); lower it"
        )
    if recipe.base_momentum > recipe.max_momentum:
        raise InputError(
            f"base_momentum: {in_full(recipe.base_momentum)} is above max_momentum "
            f"({in_full(recipe.max_momentum)}); lower it"
        )
    lr_min, lr_max, lr_final = recipe.lr_min, recipe.lr_max, recipe.lr_final
    if isinstance(lr_max, str):
        lr_max = math.inf  # not known yet
    if lr_min != "auto" and lr_min > lr_max:
        raise InputError(f"lr_min: {in_full(lr_min)} is above lr_max ({in_full(lr_max)}); lower it")
    if lr_final != "auto" and lr_final > lr_max:
        raise InputError(
            f"lr_final: {in_full(lr_final)} is above lr_max ({in_full(lr_max)}); lower it"
        )
