"""Confusion of many classes: those of lowest accuracy, and the most frequent confusions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from onecycle.plots import style
from onecycle.plots.style import BLUE, GRID, HEADING, MARGIN, ORANGE, QUIET, SMALL, TEXT, WIDTH
from onecycle.writing.numbers import counted

LISTED = 20
"""Number of classes and of confusions shown."""
ROW, ABOVE = 0.23, 0.3
"""Inches: heights of a row and of a list's heading."""
GAP = 0.35
"""Inches between the lists."""


@style.styled
def rankings(
    counts_K: np.ndarray, right_K: np.ndarray, confusions_P3: np.ndarray, classes: Sequence[str]
) -> Figure:
    """The classes of lowest accuracy next to the most frequent confusions, twenty of each.

    Args:
        counts_K: number of images of each actual class.
        right_K: number of them that are classified correctly.
        confusions_P3: actual class, predicted class and number of images, for every pair of
            classes that has images; the diagonal is skipped.
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
        text = f"{style.percent_text(share)} of {counts_K[label]:,}"
        _row(axes, width, place, classes[label], text, share, BLUE)
    axes = _list(figure, MARGIN + width + GAP, width, rows, "Most frequent confusions")
    for place, (actual, predicted, count) in enumerate(frequent):
        share = count / max(frequent[0][2], 1)
        pair = f"{classes[actual]} → {classes[predicted]}"
        _row(axes, width, place, pair, f"{count:,}", share, ORANGE)
    return figure


def lowest(counts_K: np.ndarray, right_K: np.ndarray) -> list[int]:
    """The classes of lowest accuracy, ties by most images; classes without images are left out."""
    accuracy_K = right_K / np.maximum(counts_K, 1)
    order = np.lexsort((-counts_K, accuracy_K))
    return order[counts_K[order] > 0][:LISTED].tolist()


def _list(figure: Figure, left: float, width: float, rows: int, title: str) -> Axes:
    """The axes of a list, in inches from its upper left corner."""
    axes = style.place(figure, left, MARGIN, width, ABOVE + rows * ROW)
    axes.set(xlim=(0, width), ylim=(ABOVE + rows * ROW, 0))
    axes.set_axis_off()
    axes.text(0, 0.12, title, fontsize=TEXT, fontweight="bold", va="center")
    return axes


def _row(
    axes: Axes, width: float, place: int, name: str, text: str, share: float, colour: str
) -> None:
    """A name, its figure to the right, and a bar for its share below both."""
    top = ABOVE + place * ROW
    room = width - style.text_width(text, SMALL) - 0.1
    axes.text(0, top + 0.07, style.fit(name, SMALL, room), fontsize=SMALL, va="center")
    axes.text(width, top + 0.07, text, fontsize=SMALL, va="center", ha="right", color=QUIET)
    for length, ink in ((width, GRID), (share * width, colour)):
        axes.plot([0, length], [top + 0.17] * 2, color=ink, lw=1.6, solid_capstyle="butt")
