"""An image next to what in it speaks for a class, with a caption, as pixels."""

from functools import cache

import numpy as np
from matplotlib.font_manager import findfont
from PIL import Image, ImageColor, ImageDraw, ImageFont

from onecycle.plots import heat, style

LARGE = 256
"""Pixels: up to this length of its longer side, an image is enlarged by a whole factor."""

GAP = 6
"""Pixels between the image and the one with the map."""

CAPTION = 28
"""Pixels at the top for the caption."""


def explained(image_HWC: np.ndarray, map_HW: np.ndarray, caption: str) -> np.ndarray:
    """An image, next to it the map over the image, and a line above, uint8 H W 3.

    Args:
        image_HWC: uint8, 1 or 3 channels.
        map_HW: in [0, 1], as `onecycle.grad_cam` gives it.
        caption: its middle is left out if it is too long.
    """
    factor = max(1, LARGE // max(image_HWC.shape[:2]))
    large_HWC = image_HWC.repeat(factor, axis=0).repeat(factor, axis=1)
    height, width, _ = large_HWC.shape
    picture_HW3 = np.full((CAPTION + height, 2 * width + GAP, 3), 255, np.uint8)
    picture_HW3[CAPTION:, :width] = large_HWC
    picture_HW3[CAPTION:, width + GAP :] = heat.overlay(large_HWC, map_HW)
    picture = Image.fromarray(picture_HW3)
    text = style.fit(caption, style.TEXT, (picture.width - GAP) / style.DPI)
    ImageDraw.Draw(picture).text(
        (0, CAPTION - 8), text, ImageColor.getrgb(style.INK), _font(), anchor="ls"
    )
    return np.asarray(picture)


@cache
def _font() -> ImageFont.FreeTypeFont:
    """That of the figures, at their size."""
    return ImageFont.truetype(findfont("DejaVu Sans"), round(style.TEXT * style.DPI / 72))
