"""Random resized crop: a random part of each image, enlarged (Szegedy et al., 2015).

The method is in section 6 of "Going deeper with convolutions" (arXiv:1409.4842). Its details are
those of torchvision's `RandomResizedCrop`, whose defaults are the published reference: from 8 % of
the area, and sides in a proportion between 3:4 and 4:3.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from onecycle.config import Recipe
from onecycle.data.transforms import sampling
from onecycle.data.transforms.transform import Expected, Transform

PROPORTIONS = (3 / 4, 4 / 3)
"""Least and largest proportion of width to height."""

ATTEMPTS = 10
"""Boxes drawn for each image. The first that lies within the image is taken."""


@dataclass(frozen=True)
class ResizedCrop(Transform):
    """A box of random area, proportion and position, enlarged to the image's size.

    The area is uniform, and the proportion is uniform on a logarithmic scale. If none of the ten
    boxes drawn lies within the image, the largest box in its middle with an allowed proportion is
    taken: for square images all of it. Sampling is bilinear.

    Attributes:
        least: least share of the image's area that is shown, in (0, 1].
    """

    least: float

    name = "resized crop"
    stream = "resized crop"

    @classmethod
    def of(cls, recipe: Recipe) -> Self | None:
        return cls(recipe.resized_crop) if recipe.resized_crop else None

    @property
    def expected(self) -> Expected:
        return Expected(altered=1.0, hides=True)

    def draw(self, count: int, image_shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """int64 B 4: top, left, height and width of the box in pixels."""
        height, width = image_shape
        uniform_BN = torch.rand(count, 2 * ATTEMPTS + 2, generator=generator, dtype=torch.float64)
        area_BA = height * width * (self.least + (1 - self.least) * uniform_BN[:, :ATTEMPTS])
        low, high = map(math.log, PROPORTIONS)
        proportion_BA = (low + (high - low) * uniform_BN[:, ATTEMPTS:-2]).exp()
        high_BA = (area_BA / proportion_BA).sqrt().round().clamp(min=1)
        wide_BA = (area_BA * proportion_BA).sqrt().round().clamp(min=1)
        fits_BA = (high_BA <= height) & (wide_BA <= width)
        first_B1 = fits_BA.int().argmax(1, keepdim=True)
        sides_B2 = torch.stack([side.gather(1, first_B1)[:, 0] for side in (high_BA, wide_BA)], 1)
        sides_B2[~fits_BA.any(1)] = torch.tensor(_largest(height, width), dtype=torch.float64)
        rooms_B2 = torch.tensor([height, width]) - sides_B2
        corners_B2 = uniform_BN[:, -2:] * (rooms_B2 + 1)
        middle_B1 = ~fits_BA.any(1, keepdim=True)
        corners_B2 = torch.where(middle_B1, rooms_B2 / 2, corners_B2)
        return torch.cat([corners_B2, sides_B2], 1).long()

    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        return sampling.boxes(images_BHWC, drawn_B)


def _largest(height: int, width: int) -> tuple[int, int]:
    """Height and width of the largest box within an image that has an allowed proportion."""
    low, high = PROPORTIONS
    if width < low * height:
        return round(width / low), width
    if width > high * height:
        return height, round(height * high)
    return height, width
