"""Pictures of images: contact sheets, augmented samples, and misclassified ones.

All tiles lie in one axes that covers the figure and has its pixels as units, so that every pixel
of a small image becomes a square of the same size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from onecycle.plots import heat, style
from onecycle.plots.style import DPI, FAINT, HEADING, INK, MARGIN, QUIET, SMALL, TEXT, WIDTH
from onecycle.writing.numbers import counted

WIDEST = 8.6
"""Inches: largest width of augmented samples and of a contact sheet."""
LARGEST = 150
"""Most pixels of an image's longer side, where a row has many images."""
GAP = 6
"""Pixels between neighbouring tiles."""
MOST = 20
"""Most misclassified images shown, in rows of five."""
PAIR_SIZES = (9, 8.5, 8, 7.5)
"""Font sizes for `actual → predicted`; the largest at which all pairs of a figure fit is used."""
ARROW = " → "

ONE_COLUMN = 20
"""With more classes than these, a contact sheet has two columns."""
LABEL = {1: 1.4, 2: 1.15}
"""Inches: the longest line of a class's name, by the number of columns."""
BETWEEN = 36
"""Pixels between the columns of a contact sheet."""
LEADING = 19
"""Pixels from one line of a contact sheet's labels to the next."""


@style.styled
def contact_sheet(
    images_NHWC: np.ndarray,
    chosen: Sequence[Sequence[int] | np.ndarray],
    classes: Sequence[str],
    counts: Sequence[int] | np.ndarray,
    source: str = "",
) -> Figure:
    """A row of example images for each class, next to its name and count.

    Args:
        images_NHWC: uint8, 1 or 3 channels; of a memory-mapped array only the chosen are read.
        chosen: indices of the images to show, a row for each of the first classes. If there are
            more `classes` than rows, the heading says so.
        classes: names of all classes.
        counts: number of images of each class.
        source: name of the image set, for the heading.
    """
    sizes = [counted(int(count), "image") for count in counts]
    labels = list(zip(classes, sizes, strict=True))[: len(chosen)]
    sheet = _sheet(images_NHWC.shape[1:3], chosen, labels)
    axes = _canvas(sheet.width / DPI, sheet.height / DPI)
    room = sheet.width / DPI - 2 * MARGIN
    title = f"Contact sheet of {source}" if source else "Contact sheet"
    style.heading(
        axes.figure,  # pyright: ignore[reportArgumentType]
        style.fit(title, style.TITLE, room, bold=True),
        style.fit(_extent(images_NHWC.shape, len(chosen), len(classes)), TEXT, room),
    )
    height, width = sheet.tile
    for row, lines in enumerate(sheet.labels):
        x, y = sheet.place(row)
        _label(axes, lines, x - 12, y + height / 2)
        for position, index in enumerate(chosen[row]):
            _show(axes, images_NHWC[index], x + position * (width + GAP), y, width, height)
    return axes.figure  # pyright: ignore[reportReturnType]


def _extent(shape: tuple[int, ...], shown: int, classes: int) -> str:
    """How many classes and images the sheet shows, out of how many."""
    count, height, width, _ = shape
    first = f"The first {shown:,} of " if shown < classes else ""
    which = f"{first}{counted(classes, 'class', 'classes')}"
    return f"{which}, {counted(count, 'image')} of {width} × {height} pixels"


def _label(axes: Axes, lines: Sequence[str], right: float, middle: float) -> None:
    """The name of a class on one or two lines, and its count below."""
    first = middle - LEADING * (len(lines) / 2 - 0.9)
    for place, line in enumerate(lines):
        count = place == len(lines) - 1
        axes.text(
            right, first + place * LEADING, line, ha="right", va="baseline",
            fontsize=SMALL if count else TEXT, color=QUIET if count else INK,
        )  # fmt: skip


