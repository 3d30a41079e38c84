"""Random rotation: each image is turned about its middle."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from onecycle.config import Recipe
from onecycle.data.transforms import sampling
from onecycle.data.transforms.transform import Expected, Transform


@dataclass(frozen=True)
class Rotation(Transform):
    """A rotation by a random angle, with bilinear interpolation.

    Every angle up to the largest is equally likely, in both directions. What comes from outside
    the image is the channel mean.

    Attributes:
        degrees: the largest angle, in [0, 180].
    """

    degrees: float

    name = "rotation"
    stream = "rotation"

    @classmethod
    def of(cls, recipe: Recipe) -> Self | None:
        return cls(recipe.rotation) if recipe.rotation else None

    @property
    def expected(self) -> Expected:
        return Expected(altered=1.0, hides=True)

    def draw(self, count: int, image_shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """float32 B 1: the angle in degrees, counterclockwise."""
        uniform_B1 = torch.rand(count, 1, generator=generator, dtype=torch.float64)
        return (self.degrees * (2 * uniform_B1 - 1)).float()

    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        _, height, width, _ = images_BHWC.shape
        matrix_B23 = sampling.rotations(drawn_B[:, 0], height, width)
        return sampling.affine(images_BHWC, matrix_B23)
