"""Contact sheets: a row of images for each class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onecycle.plots import style, tiles
from onecycle.plots.style import DPI, HEADING, INK, MARGIN, QUIET, SMALL, TEXT
from onecycle.plots.tiles import GAP, LARGEST, WIDEST
from onecycle.writing.numbers import counted

ONE_COLUMN = 20
"""With more classes than these, a contact sheet has two columns."""
LABEL = {1: 1.4, 2: 1.15}
"""Inches: the longest line of a class's name, by the number of columns."""
BETWEEN = 36
"""Pixels between the columns of a contact sheet."""
LEADING = 19
"""Pixels from one line of a contact sheet's labels to the next."""
CAPTION = 27
"""Pixels below an image for its caption."""
NARROWEST = 48
"""Pixels from one image with a caption to the next, at least."""


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
    title = f"Contact sheet of {source}" if source else "Contact sheet"
    extent = _extent(images_NHWC.shape, len(chosen), len(classes))
    return _drawn(images_NHWC, chosen, _labels(classes, counts, len(chosen)), title, extent)


@style.styled
def predicted_sheet(
    images_NHWC: np.ndarray,
    chosen: Sequence[Sequence[int] | np.ndarray],
    confidence_N: Sequence[float] | np.ndarray,
    classes: Sequence[str],
    counts: Sequence[int] | np.ndarray,
) -> Figure:
    """A row of images for each predicted class, each with the confidence in the prediction.

    Args:
        images_NHWC: uint8, 1 or 3 channels, those to show.
        chosen: indices of the images of each row, the least confident first.
        confidence_N: probability of the predicted class, in [0, 1].
        classes: names of the predicted classes, the first of them in the order of the rows.
        counts: number of all images that were predicted as each class, shown or not.
    """
    if not any(map(len, chosen)):
        return style.note("No image could be read.")
    total = int(np.sum(counts))
    title = f"Predictions for {counted(total, 'image')}"
    captions = [style.percent_text(confidence, 0) for confidence in confidence_N]
    subtitle = _selection(chosen, len(classes), total)
    labels = _labels(classes, counts, len(chosen))
    return _drawn(images_NHWC, chosen, labels, title, subtitle, captions)


def _selection(chosen: Sequence[Sequence[int] | np.ndarray], classes: int, total: int) -> str:
    """Which images are shown, out of how many."""
    shown = sum(map(len, chosen))
    if shown == total:
        of_many = "By predicted class and confidence, the least confident first"
        return of_many if total > 1 else "The predicted class and the confidence in it"
    most = max(map(len, chosen))
    each = "class"
    if len(chosen) < classes:
        each = f"of the {len(chosen):,} most frequent of {classes:,} classes"
    return f"{shown:,} shown: the {most} least confident of each {each}"


def _labels(
    classes: Sequence[str], counts: Sequence[int] | np.ndarray, rows: int
) -> list[tuple[str, str]]:
    """Name and count of the class of each row."""
    sizes = [counted(int(count), "image") for count in counts]
    return list(zip(classes, sizes, strict=True))[:rows]


def _drawn(
    images_NHWC: np.ndarray,
    chosen: Sequence[Sequence[int] | np.ndarray],
    labels: Sequence[tuple[str, str]],
    title: str,
    subtitle: str,
    captions: Sequence[str] = (),
) -> Figure:
    """A sheet with a row of the chosen images next to each label. `captions`: of each image."""
    sheet = _sheet(images_NHWC.shape[1:3], chosen, labels, CAPTION if captions else 0)
    axes = tiles.canvas(sheet.width / DPI, sheet.height / DPI)
    room = sheet.width / DPI - 2 * MARGIN
    style.heading(
        axes.figure,  # pyright: ignore[reportArgumentType]
        style.fit(title, style.TITLE, room, bold=True),
        style.fit(subtitle, TEXT, room),
    )
    height, width = sheet.tile
    for row, lines in enumerate(sheet.labels):
        x, y = sheet.place(row)
        _label(axes, lines, x - 12, y + height / 2)
        for position, index in enumerate(chosen[row]):
            left = x + position * sheet.pitch
            tiles.show(axes, images_NHWC[index], left, y, width, height)
            if captions:
                axes.text(
                    left + width / 2, y + height + CAPTION - 9, captions[index], ha="center",
                    va="baseline", fontsize=SMALL,
                )  # fmt: skip
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
        pitch: distance from one image to the next.
        below: height of the captions.
        labels: the lines next to each row, of which the last is the count.
        label: width of the widest label.
        rows, columns: number of them.
        across, down: distance from one column to the next, and from one row to the next.
    """

    tile: tuple[int, int]
    pitch: float
    below: int
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
        free = self.down - self.tile[0] - self.below
        return x, HEADING * DPI + row * self.down + free / 2


def _sheet(
    shape: tuple[int, ...],
    chosen: Sequence[Sequence[int] | np.ndarray],
    labels: Sequence[tuple[str, str]],
    below: int,
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
    height, width = tiles.tile(shape, min((room + GAP) / most - GAP, LARGEST / columns))
    pitch = max(width, NARROWEST if below else 0) + GAP
    return _Sheet(
        tile=(height, width),
        pitch=pitch,
        below=below,
        labels=lines,
        label=label,
        rows=-(-len(chosen) // columns),
        columns=columns,
        across=label + 12 + most * pitch - GAP + BETWEEN,
        down=GAP + max(height + below, LEADING * max(map(len, lines)) + 3),
    )