@dataclass(frozen=True)
class _Sheet:
    """The layout of a contact sheet, in its pixels.

    Attributes:
        tile: height and width of an image.
        labels: the lines next to each row, of which the last is the count.
        label: width of the widest label.
        rows, columns: number of them.
        across, down: distance from one column to the next, and from one row to the next.
    """

    tile: tuple[int, int]
    labels: Sequence[Sequence[str]]
    label: float
    rows: int
    columns: int
    across: float
    down: float

    @property
    def width(self) -> float:
        return max(2 * MARGIN * DPI + self.columns * self.across - BETWEEN, 5.2 * DPI)

    @property
    def height(self) -> float:
        return (HEADING + MARGIN) * DPI + self.rows * self.down

    def place(self, row: int) -> tuple[float, float]:
        """Upper left corner of a row's first image; rows fill the first column, then the next."""
        column, row = divmod(row, self.rows)
        x = MARGIN * DPI + column * self.across + self.label + 12
        return x, HEADING * DPI + row * self.down + (self.down - self.tile[0]) / 2


def _sheet(
    shape: tuple[int, ...],
    chosen: Sequence[Sequence[int] | np.ndarray],
    labels: Sequence[tuple[str, str]],
) -> _Sheet:
    """The layout with the largest images that fit into the width."""
    columns = 1 if len(chosen) <= ONE_COLUMN else 2
    lines = [[*style.fit_in_two(name, TEXT, LABEL[columns]), count] for name, count in labels]
    label = DPI * max(
        max(*(style.text_width(line, TEXT) for line in names), style.text_width(count, SMALL))
        for *names, count in lines
    )
    most = max(1, *map(len, chosen))
    room = ((WIDEST - 2 * MARGIN) * DPI + BETWEEN) / columns - BETWEEN - label - 12
    height, width = _tile(shape, min((room + GAP) / most - GAP, LARGEST / columns))
    return _Sheet(
        tile=(height, width),
        labels=lines,
        label=label,
        rows=-(-len(chosen) // columns),
        columns=columns,
        across=label + 12 + most * (width + GAP) - GAP + BETWEEN,
        down=GAP + max(height, LEADING * max(map(len, lines)) + 3),
    )


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
    height, width = _tile(originals_NHWC.shape[1:3], min(room - GAP - 3, LARGEST))
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
    height, width = _tile(images_NHWC.shape[1:3], most)
    down = height + 0.8 * DPI
    axes = _canvas(
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
        _show(axes, images_NHWC[index], x, y, width, height)
        if maps_NHW is not None:
            image_HWC = _reduced(images_NHWC[index], height, width)
            heated_HWC = heat.overlay(image_HWC, maps_NHW[index])
            _show(axes, heated_HWC, x + width + GAP, y, width, height)
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
    return f"Misclassified images: the {MOST} of greatest loss"


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


def _canvas(width: float, height: float) -> Axes:
    """Axes that cover a new figure, in units of its pixels, y downwards."""
    figure = style.new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    across, up = figure.get_size_inches() * DPI
    axes.set(xlim=(0, across), ylim=(up, 0), autoscale_on=False)
    axes.set_axis_off()
    return axes


def _tile(shape: tuple[int, ...], most: float) -> tuple[int, int]:
    """Height and width at which to show an image; a small one is enlarged by a whole factor."""
    longest = max(shape)
    factor = most // longest if most >= longest else most / longest
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _show(
    axes: Axes, image_HWC: np.ndarray, x: float, y: float, width: float, height: float
) -> None:
    x, y = round(x), round(y)
    image_HWC = _reduced(image_HWC, height, width)
    image_HW3 = np.broadcast_to(image_HWC, (*image_HWC.shape[:2], 3))
    axes.imshow(  # grey as three equal channels: matplotlib's grey colour map is off by one in 24
        image_HW3, aspect="auto", extent=(x, x + width, y + height, y), interpolation="nearest"
    )


def _reduced(image_HWC: np.ndarray, height: float, width: float) -> np.ndarray:
    """A large image reduced to the size shown; each pixel is the mean of those it replaces."""
    if image_HWC.shape[0] <= height and image_HWC.shape[1] <= width:
        return image_HWC
    grey = image_HWC.shape[2] == 1
    image = Image.fromarray(image_HWC[..., 0] if grey else image_HWC)
    pixels = np.asarray(image.resize((round(width), round(height)), Image.Resampling.BOX))
    return pixels.reshape(*pixels.shape[:2], -1)


def _head(axes: Axes, text: str, left: float, right: float, top: float) -> None:
    """A heading over the columns from `left` to `right`, underlined."""
    axes.plot([left, right], [top - 8, top - 8], color=FAINT, lw=0.8)
    axes.text(left, top - 16, text, fontsize=SMALL, color=INK, va="baseline")
