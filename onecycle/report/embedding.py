"""Pictures in the form that a page embeds: the run's plots, and many small images on one sheet.

Shapes: T tiles, H height, W width, C channels.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from onecycle.errors import InputError
from onecycle.run_dir import RunDir

PLOTS = {
    "lr_range_test": (
        "Training loss over the learning rate in the range test, with the suggested rates",
        "The range test: the rate grows step by step and the loss is recorded. The band is the "
        "range of the cycle.",
    ),
    "one_cycle": (
        "Learning rate and momentum over the epochs of the cycle",
        "Learning rate and momentum at every step.",
    ),
    "curves": (
        "Loss and accuracy after each epoch, train against test",
        "Train figures are means over an epoch's augmented images while the network changes; test "
        "figures are measured at the end of the epoch on unchanged images.",
    ),
    "augmented_samples": (
        "Training images next to augmented versions of them",
        "Training images and augmented versions of them as the network saw them.",
    ),
    "misclassified": (
        "The misclassified test images with the largest loss, with predicted and actual class",
        "The misclassified test images with the largest loss: hard images and, sometimes, wrong "
        "labels.",
    ),
    "confusion": (
        "Confusion matrix of actual against predicted classes",
        "Rows are actual classes, columns predicted ones.",
    ),
}
"""The alternative text and the caption of each plot, by file name."""

COLUMNS = 40
"""Images in one row of a sheet."""

BLOCK = 8
"""JPEG compresses squares of this side separately, so tiles of whole squares don't bleed."""

SHEET_BYTES = 1_900_000
"""Largest size of a sheet, unless even the lowest quality exceeds it."""

PLOT_BYTES, PLOT_SIDE = 20_000_000, 20_000
"""Largest size of a plot's file in bytes, and of its sides in pixels."""

PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
"""The first bytes of every PNG; its width and height follow."""

QUALITIES = (90, 80, 68, 50)


@dataclass(frozen=True)
class Sheet:
    """Many images of one size in one JPEG.

    Attributes:
        data: base64.
        columns, rows: numbers of tiles.
        pixelated: whether the images are so small that their pixels should be drawn as squares.
    """

    data: str
    columns: int
    rows: int
    pixelated: bool


def sheet(images: Sequence[np.ndarray] | np.ndarray, columns: int = COLUMNS) -> Sheet | None:
    """Lay out the images row by row in the given order, in the best quality that is small enough.

    Args:
        images: T of uint8 H W C, all of one shape, 1 or 3 channels.
        columns: maximum number of images in a row.
    """
    if not len(images):
        return None
    height, width, _ = images[0].shape
    side = -(-max(height, width) // BLOCK) * BLOCK
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    canvas = np.full((rows * side, columns * side, 3), 128, np.uint8)
    down, right = (side - height) // 2, (side - width) // 2
    for place, image_HWC in enumerate(images):
        y, x = (index * side for index in divmod(place, columns))
        canvas[y + down : y + down + height, x + right : x + right + width] = image_HWC
    return Sheet(_jpeg(canvas), columns, rows, pixelated=side < 64)


def _jpeg(canvas: np.ndarray) -> str:
    content = b""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(canvas).save(buffer, "JPEG", quality=quality, subsampling=0)
        content = buffer.getvalue()
        if len(content) <= SHEET_BYTES:
            break
    return base64.b64encode(content).decode()


def png(pixels: np.ndarray) -> str:
    """uint8 H W C as a PNG in base64."""
    buffer = io.BytesIO()
    grey = pixels.shape[2] == 1
    Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


DESCRIBED = {name: {"alt": alt, "caption": caption} for name, (alt, caption) in PLOTS.items()}
"""The same texts, by kind."""


def embedded_plots(run: RunDir) -> dict[str, str]:
    """The existing plots, as PNGs in base64.

    Raises:
        InputError: a plot is a link, or is not a PNG of a plausible size.
    """
    found = {name: _plot(run, f"plots/{name}.png") for name in PLOTS}
    return {
        name: base64.b64encode(content).decode()
        for name, content in found.items()
        if content is not None
    }


def _plot(run: RunDir, name: str) -> bytes | None:
    """A plot's file, a PNG that a browser can show without much memory; None if it is missing."""
    content = run.read(name, PLOT_BYTES)
    if content is None:
        return None
    start, sides = content[:16], (content[16:20], content[20:24])
    fits = all(0 < int.from_bytes(side, "big") <= PLOT_SIDE for side in sides)
    if start != PNG_START or not fits:
        raise InputError(f"{run.path / name}: is damaged (not a plot in PNG); remove it")
    return content
