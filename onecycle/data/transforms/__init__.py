"""The transforms of training images. Each is a module with its own random stream.

Drawing and applying are separate. A transform draws a few numbers per image, and then applies them
to a whole batch at once. So a rank can take its slice of the draws.
"""

from onecycle.config import Recipe
from onecycle.data.transforms.colour_jitter import ColourJitter
from onecycle.data.transforms.crop import Crop
from onecycle.data.transforms.cutout import Cutout
from onecycle.data.transforms.flip import Flip
from onecycle.data.transforms.resized_crop import ResizedCrop
from onecycle.data.transforms.rotation import Rotation
from onecycle.data.transforms.transform import Expected, Transform
from onecycle.data.transforms.trivial_augment import TrivialAugment

TRANSFORMS: list[type[Transform]] = [
    ResizedCrop,
    Crop,
    Flip,
    Rotation,
    ColourJitter,
    TrivialAugment,
    Cutout,
]
"""Every transform, in the order in which they are applied."""


def of(recipe: Recipe) -> tuple[Transform, ...]:
    """The transforms that the recipe asks for, in order."""
    asked = [kind.of(recipe) for kind in TRANSFORMS]
    return tuple(transform for transform in asked if transform is not None)


__all__ = [
    "TRANSFORMS",
    "ColourJitter",
    "Crop",
    "Cutout",
    "Expected",
    "Flip",
    "ResizedCrop",
    "Rotation",
    "Transform",
    "TrivialAugment",
    "of",
]
