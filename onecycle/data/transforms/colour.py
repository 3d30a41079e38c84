"""Operations on colours, for a whole batch, each image with its own strength.

Images are float32 B H W C in [0, 1], and so are the results. With factor 1 an operation changes
nothing. Brightness, contrast and saturation are those of Pillow's `ImageEnhance`, without its
rounding to 8 bits.

Shapes: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from onecycle.config import Recipe

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a pixel's luma (ITU-R BT.601), as in Pillow's mode L."""


@dataclass(frozen=True)
class Statistics:
    """Channel means and standard deviations with which images are normalised.

    Attributes:
        mean, std: of the channels; empty as long as a recipe leaves them to `auto`.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def of(cls, recipe: Recipe) -> "Statistics":
        """Those of the recipe."""
        mean, std = recipe.mean, recipe.std
        return cls() if isinstance(mean, str) or isinstance(std, str) else cls(mean, std)

    def shown(self, images_BHWC: Tensor) -> Tensor:
        """The normalised images in [0, 1]."""
        mean_C, std_C = self._tensors(images_BHWC)
        return (images_BHWC * std_C + mean_C).clamp_(0, 1)

    def normalised(self, images_BHWC: Tensor) -> Tensor:
        """The images in [0, 1] normalised."""
        mean_C, std_C = self._tensors(images_BHWC)
        return (images_BHWC - mean_C) / std_C

    def _tensors(self, images_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        assert len(self.mean) == len(self.std) > 0, "left to auto, and not measured yet"
        return images_BHWC.new_tensor(self.mean), images_BHWC.new_tensor(self.std)


def luma(images_BHWC: Tensor) -> Tensor:
    """How light each pixel is: B H W 1 in [0, 1]; of grey images the image itself."""
    if images_BHWC.shape[3] != len(LUMA):
        return images_BHWC.mean(3, keepdim=True)
    red, green, blue = (images_BHWC[..., channel : channel + 1] for channel in range(3))
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def blended(base_BHWC: Tensor | float, images_BHWC: Tensor, factor_B: Tensor) -> Tensor:
    """Base + factor · (image − base), within [0, 1]."""
    factor_B111 = factor_B[:, None, None, None]
    return (factor_B111 * images_BHWC + (1 - factor_B111) * base_BHWC).clamp_(0, 1)


def brightness(images_BHWC: Tensor, factor_B: Tensor) -> Tensor:
    """Blended with black: factor 0 is a black image."""
    return (images_BHWC * factor_B[:, None, None, None]).clamp_(0, 1)


def contrast(images_BHWC: Tensor, factor_B: Tensor) -> Tensor:
    """Blended with the image's mean luma: factor 0 is an image of one grey."""
    return blended(luma(images_BHWC).mean((1, 2), keepdim=True), images_BHWC, factor_B)


def saturation(images_BHWC: Tensor, factor_B: Tensor) -> Tensor:
    """Blended with each pixel's luma: factor 0 is a grey image."""
    return blended(luma(images_BHWC), images_BHWC, factor_B)


def hue(images_BHWC: Tensor, shift_B: Tensor) -> Tensor:
    """Hues turned by a share of the colour circle, with HSV's saturation and value kept.

    The formula is that of Smith (1978), "Color gamut transform pairs".

    Args:
        images_BHWC: of three channels: red, green, blue.
        shift_B: in [-0.5, 0.5].
    """
    red, green, blue = images_BHWC.permute(3, 0, 1, 2).contiguous()
    value_BHW = red.maximum(green).maximum(blue)
    chroma_BHW = value_BHW - red.minimum(green).minimum(blue)
    per_chroma_BHW = 1 / chroma_BHW.clamp(min=1e-12)
    sixths_BHW = torch.where(
        value_BHW == red,
        (green - blue) * per_chroma_BHW,
        torch.where(
            value_BHW == green,
            2 + (blue - red) * per_chroma_BHW,
            4 + (red - green) * per_chroma_BHW,
        ),
    )
    turned_BHW = sixths_BHW + 6 * shift_B[:, None, None]
    result_BHWC = torch.empty_like(images_BHWC)
    for channel, place in enumerate((5, 3, 1)):
        place_BHW = turned_BHW + place
        place_BHW = place_BHW - 6 * (place_BHW / 6).floor_()
        part_BHW = torch.minimum(place_BHW, 4 - place_BHW).clamp_(0, 1)
        result_BHWC[..., channel] = value_BHW - chroma_BHW * part_BHW
    return result_BHWC
