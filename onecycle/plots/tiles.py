"""Tiles of images: in axes that cover the figure, in its pixels.

So every pixel of a small image becomes a square of the same size.
"""

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from onecycle.plots import style
from onecycle.plots.style import DPI

WIDEST = 8.6
"""Inches: largest width of a figure with rows of images."""
LARGEST = 150
"""Most pixels of an image's longer side, where a row has many images."""
GAP = 6
"""Pixels between neighbouring tiles."""


def canvas(width: float, height: float) -> Axes:
    """Axes that cover a new figure, in units of its pixels, y downwards."""
    figure = style.new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    across, up = figure.get_size_inches() * DPI
    axes.set(xlim=(0, across), ylim=(up, 0), autoscale_on=False)
    axes.set_axis_off()
    return axes


def tile(shape: tuple[int, ...], most: float) -> tuple[int, int]:
    """Height and width at which to show an image; a small one is enlarged by a whole factor."""
    longest = max(shape)
    factor = most // longest if most >= longest else most / longest
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def show(
    axes: Axes, image_HWC: np.ndarray, x: float, y: float, width: float, height: float
) -> None:
    """Draw an image in a tile with this upper left corner."""
    x, y = round(x), round(y)
    image_HWC = reduced(image_HWC, height, width)
    image_HW3 = np.broadcast_to(image_HWC, (*image_HWC.shape[:2], 3))
    axes.imshow(  # grey as three equal channels: matplotlib's grey colour map is off by one in 24
        image_HW3, aspect="auto", extent=(x, x + width, y + height, y), interpolation="nearest"
    )


def reduced(image_HWC: np.ndarray, height: float, width: float) -> np.ndarray:
    """A large image reduced to the size shown; each pixel is the mean of those it replaces."""
    if image_HWC.shape[0] <= height and image_HWC.shape[1] <= width:
        return image_HWC
    grey = image_HWC.shape[2] == 1
    image = Image.fromarray(image_HWC[..., 0] if grey else image_HWC)
    pixels = np.asarray(image.resize((round(width), round(height)), Image.Resampling.BOX))
    return pixels.reshape(*pixels.shape[:2], -1)
