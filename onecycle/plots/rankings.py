"""Confusion among many classes: those of lowest accuracy, and the most frequent confusions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onecycle.nouns import counted
from onecycle.plots import style
from onecycle.plots.style import BLUE, GRID, HEADING, MARGIN, ORANGE, QUIET, SMALL, TEXT, WIDTH

LISTED = 20
"""Classes, and confusions, that are shown."""
ROW, ABOVE = 0.23, 0.3
"""Inches of a row, and of the heading over a list."""
GAP = 0.35
"""Inches between the lists."""


@style.styled
def rankings(
    counts_K: np.ndarray, right_K: np.ndarray, confusions_P3: np.ndarray, classes: Sequence[str]
) -> Figure:
    """The classes of lowest accuracy beside the most frequent confusions, twenty of each.

    Args:
        counts_K: images of each actual class.
        right_K: how many of them are classified rightly.
        confusions_P3: actual class, predicted class and number of images, of every pair of classes
            that has any; those on the diagonal are passed over.
        classes: names of the K classes.
    """
    worst = lowest(counts_K, right_K)
    errors_P3 = confusions_P3[confusions_P3[:, 0] != confusions_P3[:, 1]]
    frequent = errors_P3[np.argsort(-errors_P3[:, 2], kind="stable")[:LISTED]].tolist()
    rows = max(len(worst), len(frequent), 1)
    figure = style.new_figure(WIDTH, HEADING + ABOVE + rows * ROW + MARGIN)
    total, wrong = int(counts_K.sum()), int(counts_K.sum() - right_K.sum())
    style.heading(
        figure,
        f"Confusion: {wrong:,} of {counted(total, 'image')} wrong",
        f"Of {len(classes):,} classes, those of lowest accuracy and the most frequent confusions",
    )
    width = (WIDTH - 2 * MARGIN - GAP) / 2
    axes = _list(figure, MARGIN, width, rows, "Lowest accuracy")
    for place, label in enumerate(worst):
        share = right_K[label] / counts_K[label]
        told = f"{style.percent_text(share)} of {counts_K[label]:,}"
        _row(axes, width, place, classes[label], told, share, BLUE)
    axes = _list(figure, MARGIN + width + GAP, width, rows, "Most frequent confusions")
    for place, (actual, predicted, count) in enumerate(frequent):
        share = count / max(frequent[0][2], 1)
        pair = f"{classes[actual]} → {classes[predicted]}"
        _row(axes, width, place, pair, f"{count:,}", share, ORANGE)
    return figure


def lowest(counts_K: np.ndarray, right_K: np.ndarray) -> list[int]:
    """The classes of lowest accuracy, of equal ones those with most images; none without images."""
    accuracy_K = right_K / np.maximum(counts_K, 1)
    order = np.lexsort((-counts_K, accuracy_K))
    return order[counts_K[order] > 0][:LISTED].tolist()


def _list(figure: Figure, left: float, width: float, rows: int, title: str) -> Axes:
    """Axes of a list, measured in inches from its upper left corner."""
    axes = style.place(figure, left, MARGIN, width, ABOVE + rows * ROW)
    axes.set(xlim=(0, width), ylim=(ABOVE + rows * ROW, 0))
    axes.set_axis_off()
    axes.text(0, 0.12, title, fontsize=TEXT, fontweight="bold", va="center")
    return axes


def _row(
    axes: Axes, width: float, place: int, name: str, told: str, share: float, colour: str
) -> None:
    """A name, its figure at the right, and a bar of its share below both."""
    top = ABOVE + place * ROW
    room = width - style.text_width(told, SMALL) - 0.1
    axes.text(0, top + 0.07, style.fit(name, SMALL, room), fontsize=SMALL, va="center")
    axes.text(width, top + 0.07, told, fontsize=SMALL, va="center", ha="right", color=QUIET)
    for length, ink in ((width, GRID), (share * width, colour)):
        axes.plot([0, length], [top + 0.17] * 2, color=ink, lw=1.6, solid_capstyle="butt")
