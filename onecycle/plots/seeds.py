"""Accuracies over seeds: a row for each group, and a dot for each of its runs."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from onecycle.plots import style
from onecycle.plots.style import BLUE, FAINT, INK

ROW, LINE = 0.34, 0.14
"""Inches: height of a group's row, and of its mean's mark above and below the middle."""
WIDTH, LONGEST = 5.2, 1.9
"""Inches: width of the figure, which fits on a phone, and of the longest name."""
BELOW = 0.55
"""Inches below the rows, for the axis."""

Bounds = tuple[float, float]


@style.styled
def seeds(groups: Mapping[str, Sequence[float]], intervals: Mapping[str, Bounds | None]) -> Figure:
    """Test accuracy of each run as a dot, with the mean of its group and the mean's interval.

    Args:
        groups: maps each group's name to the accuracies of its runs, in [0, 1].
        intervals: of the same groups, as (low, high); None if a group has none.
    """
    if not any(groups.values()):
        return style.note("No run has a test accuracy.")
    height = ROW * len(groups)
    figure = style.new_figure(WIDTH, style.HEADING + height + BELOW)
    style.heading(
        figure,
        "Test accuracy of each seed",
        "Dots: runs. Upright lines: means. Bars: 95 % intervals.",
    )
    names = [style.fit(name, style.TEXT, LONGEST) for name in groups]
    left = style.MARGIN + max(style.text_width(name, style.TEXT) for name in names) + 0.14
    axes = style.place(figure, left, BELOW, WIDTH - left - 0.3, height)
    for row, (name, values) in enumerate(groups.items()):
        if interval := intervals.get(name):
            axes.plot(interval, [row, row], color=FAINT, lw=3, alpha=0.5, solid_capstyle="butt")
        if len(values) > 1:
            mean = sum(values) / len(values)
            axes.plot([mean] * 2, [row - LINE / ROW, row + LINE / ROW], color=INK, lw=1.5)
        axes.plot(values, [row] * len(values), "o", color=BLUE, ms=6, mew=0, alpha=0.85, zorder=3)
    axes.set(xlabel="test accuracy", ylim=(len(groups) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names, fontsize=style.TEXT)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.04)
    axes.xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
    axes.xaxis.set_major_formatter(style.Ticks(percent=True))
    return figure
