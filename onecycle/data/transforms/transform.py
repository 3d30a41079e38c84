"""What a transform is.

Shapes: B batch, C channels, H height, W width.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from onecycle.config import Recipe


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a transform leaves in the pixels of images: what the audit should find there.

    Attributes:
        shifted, mirrored: shares of images that are moved, and mirrored left to right.
        farthest: the largest shift in pixels, down or to the right or against that.
        blanked: share of images with pixels set to the channel mean.
        blanked_pixels: of such an image, where none was blank before.
        altered: share of images whose pixels get other values than these three leave.
    """

    shifted: float = 0.0
    farthest: int = 0
    mirrored: float = 0.0
    blanked: float = 0.0
    blanked_pixels: int = 0
    altered: float = 0.0


class Transform(ABC):
    """One thing that is done to training images. Its settings are its fields.

    Attributes:
        name: what the audit calls it.
        stream: the random stream that it draws from, which no other draws from. So a transform
            that is added or left out changes nothing of what happens to images besides.
    """

    name: ClassVar[str]
    stream: ClassVar[str]

    @classmethod
    @abstractmethod
    def of(cls, recipe: Recipe) -> Self | None:
        """The transform with the recipe's settings; None if the recipe leaves it out."""

    @property
    @abstractmethod
    def expected(self) -> Expected:
        """What the audit should find."""

    @abstractmethod
    def draw(self, count: int, image_shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """What happens to each of `count` images: a tensor of `count` rows, on the CPU.

        Args:
            count: images of the whole batch, of which a rank takes its rows.
            image_shape: height and width in pixels.
            generator: of the transform's stream, at the batch's step.
        """

    @abstractmethod
    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        """The images, changed as drawn: a whole batch at once, without calls per image.

        Args:
            images_BHWC: float32, normalised, so that 0 is the channel mean.
            drawn_B: rows of what `draw` gave, on the device of the images.
        """

    def check(self, height: int, width: int) -> None:  # noqa: B027 - most take any size
        """Refuse images of a size that the transform can't be applied to.

        Raises:
            InputError: naming the setting and the remedy.
        """


def size(height: int, width: int) -> str:
    """An image's size in words."""
    return f"{height} pixels" if height == width else f"{height} x {width} pixels"
