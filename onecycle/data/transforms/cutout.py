"""Cutout: a square of each image is blanked (DeVries and Taylor, 2017)."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from onecycle.config import Recipe
from onecycle.data.transforms import shared
from onecycle.data.transforms.transform import Expected, Transform, pixels, size
from onecycle.errors import InputError


@dataclass(frozen=True)
class Cutout(Transform):
    """A square set to zero: the channel mean, once images are normalised.

    The square lies wholly inside the image, so exactly `side` x `side` pixels are lost. In the
    paper it may be clipped at the border. Every position is equally likely.

    Attributes:
        side: length of the square in pixels, from 0 to the shorter side of the image.
    """

    side: int

    name = "cutout"
    stream = shared.STREAM

    @classmethod
    def of(cls, recipe: Recipe) -> Self | None:
        return cls(pixels(recipe.cutout)) if recipe.cutout else None

    @property
    def expected(self) -> Expected:
        return Expected(blanked=1.0, blanked_pixels=self.side**2)

    def check(self, height: int, width: int, channels: int | None = None) -> None:
        if self.side > min(height, width):
            raise InputError(
                f"cutout: {self.side} is larger than the image ({size(height, width)}); lower it"
            )

    def draw(self, count: int, image_shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """int64 B 2: top left corner of the square, which lies wholly inside the image."""
        rooms = torch.tensor([side - self.side + 1 for side in image_shape], dtype=torch.float64)
        return (shared.uniform(count, shared.CUTOUT, generator) * rooms).long()

    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        _, height, width, _ = images_BHWC.shape
        rows_BH = self._within(drawn_B[:, :1], height)
        columns_BW = self._within(drawn_B[:, 1:], width)
        square_BHW = rows_BH[:, :, None] & columns_BW[:, None, :]
        return images_BHWC.masked_fill(square_BHW[..., None], 0)

    def _within(self, start_B1: Tensor, total: int) -> Tensor:
        """Bool B x total: whether a position lies in [start, start + side)."""
        position = torch.arange(total, device=start_B1.device)
        return (position >= start_B1) & (position < start_B1 + self.side)
