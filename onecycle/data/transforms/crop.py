"""Random crop: each image is shifted by a few pixels."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from onecycle.config import Recipe
from onecycle.data.transforms import shared
from onecycle.data.transforms.transform import Expected, Transform, pixels, size
from onecycle.errors import InputError


@dataclass(frozen=True)
class Crop(Transform):
    """A crop of the image's own size, from the image with a border of zeros.

    Every position is equally likely. Zero is the channel mean, once images are normalised.

    Attributes:
        padding: width of the border in pixels, at least 0.
    """

    padding: int

    name = "crop"
    stream = shared.STREAM

    @classmethod
    def of(cls, recipe: Recipe) -> Self | None:
        return cls(pixels(recipe.crop_padding)) if recipe.crop_padding else None

    @property
    def expected(self) -> Expected:
        """Every position but the middle one is a shift."""
        return Expected(shifted=1 - 1 / (2 * self.padding + 1) ** 2, farthest=self.padding)

    def check(self, height: int, width: int, channels: int | None = None) -> None:
        if self.padding >= min(height, width):
            raise InputError(
                f"crop_padding: {self.padding} can shift the whole image ({size(height, width)}) "
                "out of view; lower it"
            )

    def draw(self, count: int, image_shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """int64 B 2: top left corner of the crop in the padded image, in [0, 2 * padding]."""
        uniform_B2 = shared.uniform(count, shared.CROP, generator)
        return (uniform_B2 * (2 * self.padding + 1)).long()

    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        batch, height, width, channels = images_BHWC.shape
        padding, positions = self.padding, 2 * self.padding + 1
        padded = F.pad(images_BHWC, (0, 0, padding, padding, padding, padding))
        image, row, column, channel = padded.stride()
        windows = padded.as_strided(  # every crop of every image, as a view
            (batch, positions, positions, height, width, channels),
            (image, row, column, row, column, channel),
        )
        each = torch.arange(batch, device=images_BHWC.device)
        return windows[each, drawn_B[:, 0], drawn_B[:, 1]]
