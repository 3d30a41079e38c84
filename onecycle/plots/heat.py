"""A map over an image: where the map is high the image is coloured, elsewhere grey and darker."""

import numpy as np
from matplotlib import colormaps
from PIL import Image

STRENGTH = 0.62
"""Share of the colour where the map is highest."""

COLOURS = colormaps["inferno"](np.linspace(0.25, 1, 256))[:, :3]
"""Violet to red to pale yellow: lightness rises evenly, also for colour-blind readers."""


def overlay(image_HWC: np.ndarray, map_HW: np.ndarray) -> np.ndarray:
    """The image with the map over it, uint8 H W 3.

    Args:
        image_HWC: uint8, 1 or 3 channels.
        map_HW: in [0, 1], of any size; it is resized to the image.
    """
    height, width = image_HWC.shape[:2]
    if map_HW.shape != (height, width):
        picture = Image.fromarray(map_HW.astype(np.float32))
        map_HW = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    map_HW = np.clip(map_HW, 0, 1)
    grey_HW1 = image_HWC.mean(axis=2, keepdims=True) * 0.8
    colours_HW3 = 255 * COLOURS[np.rint(255 * map_HW).astype(int)]
    share_HW1 = STRENGTH * map_HW[..., None]
    blended_HW3 = (1 - share_HW1) * grey_HW1 + share_HW1 * colours_HW3
    return np.rint(blended_HW3).astype(np.uint8)
