"""Random flip: some images are mirrored left to right."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from onecycle.config import Recipe
from onecycle.data.transforms import shared
from onecycle.data.transforms.transform import Expected, Transform


@dataclass(frozen=True)
class Flip(Transform):
    """A horizontal flip.

    Attributes:
        probability: of a mirror image, in [0, 1].
    """

    probability: float

    name = "flip"
    stream = shared.STREAM

    @classmethod
    def of(cls, recipe: Recipe) -> Self | None:
        return cls(recipe.flip) if recipe.flip else None

    @property
    def expected(self) -> Expected:
        return Expected(mirrored=self.probability)

    def draw(self, count: int, image_shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Bool B 1: whether the image is mirrored."""
        return shared.uniform(count, shared.FLIP, generator) < self.probability

    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        return torch.where(drawn_B[:, :, None, None], images_BHWC.flip(2), images_BHWC)
