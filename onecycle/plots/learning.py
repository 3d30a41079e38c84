"""Learning curves: loss and accuracy after each epoch."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from onecycle.plots import style
from onecycle.plots.style import BLUE, FAINT, GREEN, QUIET, RED, WIDTH

SPLITS = {"train": (BLUE, "-"), "test": (RED, "-"), "val": (GREEN, (0, (4, 1.5)))}
STACKED = 6.0
"""Inches: narrower figures have their panels on top of each other."""
END_TEXTS = {"loss": ("train 0.888", "test 8.88e-8"), "accuracy": ("train 100.00 %",)}
"""The longest labels at the ends of lines."""
LEFT, PANEL, BELOW, ABOVE = 0.66, 2.5, 0.55, 0.42
"""Inches: left of each panel, its height, below it, and above it."""


@style.styled
def curves(metrics: Sequence[Mapping[str, float]], page_width: float | None = None) -> Figure:
    """Loss and accuracy after each epoch: train against test, and validation if there is one.

    Args:
        metrics: the rows of metrics.jsonl; accuracies in [0, 1].
        page_width: inches, for a chart in a page, without heading; narrow ones have their panels
            on top of each other. None: a picture of its own.
    """
    if not metrics:
        return style.note("No epoch has been finished.")
    across = page_width or WIDTH
    stacked, row = across < STACKED, ABOVE + PANEL + BELOW
    figure = style.new_figure(across, style.top(page_width) + (1 + stacked) * row)
    if page_width is None:
        style.heading(
            figure,
            "Learning curves",
            "Train: mean over each epoch's batches while training. Test: after each epoch.",
        )
    rooms = [
        0.22 + max(style.text_width(text, style.TEXT, bold=True) for text in END_TEXTS[what])
        for what in ("loss", "accuracy")
    ]
    if stacked:
        width = across - LEFT - max(rooms)
        places = (LEFT, BELOW + row), (LEFT, BELOW)
    else:
        width = (across - 2 * LEFT - sum(rooms)) / 2
        places = (LEFT, BELOW), (across - rooms[1] - width, BELOW)
    loss, accuracy = (style.place(figure, *place, width, PANEL) for place in places)
    _draw_panel(loss, metrics, "loss")
    _draw_panel(accuracy, metrics, "accuracy")
    _name_gap(accuracy, metrics)
    return figure


def _draw_panel(axes: Axes, metrics: Sequence[Mapping[str, float]], what: str) -> None:
    epochs = [row["epoch"] for row in metrics]
    for split, (colour, dashes) in SPLITS.items():
        if any(f"{split}_{what}" in row for row in metrics):
            values = [row.get(f"{split}_{what}", math.nan) for row in metrics]
            axes.plot(
                epochs, values, color=colour, ls=dashes, label=split, clip_on=False, zorder=3,
                marker="o", ms=_marker_size(len(epochs)), mew=0,
            )  # fmt: skip
    axes.set(xlabel="epoch")
    axes.set_title(what.capitalize(), pad=22)
    aside = 0.5 if len(epochs) == 1 else 0
    axes.set_xlim(epochs[0] - aside, epochs[-1] + aside)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    low, high = axes.get_ylim()
    if what == "loss" and style.logarithmic_if_blown(axes):
        _say(axes, "mean per image, logarithmic")
    elif what == "loss":
        axes.set_ylim(0, high)
        axes.yaxis.set_major_formatter(style.Ticks())
        _say(axes, "mean per image")
    else:
        axes.set_ylim(max(low, 0), min(high, 1))
        axes.yaxis.set_major_formatter(style.Ticks(percent=True))
    _label_ends(axes, what)


def _marker_size(epochs: int) -> float:
    return 6 if epochs == 1 else 4 if epochs < 30 else 0


def _label_ends(axes: Axes, what: str) -> None:
    """The last value of each line, in its colour, at its end; labels don't overlap."""
    lines = [line for line in axes.get_lines() if math.isfinite(_last(line)[1])]
    lines.sort(key=lambda line: _last(line)[1])
    scale = axes.yaxis.get_transform()  # even steps on paper, also on a logarithmic axis
    low, high = scale.transform(np.array(axes.get_ylim())).tolist()
    distance = 1.45 * style.TEXT / 72 / PANEL * (high - low)
    ends = scale.transform(np.array([_last(line)[1] for line in lines])).tolist()
    heights = scale.inverted().transform(np.array(style.spread(ends, distance, low, high)))
    for line, height in zip(lines, heights.tolist(), strict=True):
        epoch, value = _last(line)
        number = f"{100 * value:.2f} %" if what == "accuracy" else _loss_text(value)
        axes.annotate(
            f"{line.get_label()} {number}", (epoch, height), xytext=(8, 0),
            textcoords="offset points", va="center_baseline", color=line.get_color(),
            fontsize=style.TEXT, fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def _loss_text(loss: float) -> str:
    return f"{loss:.3f}" if loss >= 0.0995 or loss == 0 else style.rate_text(loss)


def _last(line: Line2D) -> tuple[float, float]:
    epoch, value = np.asarray(line.get_xydata())[-1].tolist()
    return epoch, value


def _name_gap(axes: Axes, metrics: Sequence[Mapping[str, float]]) -> None:
    """How far train lies above or below test in the last epoch: a line, and a text."""
    last = metrics[-1]
    gap = 100 * (last["train_accuracy"] - last["test_accuracy"])
    axes.plot(
        [last["epoch"]] * 2, [last["train_accuracy"], last["test_accuracy"]],
        color=FAINT, lw=1.2, zorder=2, clip_on=False,
    )  # fmt: skip
    side = "above" if gap >= 0 else "below"
    _say(axes, f"train {abs(gap):.2f} points {side} test in the last epoch")


def _say(axes: Axes, text: str) -> None:
    """A grey line of text between a panel and its title."""
    axes.annotate(
        text, (0, 1), xycoords="axes fraction", xytext=(0, 8), textcoords="offset points",
        fontsize=style.SMALL, color=QUIET,
    )  # fmt: skip
