"""Sizes that follow the training images: batch, epochs and range test their number, pixels a side.

Only what a recipe leaves to `auto`, or gives as a share, is resolved here; a number is obeyed. Why
these constants: docs/recipes.md, "Small sets", and `benchmarks/small_folder.py`.
"""

import math
from collections.abc import Mapping

from onecycle.config import Recipe, override
from onecycle.config.declaring import settings
from onecycle.errors import InputError
from onecycle.writing.numbers import counted, in_full

LARGEST_BATCH, SMALLEST_BATCH = 512, 8
"""Largest and smallest batch that `auto` chooses; smaller only if there are fewer images."""

BATCHES_IN_EPOCH = 6
"""A batch is chosen so small that an epoch has this many of them."""

LEAST_STEPS = 600
"""Steps that `auto` asks of a training."""

MOST_EPOCHS = 100
"""`auto` raises the epochs no further: passes over a few images soon teach nothing new."""

RANGE_TEST_STEPS = (50, 100)
"""Steps of a range test: as many as the training has, within these bounds."""


def resolve_sizes(recipe: Recipe, images: int) -> Recipe:
    """The recipe with numbers for its sizes; `min_steps` is 0, as the epochs already include it.

    Args:
        recipe: as asked for.
        images: in the train split, at least 2.
    """
    batch = batch_size_for(images) if recipe.batch_size == "auto" else recipe.batch_size
    per_epoch = steps_per_epoch(images, batch)
    epochs = max(recipe.epochs, least_epochs(recipe.min_steps, per_epoch))
    low, high = RANGE_TEST_STEPS
    test = min(max(epochs * per_epoch, low), high)
    return override(
        recipe,
        batch_size=batch,
        **({"epochs": epochs} if epochs != recipe.epochs else {}),
        min_steps=0,
        lr_steps=test if recipe.lr_steps == "auto" else recipe.lr_steps,
    )


def shares(recipe: Recipe) -> Mapping[str, float]:
    """The settings that the recipe gives as a share of the images' shorter side."""
    known = settings(type(recipe)).values()
    values = {each.name: getattr(recipe, each.name) for each in known if each.share}
    return {name: value for name, value in values.items() if isinstance(value, float)}


def resolve_shares(recipe: Recipe, height: int, width: int) -> Recipe:
    """The recipe with whole pixels in place of shares of the shorter side; halves are rounded up.

    Args:
        recipe: as asked for.
        height, width: of the training images in pixels.

    Raises:
        InputError: a share of this side rounds to no pixel.
    """
    side, found = min(height, width), {}
    for name, share in shares(recipe).items():
        found[name] = math.floor(share * side + 0.5)
        if not found[name]:
            raise InputError(
                f"{name}: {in_full(share)} of {counted(side, 'pixel')} is less than half a pixel; "
                f"give {math.ceil(50 / side) / 100:g} or more, or 0 for none"
            )
    return override(recipe, **found) if found else recipe


def batch_size_for(images: int) -> int:
    """A power of two within bounds, and never more than `images`."""
    wanted = min(max(images // BATCHES_IN_EPOCH, SMALLEST_BATCH), LARGEST_BATCH, images)
    return 2 ** (wanted.bit_length() - 1)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches in an epoch: a last one may be smaller, but a single image joins the one before."""
    full, left = divmod(images, batch_size)
    return max(1, full + (left > 1))


def least_epochs(min_steps: int | str, per_epoch: int) -> int:
    """Epochs that make at least `min_steps` steps; for `auto`, `LEAST_STEPS` within bounds."""
    if isinstance(min_steps, str):
        return min(-(-LEAST_STEPS // per_epoch), MOST_EPOCHS)
    return -(-min_steps // per_epoch)
