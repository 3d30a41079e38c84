"""The contract of a transform.

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
    """The effect of a transform on pixels, which the audit should measure.

    Attributes:
        shifted, mirrored: shares of images that are shifted, and mirrored left to right.
        farthest: largest shift in pixels, in any direction.
        blanked: share of images with pixels set to the channel mean.
        blanked_pixels: number of such pixels in an image that had none.
        altered: share of images whose pixels change in any other way.
        hides: whether those changes are of many kinds and strengths: some of them can't be seen,
            and others hide from the pixels how the image was shifted, mirrored and blanked.
    """

    shifted: float = 0.0
    farthest: int = 0
    mirrored: float = 0.0
    blanked: float = 0.0
    blanked_pixels: int = 0
    altered: float = 0.0
    hides: bool = False


class Transform(ABC):
    """A transform of training images. Its settings are its fields.

    Attributes:
        name: what the audit calls it.
        stream: its own random stream. So adding or removing a transform does not change the draws
            of the others.
        draws_on_host: whether `apply` gets its draws on the CPU, because it groups the images by
            them. Reading them back from a GPU would make the host wait.
    """

    name: ClassVar[str]
    stream: ClassVar[str]
    draws_on_host: ClassVar[bool] = False

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
        """What is done to each of `count` images: a tensor with `count` rows, on the CPU.

        Args:
            count: number of images in the global batch. A rank takes its rows.
            image_shape: height and width in pixels.
            generator: of the transform's stream, at the batch's step.
        """

    @abstractmethod
    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        """The transformed images: a whole batch at once, without calls per image.

        Args:
            images_BHWC: float32, normalised, so that 0 is the channel mean.
            drawn_B: rows from `draw`, on the images' device, or on the CPU if `draws_on_host`.
        """

    def check(self, height: int, width: int, channels: int | None = None) -> None:  # noqa: B027
        """Refuse images to which the transform can't be applied. Most take any.

        Args:
            height, width: in pixels.
            channels: 1 of grey images, 3 of others; None as long as it is not known.

        Raises:
            InputError: names the setting and the remedy.
        """


def pixels(setting: int | float) -> int:
    """A setting in whole pixels, once `sizes.resolve_shares` has replaced its share."""
    assert isinstance(setting, int), "a share, whose images' size is not known yet"
    return setting


def size(height: int, width: int) -> str:
    """An image's size in words."""
    return f"{height} pixels" if height == width else f"{height} x {width} pixels"
