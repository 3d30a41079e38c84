"""Test accuracy and loss of several groups of runs, in the same axes."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from onecycle.plots import style
from onecycle.plots.style import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, WIDTH

COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
"""If there are more groups than colours, the next dash pattern distinguishes them."""
LEFT, PANEL, BELOW, ABOVE = 0.62, 2.6, 0.55, 0.3
"""Inches: left of each panel, its height, below it, and above it."""
LINE = 0.2
"""Inches: height of a line of the legend."""
LONGEST = 0.8
"""Inches of the figure's width that a name in the legend must leave free."""
ONE = 4.3
"""Inches: width of a figure with one panel, which fits on a phone."""
MEASURES = ("accuracy", "loss")

BAND = "Lines: means over seeds; bands: from the lowest to the highest. "

Epochs = Sequence[Mapping[str, float]]


@style.styled
def compared(groups: Mapping[str, Sequence[Epochs]], measures: Sequence[str] = MEASURES) -> Figure:
    """Test accuracy and test loss after each epoch: a line for each group, a band over its runs.

    Args:
        groups: maps each group's name to the rows of metrics.jsonl of its runs. The line is the
            mean of the runs; the band reaches from the lowest to the highest.
        measures: `accuracy`, `loss` or both side by side.
    """
    if not any(runs and any(runs) for runs in groups.values()):
        return style.note("No epoch has been finished.")
    below = BELOW + LINE * len(groups) + 0.12
    both = len(measures) > 1
    across = WIDTH if both else ONE
    figure = style.new_figure(across, (style.HEADING if both else 0.1) + ABOVE + PANEL + below)
    if both:
        several = any(len(runs) > 1 for runs in groups.values())
        style.heading(figure, "Test curves", f"{BAND if several else ''}Measured after each epoch.")
    width = (across - len(measures) * (LEFT + 0.21)) / len(measures)
    looks = [_look(index) for index in range(len(groups))]
    for place, what in enumerate(measures):
        axes = style.place(figure, LEFT + place * (LEFT + 0.12 + width), below, width, PANEL)
        for (colour, dashes), runs in zip(looks, groups.values(), strict=True):
            _draw_group(axes, runs, f"test_{what}", colour, dashes)
        _finish(axes, what)
    _draw_legend(figure, list(groups), looks)
    return figure


def _look(index: int) -> tuple[str, object]:
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def _draw_group(axes: Axes, runs: Sequence[Epochs], name: str, colour: str, dashes: object) -> None:
    """A group's mean and range over its runs, up to the last epoch that all runs have."""
    length = min((len(rows) for rows in runs), default=0)
    if not length:
        return
    values_RE = np.array([[row[name] for row in rows[:length]] for rows in runs])
    epochs = [row["epoch"] for row in runs[0][:length]]
    axes.plot(
        epochs, values_RE.mean(axis=0), color=colour, ls=dashes, zorder=3,
        marker="o", ms=4 if length < 30 else 0, mew=0, clip_on=False,
    )  # fmt: skip
    if len(runs) > 1:
        low, high = values_RE.min(axis=0), values_RE.max(axis=0)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.16, lw=0, zorder=2)


def _finish(axes: Axes, what: str) -> None:
    axes.set(xlabel="epoch")
    axes.set_title(f"Test {what}")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    low, high = axes.get_ylim()
    if what == "loss" and style.logarithmic_if_blown(axes):
        axes.set_title("Test loss (logarithmic)")
    elif what == "loss":
        axes.set_ylim(0, high)
        axes.yaxis.set_major_formatter(style.Ticks())
    else:
        axes.set_ylim(max(low, 0), min(high, 1))
        axes.yaxis.set_major_formatter(style.Ticks(percent=True))


def _draw_legend(figure: Figure, names: Sequence[str], looks: Sequence[tuple[str, object]]) -> None:
    """A line for each group below the panels, left-aligned."""
    across = figure.get_size_inches()[0]
    axes = style.place(figure, 0, 0, across, LINE * len(names) + 0.12)
    axes.set(xlim=(0, across), ylim=(LINE * len(names) + 0.12, 0))
    axes.axis("off")
    for index, (name, (colour, dashes)) in enumerate(zip(names, looks, strict=True)):
        height = (index + 0.5) * LINE
        axes.plot([LEFT - 0.4, LEFT - 0.05], [height] * 2, color=colour, ls=dashes)
        text = style.fit(name, style.TEXT, across - LONGEST)
        axes.text(LEFT + 0.05, height, text, fontsize=style.TEXT, va="center_baseline")
