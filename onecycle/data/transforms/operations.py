"""Pillow's operations on 8-bit images that TrivialAugment needs besides those of `colour`.

Images are float32 B H W C in [0, 1], and so are the results: a whole batch at once.

Shapes: B batch, C channels, H height, W width, V values of an 8-bit channel.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from onecycle.data.transforms.colour import blended

LEVELS = 256
ROUNDING = 0.01 / (LEVELS - 1)
"""A hundredth of a level: more than normalising and back can change a pixel."""

SMOOTH = ((1, 1, 1), (1, 5, 1), (1, 1, 1))
"""Weights of Pillow's `ImageFilter.SMOOTH`, of which the sum is 13."""


def sharpness(images_BHWC: Tensor, factor_B: Tensor) -> Tensor:
    """Blended with a smoothed image, as in Pillow's `ImageEnhance`. Its border isn't smoothed."""
    channels = images_BHWC.shape[3]
    kernel_33 = images_BHWC.new_tensor(SMOOTH) / 13
    kernel_C133 = kernel_33.expand(channels, 1, 3, 3)
    inner_BCHW = F.conv2d(images_BHWC.permute(0, 3, 1, 2), kernel_C133, groups=channels)
    smooth_BHWC = images_BHWC.clone()
    smooth_BHWC[:, 1:-1, 1:-1] = inner_BCHW.permute(0, 2, 3, 1)
    return blended(smooth_BHWC, images_BHWC, factor_B)


def posterize(images_BHWC: Tensor, bits_B: Tensor) -> Tensor:
    """Only the highest bits of each pixel, as in Pillow's `ImageOps.posterize`.

    Args:
        images_BHWC: as everywhere here.
        bits_B: int64, from 1 to 8.
    """
    dropped_B111 = (2 ** (8 - bits_B))[:, None, None, None]
    values_BHWC = _values(images_BHWC)
    return (values_BHWC - values_BHWC % dropped_B111) / (LEVELS - 1)


def solarize(images_BHWC: Tensor, threshold_B: Tensor) -> Tensor:
    """Pixels from a threshold on are inverted, as in Pillow's `ImageOps.solarize`."""
    above_BHWC = images_BHWC >= threshold_B[:, None, None, None] - ROUNDING
    return torch.where(above_BHWC, 1 - images_BHWC, images_BHWC)


def autocontrast(images_BHWC: Tensor) -> Tensor:
    """Each channel stretched to [0, 1], as in Pillow's `ImageOps.autocontrast`."""
    low, high = images_BHWC.amin((1, 2), keepdim=True), images_BHWC.amax((1, 2), keepdim=True)
    stretched_BHWC = (images_BHWC - low) / (high - low).clamp(min=1e-12)
    return torch.where(high > low, stretched_BHWC, images_BHWC)


def equalize(images_BHWC: Tensor) -> Tensor:
    """Each channel with an even histogram, as in Pillow's `ImageOps.equalize`."""
    batch, height, width, channels = images_BHWC.shape
    values_BCP = _values(images_BHWC).permute(0, 3, 1, 2).reshape(batch, channels, height * width)
    counts_BCV = values_BCP.new_zeros(batch, channels, LEVELS)
    counts_BCV.scatter_add_(2, values_BCP, torch.ones_like(values_BCP))
    last_BC1 = counts_BCV.gather(2, values_BCP.amax(2, keepdim=True))
    step_BC1 = (height * width - last_BC1) // (LEVELS - 1)
    before_BCV = counts_BCV.cumsum(2) - counts_BCV
    table_BCV = (step_BC1 // 2 + before_BCV) // step_BC1.clamp(min=1)
    mapped_BCP = table_BCV.clamp(max=LEVELS - 1).gather(2, values_BCP)
    mapped_BCP = torch.where(step_BC1 > 0, mapped_BCP, values_BCP)
    mapped_BHWC = mapped_BCP.reshape(batch, channels, height, width).permute(0, 2, 3, 1)
    return mapped_BHWC / (LEVELS - 1)


def _values(images_BHWC: Tensor) -> Tensor:
    """int64 in [0, 255]."""
    return (images_BHWC * (LEVELS - 1)).round().long()
