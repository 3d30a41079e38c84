"""The LR range test: loss over the learning rate, with a label for every suggestion."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from onecycle.plots import style
from onecycle.plots.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    RED,
    SKY,
    WIDTH,
    rate_text,
)

COLOURS = (QUIET, ORANGE, PURPLE, SKY, RED, INK)
"""Colours of the suggestions, in the order of their rates."""
LEFT, RIGHT = 0.78, 0.3
LEGEND = 0.2
"""Inches: height of the legend's second row in a narrow figure."""
PANEL, ROW, BELOW = 3.1, 0.2, 0.86
"""Inches: height of the axes, height of a label, and room below the axes."""


@style.styled
def lr_range_test(
    curve: Mapping[str, Sequence[float]],
    suggestions: Mapping[str, Mapping[str, float]],
    chosen: tuple[float, float] | None = None,
    page_width: float | None = None,
) -> Figure:
    """Loss over the learning rate, with every suggestion and the span of the cycle.

    Args:
        curve: `lr`, `loss` and `smoothed`, of equal length; losses may be non-finite. With repeats
            also `low` and `high`. Optional `searched`: the lowest and highest rate considered.
        suggestions: by method: `lr`, and over repeats `low` and `high`.
        chosen: the rates (lr_min, lr_max) between which the cycle runs.
        page_width: inches, for a chart in a page, without heading; narrow ones omit the ranges
            over seeds. None: a picture of its own.
    """
    rows, across = len(suggestions) + (chosen is not None), page_width or WIDTH
    narrow = across < WIDTH
    below = BELOW + LEGEND * 2 * narrow
    figure = style.new_figure(across, style.top(page_width) + ROW * rows + PANEL + below)
    if page_width is None:
        style.heading(
            figure,
            "Learning rate range test",
            "Training loss while the learning rate rises step by step",
        )
    width = across - LEFT - RIGHT
    axes = style.place(figure, LEFT, below, width, PANEL)
    _draw_losses(axes, curve)
    axes.set_xlim(*_rate_limits(curve, suggestions, chosen))
    axes.set_ylim(*_valley_limits(curve))
    _rate_axis(axes)
    axes.set(xlabel="learning rate (log scale)", ylabel="training loss")
    if rows:
        flags = style.place(figure, LEFT, below + PANEL, width, ROW * rows, sharex=axes)
        flags.set(ylim=(0, rows))
        flags.set_axis_off()
        _flag_suggestions(axes, flags, curve, suggestions)
        if chosen is not None:
            _flag_cycle(axes, flags, chosen)
    figure.legend(
        handles=axes.get_legend_handles_labels()[0],
        loc="lower left", ncols=2 if narrow else 5, handlelength=1.6, columnspacing=1.8,
        borderaxespad=0, borderpad=0,
        bbox_to_anchor=((0.2 if narrow else LEFT) / across, 0.14 / figure.get_figheight()),
    )  # fmt: skip
    return figure


def _draw_losses(axes: Axes, curve: Mapping[str, Sequence[float]]) -> None:
    axes.set_xscale("log")
    axes.plot(curve["lr"], curve["loss"], color=FAINT, lw=1, alpha=0.8, label="loss of each step")
    if "low" in curve:
        axes.fill_between(
            curve["lr"], curve["low"], curve["high"], color=BLUE, alpha=0.18, lw=0,
            label="range over seeds",
        )  # fmt: skip
    axes.plot(curve["lr"], curve["smoothed"], color=BLUE, lw=2.4, label="smoothed loss")
    if "searched" in curve:
        axes.plot(
            curve["searched"], (0.012, 0.012), transform=axes.get_xaxis_transform(),
            color=INK, lw=3, alpha=0.55, solid_capstyle="butt", label="rates considered",
        )  # fmt: skip


def _flag_suggestions(
    axes: Axes,
    flags: Axes,
    curve: Mapping[str, Sequence[float]],
    suggestions: Mapping[str, Mapping[str, float]],
) -> None:
    """A vertical line up to a label for each suggestion; labels are stepped to avoid the lines."""
    ordered = sorted(suggestions.items(), key=lambda item: item[1]["lr"])
    ranges = axes.get_figure().get_figwidth() >= WIDTH  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    labels = [
        f"{style.one_line(name)}  {_span(suggestion) if ranges else rate_text(suggestion['lr'])}"
        for name, suggestion in ordered
    ]
    rates = [suggestion["lr"] for _, suggestion in ordered]
    sides = _sides(axes, rates, labels)
    turned = sides.count("left")
    for index, (label, side) in enumerate(zip(labels, sides, strict=True)):
        colour, rate = COLOURS[index % len(COLOURS)], rates[index]
        # Labels left of their lines go above the lines of lower rates; right ones above higher.
        row = 0.5 + (index if side == "right" else turned - 1 - index)
        axes.axvline(rate, color=colour, lw=1.3)
        flags.plot([rate, rate], [0, row], color=colour, lw=1.3, solid_capstyle="butt")
        flags.plot(rate, row, "o", color=colour, ms=4.5, clip_on=False)
        _flag(flags, label, rate, row, side)
        _draw_on_curve(axes, curve, ordered[index][1], colour)


