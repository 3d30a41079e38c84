"""Pictures of images: augmented samples, and misclassified ones."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onecycle.plots import heat, style, tiles
from onecycle.plots.style import DPI, FAINT, HEADING, INK, MARGIN, QUIET, SMALL, TEXT, WIDTH
from onecycle.plots.tiles import GAP, LARGEST, WIDEST

MOST = 20
"""Most misclassified images shown, in rows of five."""
PAIR_SIZES = (9, 8.5, 8, 7.5)
"""Font sizes for `actual → predicted`; the largest at which all pairs of a figure fit is used."""
ARROW = " → "


@style.styled
def augmented_samples(
    originals_NHWC: np.ndarray, augmented_NRHWC: np.ndarray, names: Sequence[str]
) -> Figure:
    """Images next to augmented versions of them.

    Args:
        originals_NHWC: uint8, 1 or 3 channels.
        augmented_NRHWC: uint8, R versions of each of the N images.
        names: text to the left of each row.
    """
    rows, versions = augmented_NRHWC.shape[:2]
    labels = [style.fit(name, TEXT, 1.2) for name in names]
    left = MARGIN + max((style.text_width(label, TEXT) for label in labels), default=0) + 0.1
    room = (WIDEST - left - MARGIN) * DPI / (versions + 1)
    height, width = tiles.tile(originals_NHWC.shape[1:3], min(room - GAP - 3, LARGEST))
    first, second = left * DPI, left * DPI + width + 4 * GAP
    top = (HEADING + 0.28) * DPI
    right = second + versions * (width + GAP) - GAP
    axes = tiles.canvas(max(right / DPI + MARGIN, 4.8), (top + rows * (height + GAP)) / DPI + 0.1)
    style.heading(
        axes.figure,  # pyright: ignore[reportArgumentType]
        "Augmented samples",
        "Training images as they are, and as the network sees them",
    )
    for row in range(rows):
        y = top + row * (height + GAP)
        axes.text(first - 12, y + height / 2, labels[row], ha="right", va="center_baseline")
        tiles.show(axes, originals_NHWC[row], first, y, width, height)
        for version in range(versions):
            x = second + version * (width + GAP)
            tiles.show(axes, augmented_NRHWC[row, version], x, y, width, height)
    _head(axes, "original", first, first + width, top)
    _head(axes, "augmented", second, right, top)
    return axes.figure  # pyright: ignore[reportReturnType]


@style.styled
def misclassified(
    images_NHWC: np.ndarray,
    actual: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float],
    names: Sequence[str],
    maps_NHW: np.ndarray | None = None,
    losses: Sequence[float] | None = None,
) -> Figure:
    """The first twenty of these misclassified images, in their order.

    Args:
        images_NHWC: uint8, 1 or 3 channels.
        actual, predicted: class names.
        confidence: probability of the predicted class, in [0, 1].
        names: file name or index of each image.
        maps_NHW: in [0, 1], where each image speaks for the predicted class (Grad-CAM); each is
            shown over its image, next to it. None: the images alone.
        losses: cross-entropy of each image, in nats, shown after its confidence.
    """
    count = min(MOST, len(images_NHWC))
    if count == 0:
        return style.note("No test image was classified wrongly.")
    across = 5 if maps_NHW is None else 4
    columns, rows = min(across, count), -(-count // across)
    pitch = (WIDTH - 2 * MARGIN + 0.1) * DPI / across
    space = (pitch - 14) / DPI
    most = pitch - 30 if maps_NHW is None else (pitch - 14 - GAP) / 2
    height, width = tiles.tile(images_NHWC.shape[1:3], most)
    down = height + 0.8 * DPI
    axes = tiles.canvas(
        max((columns * pitch) / DPI + 2 * MARGIN - 0.1, 5.2), HEADING + rows * down / DPI
    )
    pairs = list(zip(actual[:count], predicted[:count], strict=True))
    size = next((size for size in PAIR_SIZES if _all_fit(pairs, size, space)), PAIR_SIZES[-1])
    style.heading(
        axes.figure,  # pyright: ignore[reportArgumentType]
        _mistakes_title(count),
        "Actual → predicted class, confidence in the prediction, name of the image"
        if maps_NHW is None
        else "Actual → predicted class; right: what speaks for the prediction (Grad-CAM)",
    )
    for index in range(count):
        x = MARGIN * DPI + index % across * pitch
        y = HEADING * DPI + index // across * down + 0.37 * DPI
        tiles.show(axes, images_NHWC[index], x, y, width, height)
        if maps_NHW is not None:
            image_HWC = tiles.reduced(images_NHWC[index], height, width)
            heated_HWC = heat.overlay(image_HWC, maps_NHW[index])
            tiles.show(axes, heated_HWC, x + width + GAP, y, width, height)
        pair = _pair(*pairs[index], size, space)
        sure = style.percent_text(confidence[index])
        sure += " confident" if losses is None else f", loss {losses[index]:.2f}"
        axes.text(x, y - 30, pair, va="baseline", fontsize=size, fontweight="bold")
        axes.text(x, y - 9, sure, va="baseline", fontsize=SMALL)
        name = style.fit(names[index], SMALL, space)
        axes.text(x, y + height + 22, name, va="baseline", fontsize=SMALL, color=QUIET)
    return axes.figure  # pyright: ignore[reportReturnType]


def _mistakes_title(count: int) -> str:
    if count < MOST:
        return "The only misclassified image" if count == 1 else f"All {count} misclassified images"
    return f"The {MOST} misclassified images with the largest loss"


def _all_fit(pairs: Sequence[tuple[str, str]], size: float, space: float) -> bool:
    texts = [ARROW.join(map(style.one_line, pair)) for pair in pairs]
    return all(style.text_width(text, size, bold=True) <= space for text in texts)


def _pair(actual: str, predicted: str, size: float, space: float) -> str:
    """`actual → predicted`, bold, within `space` inches; a short name makes room for a long one."""
    space -= style.text_width(ARROW, size, bold=True)
    names = (style.one_line(actual), style.one_line(predicted))
    shorter = min(style.text_width(name, size, bold=True) for name in names)
    width = max(space / 2, space - shorter)
    return ARROW.join(style.fit(name, size, width, bold=True) for name in names)


def _head(axes: Axes, text: str, left: float, right: float, top: float) -> None:
    """A heading over the columns from `left` to `right`, underlined."""
    axes.plot([left, right], [top - 8, top - 8], color=FAINT, lw=0.8)
    axes.text(left, top - 16, text, fontsize=SMALL, color=INK, va="baseline")
