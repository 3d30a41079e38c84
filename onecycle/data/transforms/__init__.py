"""What is done to training images: each transform is a module, and draws from a stream of its own.

What is drawn and what is done are apart: a transform draws a few numbers per image, and applies
them to a whole batch at once. So a rank can take its slice of the draws, and an audit can count
what was really done.
"""

from onecycle.config import Recipe
from onecycle.data.transforms.crop import Crop
from onecycle.data.transforms.cutout import Cutout
from onecycle.data.transforms.flip import Flip
from onecycle.data.transforms.transform import Expected, Transform

TRANSFORMS: list[type[Transform]] = [Crop, Flip, Cutout]
"""Every transform, in the order in which they are applied."""


def of(recipe: Recipe) -> tuple[Transform, ...]:
    """The transforms that the recipe asks for, in order."""
    asked = [kind.of(recipe) for kind in TRANSFORMS]
    return tuple(transform for transform in asked if transform is not None)


__all__ = ["TRANSFORMS", "Crop", "Cutout", "Expected", "Flip", "Transform", "of"]
