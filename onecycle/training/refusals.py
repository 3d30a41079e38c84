"""Checks that are possible before any image is drawn, fetched or decoded."""

from dataclasses import dataclass

from onecycle.config import Recipe
from onecycle.config.sizes import resolve_shares
from onecycle.data import transforms
from onecycle.errors import InputError
from onecycle.writing.numbers import counted, in_full


@dataclass(frozen=True)
class BuiltIn:
    """A built-in set.

    Attributes:
        side: height and width of its images in pixels.
        channels: of its images.
        classes: number of classes.
        train, test: number of images in each split; of drawn images, the default number.
        drawn: whether the images are drawn, so that there can be any number of them.
    """

    side: int
    channels: int
    classes: int
    train: int
    test: int
    drawn: bool = False


BUILT_IN_SETS = {
    "shapes": BuiltIn(32, 3, 10, 10_000, 2_000, drawn=True),
    "cifar10": BuiltIn(32, 3, 10, 50_000, 10_000),
    "cifar100": BuiltIn(32, 3, 100, 50_000, 10_000),
}
"""What is known about the built-in sets without loading them."""


def built_in(recipe: Recipe) -> BuiltIn | None:
    """The built-in set that a recipe names, with its `label_set`; None for other data."""
    found = BUILT_IN_SETS.get(recipe.data)
    if found and recipe.data == "cifar100" and recipe.label_set == "coarse":
        return BuiltIn(found.side, found.channels, 20, found.train, found.test)
    return found


def refuse_early(recipe: Recipe) -> None:
    """Refuse settings that can't fit the images, as far as is known without loading them.

    Raises:
        InputError: naming the field and the remedy.
    """
    known = built_in(recipe)
    side = recipe.image_size or (known.side if known else 0)
    if side:
        channels = known.channels if known else None
        refuse_transforms(resolve_shares(recipe, side, side), side, side, channels)
    if known:
        refuse_statistics(recipe, known.channels)
        _refuse_counts(recipe, known)


def refuse_transforms(recipe: Recipe, height: int, width: int, channels: int | None) -> None:
    """Refuse transforms that can't be applied to images of this size, and of so many channels.

    Raises:
        InputError: naming the setting and the remedy.
    """
    for transform in transforms.of(recipe):
        transform.check(height, width, channels)


def refuse_statistics(recipe: Recipe, channels: int) -> None:
    """Refuse channel means or deviations whose number is not that of the channels.

    Raises:
        InputError: naming the field.
    """
    for name in ("mean", "std"):
        values = getattr(recipe, name)
        if values != "auto" and len(values) != channels:
            raise InputError(
                f"{name}: {len(values)} given, but the images have {counted(channels, 'channel')}; "
                f"give {channels}, or auto"
            )


def _refuse_counts(recipe: Recipe, known: BuiltIn) -> None:
    """Refuse limits that a built-in set can't meet, and a validation split that can't be cut."""
    for name, there in (("train_limit", known.train), ("test_limit", known.test)):
        limit = getattr(recipe, name)
        if limit > there and not known.drawn:
            raise InputError(
                f"{name}: {limit} is more than the {counted(there, 'image')} of the set; lower it"
            )
        if 0 < limit < known.classes:
            raise InputError(
                f"{name}: {counted(limit, 'image')} can't hold {known.classes} classes; raise it"
            )
    smallest = (recipe.train_limit or known.train) // known.classes
    if recipe.val_fraction and round(recipe.val_fraction * smallest) in (0, smallest):
        raise InputError(
            f"val_fraction: {in_full(recipe.val_fraction)} of {counted(smallest, 'image')} in a "
            "class leaves one split without any; change it or give more images"
        )
