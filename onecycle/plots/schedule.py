"""The one-cycle policy: learning rate and momentum of every step."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from onecycle.plots import style
from onecycle.plots.style import BLUE, FAINT, INK, RED, WIDTH, rate_text
from onecycle.writing.numbers import counted

LEFT, RIGHT = 0.78, 1.0
UPPER, LOWER, GAP, BELOW = 2.5, 0.8, 0.22, 0.55
"""Inches: heights of the two axes, the gap between them, and the room below."""


@style.styled
def one_cycle(
    lr: Sequence[float],
    momentum: Sequence[float],
    *,
    steps_per_epoch: int,
    peak_step: int,
    page_width: float | None = None,
) -> Figure:
    """Learning rate and momentum of every step of the cycle.

    Args:
        lr, momentum: one value per step, from step 0.
        steps_per_epoch: converts steps to epochs; step s ends at epoch (s + 1) / steps_per_epoch.
        peak_step: the step of the highest rate.
        page_width: inches, for a chart in a page, without heading. None: a picture of its own.
    """
    across = page_width or WIDTH
    figure = style.new_figure(across, style.top(page_width) + UPPER + GAP + LOWER + BELOW)
    epochs = (np.arange(len(lr)) + 1) / steps_per_epoch
    if page_width is None:
        style.heading(
            figure,
            "One-cycle policy",
            f"Learning rate and momentum of each of the {counted(len(lr), 'step')}",
        )
    width = across - LEFT - RIGHT
    above = style.place(figure, LEFT, BELOW + LOWER + GAP, width, UPPER)
    below = style.place(figure, LEFT, BELOW, width, LOWER, sharex=above)
    for axes in (above, below):
        axes.yaxis.set_label_coords(-0.55 / width, 0.5)
        axes.axvline(epochs[peak_step], color=FAINT, lw=1, ls=(0, (3, 3)), zorder=1)
    _draw_rate(above, epochs, lr, peak_step, width)
    _draw_momentum(below, epochs, momentum)
    below.set(xlabel="epoch", xlim=(0, epochs[-1]))
    below.xaxis.set_major_locator(
        MaxNLocator(
            9 if across == WIDTH else 5, steps=[1, 2, 3, 4, 5, 6, 10], integer=epochs[-1] >= 4
        )
    )
    above.tick_params(axis="x", labelbottom=False)
    return figure


def _draw_rate(
    axes: Axes, epochs: np.ndarray, lr: Sequence[float], peak_step: int, width: float
) -> None:
    axes.plot(epochs, lr, color=BLUE, clip_on=False)
    axes.set(ylabel="learning rate", ylim=(0, max(lr) * 1.14))
    axes.yaxis.set_major_formatter(style.Ticks())
    peak = (float(epochs[peak_step]), lr[peak_step])
    ends = (float(epochs[0]), lr[0]), (float(epochs[-1]), lr[-1])
    for point in (peak, *ends):
        axes.plot(*point, "o", color=BLUE, ms=6, mec="white", mew=1.2, zorder=4, clip_on=False)
    text = f"peak {rate_text(peak[1])} at epoch {peak[0]:.3g}"
    text += f" (step {peak_step})" if width > WIDTH / 2 else ""
    on_left = peak[0] > 0.55 * epochs[-1]
    _label(axes, text, peak, (-9 if on_left else 9, 8), "right" if on_left else "left")
    if peak_step > 0:
        _label_start(axes, epochs, lr, width)
    _label(axes, f"end {rate_text(lr[-1])}", ends[1], (8, 0))


def _label_start(axes: Axes, epochs: np.ndarray, lr: Sequence[float], width: float) -> None:
    """The first rate, to the right of its point, where the curve lies above the text."""
    text, start = f"start {rate_text(lr[0])}", float(epochs[0])
    line = 1.6 * style.TEXT / 72 / UPPER * axes.get_ylim()[1]
    inch = float(epochs[-1]) / width
    below = np.flatnonzero(np.asarray(lr) > max(lr[0], line / 2) + line)
    if not len(below) or epochs[below[0]] > start + 2.5 * inch:
        _label(axes, text, (start, lr[0]), (4, 12))
        return
    place = max(float(epochs[below[0]]), start + 0.14 * inch)
    axes.annotate(
        text, (start, lr[0]), xytext=(place, max(lr[0], line / 2)), va="center",
        fontsize=style.TEXT, fontweight="bold",
        arrowprops={"arrowstyle": "-", "color": FAINT, "lw": 0.8, "shrinkA": 1, "shrinkB": 4},
    )  # fmt: skip


def _draw_momentum(axes: Axes, epochs: np.ndarray, momentum: Sequence[float]) -> None:
    axes.plot(epochs, momentum, color=RED, clip_on=False)
    low, high = min(momentum), max(momentum)
    room = max(high - low, 0.04)
    middle = (low + high) / 2
    axes.set(ylabel="momentum", ylim=(middle - 0.65 * room, middle + 0.65 * room))
    axes.set_yticks([low, high] if high - low > 1e-3 else [middle])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axes.plot(
        epochs[-1], momentum[-1], "o", color=RED, ms=6, mec="white", mew=1.2, zorder=4,
        clip_on=False,
    )  # fmt: skip
    _label(axes, f"end {momentum[-1]:.3g}", (float(epochs[-1]), momentum[-1]), (8, 0))


def _label(
    axes: Axes,
    text: str,
    point: tuple[float, float],
    offset: tuple[float, float],
    align: str = "left",
) -> None:
    axes.annotate(
        text, point, xytext=offset, textcoords="offset points", ha=align, va="center",
        fontsize=style.TEXT, fontweight="bold", color=INK, annotation_clip=False,
    )  # fmt: skip
