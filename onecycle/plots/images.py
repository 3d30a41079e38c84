"""Pictures of images: augmented samples, and misclassified ones.

All tiles lie in one axes that covers the figure and is measured in its pixels, so that every pixel
of a small image becomes a square of equally many pixels.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onecycle.plots import style
from onecycle.plots.style import DPI, FAINT, HEADING, INK, MARGIN, QUIET, SMALL, TEXT, WIDTH

WIDEST = 8.6
"""Inches of a figure of augmented samples."""
GAP = 6
"""Pixels between neighbouring tiles."""
MOST = 20
"""Misclassified images shown at the most, in rows of five."""


PAIR_SIZES = (9, 8.5, 8, 7.5)
"""Font sizes for `actual → predicted`; the largest at which all of a figure's fit."""
ARROW = " → "


@style.styled
def augmented_samples(
    originals_NHWC: np.ndarray, augmented_NRHWC: np.ndarray, names: Sequence[str]
) -> Figure:
    """Images beside augmented versions of themselves.

    Args:
        originals_NHWC: uint8, 1 or 3 channels.
        augmented_NRHWC: uint8, R versions of each of the N images.
        names: what to write beside each row.
    """
    rows, versions = augmented_NRHWC.shape[:2]
    labels = [style.fit(name, TEXT, 1.2) for name in names]
    left = MARGIN + max((style.text_width(label, TEXT) for label in labels), default=0) + 0.1
    room = (WIDEST - left - MARGIN) * DPI / (versions + 1)
    height, width = _tile(originals_NHWC.shape[1:3], min(room - GAP - 3, 150))
    first, second = left * DPI, left * DPI + width + 4 * GAP
    top = (HEADING + 0.28) * DPI
    right = second + versions * (width + GAP) - GAP
    axes = _canvas(max(right / DPI + MARGIN, 4.8), (top + rows * (height + GAP)) / DPI + 0.1)
    style.heading(
        axes.figure,  # pyright: ignore[reportArgumentType]
        "Augmented samples",
        "Training images as they are, and as the network sees them",
    )
    for row in range(rows):
        y = top + row * (height + GAP)
        axes.text(first - 12, y + height / 2, labels[row], ha="right", va="center_baseline")
        _show(axes, originals_NHWC[row], first, y, width, height)
        for version in range(versions):
            x = second + version * (width + GAP)
            _show(axes, augmented_NRHWC[row, version], x, y, width, height)
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
) -> Figure:
    """Up to twenty images that were classified wrongly, in the order given.

    Args:
        images_NHWC: uint8, 1 or 3 channels.
        actual, predicted: class names.
        confidence: probability of the predicted class, in [0, 1].
        names: file name or index of each image.
    """
    count = min(MOST, len(images_NHWC))
    if count == 0:
        return style.note("No test image was classified wrongly.")
    columns, rows = min(5, count), -(-count // 5)
    pitch = (WIDTH - 2 * MARGIN + 0.1) * DPI / 5
    space = (pitch - 14) / DPI
    height, width = _tile(images_NHWC.shape[1:3], pitch - 30)
    down = height + 0.8 * DPI
    axes = _canvas(
        max((columns * pitch) / DPI + 2 * MARGIN - 0.1, 5.2), HEADING + rows * down / DPI
    )
    pairs = list(zip(actual[:count], predicted[:count], strict=True))
    size = next((size for size in PAIR_SIZES if _all_fit(pairs, size, space)), PAIR_SIZES[-1])
    style.heading(
        axes.figure,  # pyright: ignore[reportArgumentType]
        "Most confidently wrong",
        "Actual → predicted class, confidence in the prediction, name of the image",
    )
    for index in range(count):
        x = MARGIN * DPI + index % 5 * pitch
        y = HEADING * DPI + index // 5 * down + 0.37 * DPI
        _show(axes, images_NHWC[index], x, y, width, height)
        pair = _pair(*pairs[index], size, space)
        sure = f"{style.percent_text(confidence[index])} confident"
        axes.text(x, y - 30, pair, va="baseline", fontsize=size, fontweight="bold")
        axes.text(x, y - 9, sure, va="baseline", fontsize=SMALL)
        name = style.fit(names[index], SMALL, space)
        axes.text(x, y + height + 22, name, va="baseline", fontsize=SMALL, color=QUIET)
    return axes.figure  # pyright: ignore[reportReturnType]


def _all_fit(pairs: Sequence[tuple[str, str]], size: float, space: float) -> bool:
    texts = [ARROW.join(map(style.one_line, pair)) for pair in pairs]
    return all(style.text_width(text, size, bold=True) <= space for text in texts)


def _pair(actual: str, predicted: str, size: float, space: float) -> str:
    """`actual → predicted` in bold within `space` inches; a short name leaves more to a long."""
    space -= style.text_width(ARROW, size, bold=True)
    names = (style.one_line(actual), style.one_line(predicted))
    shorter = min(style.text_width(name, size, bold=True) for name in names)
    width = max(space / 2, space - shorter)
    return ARROW.join(style.fit(name, size, width, bold=True) for name in names)


def _canvas(width: float, height: float) -> Axes:
    """An axes over a whole new figure, in its pixels, y downwards."""
    figure = style.new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    across, up = figure.get_size_inches() * DPI
    axes.set(xlim=(0, across), ylim=(up, 0), autoscale_on=False)
    axes.set_axis_off()
    return axes


def _tile(shape: tuple[int, ...], most: float) -> tuple[int, int]:
    """Height and width to show an image at, a whole multiple of its own where it is smaller."""
    longest = max(shape)
    factor = most // longest if most >= longest else most / longest
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _show(
    axes: Axes, image_HWC: np.ndarray, x: float, y: float, width: float, height: float
) -> None:
    x, y = round(x), round(y)
    grey = image_HWC.shape[2] == 1
    axes.imshow(
        image_HWC[..., 0] if grey else image_HWC,
        cmap="gray" if grey else None, vmin=0, vmax=255, aspect="auto",
        extent=(x, x + width, y + height, y),
        interpolation="nearest" if height >= image_HWC.shape[0] else "antialiased",
    )  # fmt: skip


def _head(axes: Axes, text: str, left: float, right: float, top: float) -> None:
    """A heading with a rule over the columns from `left` to `right`."""
    axes.plot([left, right], [top - 8, top - 8], color=FAINT, lw=0.8)
    axes.text(left, top - 16, text, fontsize=SMALL, color=INK, va="baseline")