def _draw_on_curve(
    axes: Axes,
    curve: Mapping[str, Sequence[float]],
    suggestion: Mapping[str, float],
    colour: str,
) -> None:
    """A dot for the suggestion on the smoothed loss, with its range over repeats."""
    if not min(curve["lr"]) <= suggestion["lr"] <= max(curve["lr"]):
        return
    height = np.interp(np.log(suggestion["lr"]), np.log(curve["lr"]), curve["smoothed"])
    low, high = suggestion.get("low", suggestion["lr"]), suggestion.get("high", suggestion["lr"])
    if low < high:
        axes.plot([low, high], [height, height], "|-", color=colour, lw=1.4, ms=8, zorder=4)
    axes.plot(suggestion["lr"], height, "o", color=colour, ms=6.5, mec="white", mew=1.2, zorder=5)


def _flag_cycle(axes: Axes, flags: Axes, chosen: tuple[float, float]) -> None:
    """The shaded span of the cycle, with a bar and both rates in the top row."""
    row = flags.get_ylim()[1] - 0.5
    axes.axvspan(*chosen, color=GREEN, alpha=0.1, lw=0)
    flags.fill_betweenx([0, row], *chosen, color=GREEN, alpha=0.1, lw=0)
    flags.plot(chosen, [row, row], color=GREEN, lw=4, solid_capstyle="butt")
    label = f"one cycle from {rate_text(chosen[0])} to {rate_text(chosen[1])}"
    if _room(axes, chosen[0], label) > 0:
        _flag(flags, label, chosen[0], row, "right", bold=True)
    elif _room(axes, chosen[1], label, after=True) > 0:
        _flag(flags, label, chosen[1], row, "left", bold=True)
    else:
        middle = math.sqrt(chosen[0] * chosen[1])
        _flag(flags, label, middle, row, "center", bold=True).set_bbox(
            {"facecolor": "white", "edgecolor": "none", "pad": 3}
        )


def _flag(
    flags: Axes, label: str, rate: float, row: float, side: str, *, bold: bool = False
) -> Annotation:
    """A label whose `side` (left edge, right edge or centre) is at the rate."""
    return flags.annotate(
        label, (rate, row), xytext=({"right": -7, "left": 7}.get(side, 0), 0),
        textcoords="offset points", ha=side, va="center_baseline", fontsize=style.TEXT,
        fontweight="bold" if bold else "normal",
    )  # fmt: skip


def _sides(axes: Axes, rates: Sequence[float], labels: Sequence[str]) -> list[str]:
    """The edge of each label that is at its rate: all right, all left, or each as it fits."""
    pairs = list(zip(rates, labels, strict=True))
    right = [_room(axes, rate, label) > 0 for rate, label in pairs]
    if not all(right) and all(_room(axes, *pair, after=True) > 0 for pair in pairs):
        return ["left"] * len(pairs)
    return ["right" if fits else "left" for fits in right]


def _room(axes: Axes, rate: float, label: str, *, after: bool = False) -> float:
    """Inches left in the figure if the label is placed before the rate, or after it."""
    low, high = axes.get_xlim()
    across = axes.get_figure().get_figwidth()  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    place = LEFT + (across - LEFT - RIGHT) * math.log(rate / low) / math.log(high / low)
    needed = style.text_width(label, style.TEXT, bold=True) + 0.2
    return (across - place if after else place) - needed


def _rate_axis(axes: Axes) -> None:
    low, high = axes.get_xlim()
    subs = (1, 2, 5) if high / low < 100 else (1,)
    most = 14 if axes.get_figure().get_figwidth() >= WIDTH else 6  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=most))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: rate_text(rate)))


def _rate_limits(
    curve: Mapping[str, Sequence[float]],
    suggestions: Mapping[str, Mapping[str, float]],
    chosen: tuple[float, float] | None,
) -> tuple[float, float]:
    """Limits that include the rates of the curve, the suggestions and the cycle."""
    rates = [*curve["lr"], *(chosen or ())]
    rates += [rate for suggestion in suggestions.values() for rate in suggestion.values()]
    low, high = min(rates), max(rates)
    room = max((high / low) ** 0.015, 1.02)
    return low / room, high * room


def _valley_limits(curve: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Limits that show the curve down to its minimum, and a blow-up by half the valley's depth.

    A single reading, such as a broken network's, may lie below them.
    """
    smoothed, loss = (np.asarray(curve[key], dtype=float) for key in ("smoothed", "loss"))
    finite = np.isfinite(smoothed) & np.isfinite(loss)
    if not finite.any():
        return 0.0, 1.0
    smoothed, loss = smoothed[finite], loss[finite]
    floor = float(smoothed.min())
    start = max(float(np.median(loss[:3])), float(np.median(smoothed[: 1 + len(loss) // 10])))
    depth = max(start - floor, 0.05 * abs(start), 1e-6)
    low = max(min(floor, float(loss.min())), floor - depth)
    falling = loss[: int(np.argmin(smoothed)) + 1]
    top = min(max(float(falling.max()), start + 0.5 * depth), start + depth)
    return low - 0.08 * depth, top + 0.04 * depth


def _span(suggestion: Mapping[str, float]) -> str:
    """The rate, and its range over repeats."""
    rate = suggestion["lr"]
    low, high = suggestion.get("low", rate), suggestion.get("high", rate)
    text = rate_text(rate)
    return text if low == high else f"{text} ({rate_text(low)} to {rate_text(high)})"
