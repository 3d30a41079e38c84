"""The confusion matrix."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from onecycle.plots import style
from onecycle.plots.style import BLUE, INK, MARGIN, QUIET
from onecycle.writing.numbers import counted

MOST_NUMBERED = 30
"""With more classes than these, the cells have no numbers."""
EMPTY = "#f6f7f9"
NAME = 1.15
"""Inches: the longest class name."""


def _part_of(name: str, low: float, high: float) -> Colormap:
    """A part of one of matplotlib's colour maps; masked cells are drawn as empty."""
    colours = colormaps[name](np.linspace(low, high, 256))
    return ListedColormap(colours).with_extremes(bad=(0, 0, 0, 0))


ERRORS, RIGHT = _part_of("Oranges", 0.12, 0.95), _part_of("Blues", 0.1, 0.8)


@style.styled
def confusion(counts_KK: np.ndarray, classes: Sequence[str]) -> Figure:
    """Actual against predicted classes.

    An error's colour shows its share of the actual class, on a scale that ends at the largest
    error. The diagonal has its own colours, so that errors remain visible next to it.

    Args:
        counts_KK: rows are actual classes, columns predicted ones.
        classes: names of the K classes.
    """
    count = len(classes)
    cell = min(max(5.2 / count, 0.21 if count <= MOST_NUMBERED else 0), 0.9)
    side, size = cell * count, style.TEXT if count <= 12 else 7.5
    shown = range(0, count, math.ceil(count / (side / (1.7 * size / 72))))
    names = [style.fit(classes[index], size, NAME) for index in shown]
    widest = max(style.text_width(name, size) for name in names)
    slanted = widest > 0.9 * cell
    left = MARGIN + 0.3 + widest + 0.1
    below = MARGIN + 0.28 + (0.72 * widest if slanted else 0.05) + 0.1
    gap = 0.95 if count <= MOST_NUMBERED else 0.3  # for the column of recalls
    figure = style.new_figure(max(left + side + gap + 0.8, 5.6), style.HEADING + 0.2 + side + below)
    axes = style.place(figure, left, below, side, side)
    total, wrong = int(counts_KK.sum()), int(counts_KK.sum() - counts_KK.trace())
    style.heading(
        figure,
        f"Confusion matrix: {wrong:,} of {counted(total, 'image')} wrong",
        "Blue: correct. Orange: errors, as a share of their row's images.",
    )
    errors = _draw_cells(axes, counts_KK)
    _name_classes(axes, list(shown), names, size, slanted=slanted)
    if count <= MOST_NUMBERED:
        _write_counts(axes, counts_KK, cell, errors)
        _write_recalls(axes, counts_KK, size, 1 + 0.58 / side)
    _draw_scale(figure, errors, left + side + gap, below, min(side, 2.2))
    return figure


def shares(counts_KK: np.ndarray) -> np.ndarray:
    """Each row divided by its sum, in [0, 1]; zeros for a class without images."""
    return counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)


def _draw_cells(axes: Axes, counts_KK: np.ndarray) -> ScalarMappable:
    """Draw the diagonal and the errors as two images; return the errors, for their colour scale."""
    shares_KK, diagonal_KK = shares(counts_KK), np.eye(len(counts_KK), dtype=bool)
    errors_KK = np.ma.masked_array(shares_KK, mask=diagonal_KK | (counts_KK == 0))
    right_KK = np.ma.masked_array(shares_KK, mask=~diagonal_KK | (counts_KK == 0))
    largest = errors_KK.max() if errors_KK.count() else 1.0
    axes.set_facecolor(EMPTY)
    axes.imshow(right_KK, cmap=RIGHT, vmin=0, vmax=1, interpolation="nearest")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    if len(counts_KK) <= MOST_NUMBERED:
        edges, ends = np.arange(len(counts_KK) - 1) + 0.5, (-0.5, len(counts_KK) - 0.5)
        axes.hlines(edges, *ends, color="white", lw=1.5)
        axes.vlines(edges, *ends, color="white", lw=1.5)
    return axes.imshow(errors_KK, cmap=ERRORS, vmin=0, vmax=largest, interpolation="nearest")


def _name_classes(
    axes: Axes, ticks: list[int], names: list[str], size: float, *, slanted: bool
) -> None:
    slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(ticks, names, fontsize=size, **slant)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.tick_params(which="major", length=0 if len(ticks) == len(names) else 2, pad=3)
    axes.set_xlabel("predicted", fontweight="bold")
    axes.set_ylabel("actual", fontweight="bold")


def _write_counts(axes: Axes, counts_KK: np.ndarray, cell: float, errors: ScalarMappable) -> None:
    widest = style.text_width(str(int(counts_KK.max())), style.TEXT, bold=True)
    size = style.TEXT * min(1.0, 0.84 * cell / widest)
    shares_KK = shares(counts_KK)
    for row, column in np.argwhere(counts_KK > 0):
        share, right = shares_KK[row, column], row == column
        colour = RIGHT(share) if right else errors.to_rgba(share)
        axes.text(
            column, row, str(int(counts_KK[row, column])), ha="center", va="center_baseline",
            fontsize=size, fontweight="bold" if right else "normal", color=_readable_on(colour),
        )  # fmt: skip


def _readable_on(colour: Sequence[float] | np.ndarray) -> str:
    luminance = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]
    return "white" if luminance < 0.54 else INK


def _write_recalls(axes: Axes, counts_KK: np.ndarray, size: float, place: float) -> None:
    """The correct share of each row, in a column that ends at `place` (in widths of the matrix)."""
    count = len(counts_KK)
    right_K, total_K = counts_KK.diagonal(), counts_KK.sum(axis=1)
    transform = axes.get_yaxis_transform()
    for row in range(count):
        text = style.percent_text(right_K[row] / total_K[row]) if total_K[row] else "none"
        axes.text(
            place, row, text, transform=transform, ha="right", va="center_baseline",
            fontsize=size, color=BLUE,
        )  # fmt: skip
    axes.annotate(
        "correct", (place, -0.5), xycoords=transform, xytext=(0, 4), textcoords="offset points",
        ha="right", va="bottom", fontsize=style.SMALL, color=QUIET,
    )  # fmt: skip


def _draw_scale(
    figure: Figure, errors: ScalarMappable, left: float, bottom: float, height: float
) -> None:
    axes = style.place(figure, left, bottom, 0.14, height)
    bar = figure.colorbar(errors, cax=axes)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.locator = MaxNLocator(5)
    bar.formatter = style.Ticks(percent=True)
    bar.update_ticks()
    axes.set_title("errors", fontsize=style.SMALL, fontweight="normal", color=QUIET, pad=5)
    axes.tick_params(length=2, labelsize=style.SMALL)
