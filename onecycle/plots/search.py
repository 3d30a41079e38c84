"""Figures of a search: its course, what mattered, and each setting's values."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from onecycle.plots import style
from onecycle.plots.style import BLUE, FAINT, INK, ORANGE

WIDTH, HEIGHT, ROW = 5.2, 3.0, 0.34
"""Inches: size of a figure, which fits on a phone, and height of a bar with its space."""
SLICE_WIDTH, SLICE_HEIGHT = 3.6, 2.5
LEFT, BELOW, RIGHT, ABOVE = 0.72, 0.55, 0.2, 0.12
"""Inches around the axes."""
LONGEST = 1.9
"""Inches of the longest name beside a bar."""
MOST_NAMED = 12
"""Values of a list that are written below the axis in full."""


class Point(NamedTuple):
    """A trial in a figure.

    Attributes:
        number: of the trial.
        accuracy: on the validation images, in [0, 1].
        complete: whether it was trained to its end.
        best: whether it is the best.
    """

    number: int
    accuracy: float
    complete: bool
    best: bool = False


@style.styled
def search_course(points: Sequence[Point], baseline: float | None) -> Figure:
    """Validation accuracy of each trial, the best so far, and the recipe's own.

    Args:
        points: the trials in their order.
        baseline: accuracy of the recipe, in [0, 1]; None if it isn't known.
    """
    if not points:
        return style.note("No trial has a validation accuracy.")
    figure = style.new_figure(WIDTH, HEIGHT)
    axes = style.place(figure, LEFT, BELOW, WIDTH - LEFT - RIGHT, HEIGHT - BELOW - ABOVE - 0.3)
    best, steps = -math.inf, []
    for point in points:
        best = max(best, point.accuracy if point.complete else -math.inf)
        steps.append(best if best > -math.inf else math.nan)
    numbers = [point.number for point in points]
    axes.step(numbers, steps, where="post", color=BLUE, lw=1.5, label="best so far", zorder=2)
    if baseline is not None:
        axes.axhline(baseline, color=INK, lw=1.2, ls=(0, (5, 3)), label="the recipe", zorder=1)
    _dots(axes, [(point.number, point) for point in points])
    axes.set(xlabel="trial", ylabel="validation accuracy")
    axes.margins(x=0.03, y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
    axes.yaxis.set_major_formatter(style.Ticks(percent=True))
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=5,
        borderpad=0.2,
        columnspacing=1.2,
        handlelength=1.5,
    )
    return figure


@style.styled
def search_importances(shares: Mapping[str, float]) -> Figure:
    """Bars for how much of the variance of the accuracies each setting explains.

    Args:
        shares: by setting, summing to 1; the largest comes first.
    """
    if not shares:
        return style.note("Too few complete trials to say.")
    height = ROW * len(shares)
    figure = style.new_figure(WIDTH, height + BELOW + ABOVE)
    names = [style.fit(name, style.TEXT, LONGEST) for name in shares]
    left = style.MARGIN + max(style.text_width(name, style.TEXT) for name in names) + 0.14
    axes = style.place(figure, left, BELOW, WIDTH - left - 0.45, height)
    axes.barh(range(len(names)), list(shares.values()), height=0.62, color=BLUE)
    for row, share in enumerate(shares.values()):
        axes.text(share, row, f" {100 * share:.0f} %", va="center", fontsize=style.TEXT)
    axes.set(xlabel="share of the variance explained", ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, fontsize=style.TEXT)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
    axes.xaxis.set_major_formatter(style.Ticks(percent=True))
    return figure


@style.styled
def search_slice(
    name: str,
    values: Sequence[float | str],
    points: Sequence[Point],
    *,
    log: bool = False,
    among: Sequence[str] = (),
) -> Figure:
    """Validation accuracy over the values of one setting.

    Args:
        name: of the setting.
        values: of each point.
        points: the trials in which the setting is in use.
        log: whether the axis is logarithmic.
        among: all texts that a value may be, in their order.
    """
    figure = style.new_figure(SLICE_WIDTH, SLICE_HEIGHT)
    width = SLICE_WIDTH - LEFT - RIGHT
    axes = style.place(figure, LEFT, BELOW, width, SLICE_HEIGHT - BELOW - ABOVE)
    if among:
        places: list[float] = [among.index(str(value)) for value in values]
        room = width / len(among) - 0.05
        shown = [style.fit(text, 8.5, room) for text in among]
        axes.set_xticks(range(len(among)), shown if len(among) <= MOST_NAMED else [""] * len(among))
        axes.set_xlim(-0.5, len(among) - 0.5)
        axes.grid(axis="x", visible=False)
    else:
        places = [float(value) for value in values]
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
        axes.margins(x=0.06)
    _dots(axes, list(zip(places, points, strict=True)), named=False)
    axes.set(xlabel=name, ylabel="validation accuracy")
    axes.margins(y=0.08)
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=3))
    axes.yaxis.set_major_formatter(style.Ticks(percent=True))
    return figure


def _dots(axes: Axes, points: Sequence[tuple[float, Point]], *, named: bool = True) -> None:
    """Full dots for complete trials, hollow ones for pruned trials, and a diamond for the best."""
    kinds = (
        ("complete", BLUE, "o", [each for each in points if each[1].complete and not each[1].best]),
        ("pruned", FAINT, "o", [each for each in points if not each[1].complete]),
        ("best", ORANGE, "D", [each for each in points if each[1].best]),
    )
    for label, colour, marker, some in kinds:
        if some:
            axes.plot(
                [place for place, _ in some],
                [point.accuracy for _, point in some],
                marker,
                color=colour,
                mfc="none" if label == "pruned" else colour,
                ms=6.5 if label == "best" else 5,
                mew=1.2 if label == "pruned" else 0,
                alpha=1 if label == "best" else 0.8,
                label=label if named else None,
                zorder=4 if label == "best" else 3,
            )
