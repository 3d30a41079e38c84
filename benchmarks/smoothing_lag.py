"""How far a smoothed range-test curve lags, on a curve whose steepest fall is known.

    python -m benchmarks.smoothing_lag docs/images/smoothing-lag.png

The curve: 100 steps over nine decades, a plateau, a fall, a floor and a blow-up, with noise.
Smoothed by an exponential average over the past with bias correction, as most finders do, and as
`onecycle.LRCurve` does. Printed: how far off the steepest fall of each is, over 200 draws of the
noise. The figure shows the first draw.
"""

import sys

import numpy as np
from matplotlib.ticker import FuncFormatter

from onecycle import plots
from onecycle.lr_finder import LRCurve
from onecycle.plots import style

STEPS, DECADES = 100, 9
LR = np.logspace(2 - DECADES, 2, STEPS)
STEEPEST = 1e-3
FLOOR_END = 0.1
NOISE = 0.01
DRAWS = 200
PAST = (0.95, 0.98)


def known() -> np.ndarray:
    """The loss without noise: it falls fastest at `STEEPEST` and blows up after `FLOOR_END`."""
    fall = 1 / (1 + np.exp(-4 * np.log10(LR / STEEPEST)))
    return 2.3 - 0.8 * fall + np.maximum(0, np.log10(LR / FLOOR_END)) ** 2


def past_average(losses: np.ndarray, weight: float) -> np.ndarray:
    """The usual running average over the past, divided by the weights so far."""
    total, averages = 0.0, []
    for index, loss in enumerate(losses):
        total = weight * total + (1 - weight) * loss
        averages.append(total / (1 - weight ** (index + 1)))
    return np.array(averages)


def smoothings(losses: np.ndarray) -> dict[str, np.ndarray]:
    """Every smoothing of the losses, by name."""
    usual = {f"past average, {weight:g}": past_average(losses, weight) for weight in PAST}
    return usual | {"onecycle": LRCurve(tuple(LR), tuple(losses)).smoothed}


def steepest(smoothed: np.ndarray) -> int:
    """Index of the fastest fall before the minimum."""
    return int(np.argmin(np.gradient(smoothed[: int(np.argmin(smoothed)) + 1])))


def main() -> None:
    draws = np.random.default_rng(0).normal(scale=NOISE, size=(DRAWS, STEPS))
    factors: dict[str, list[float]] = {}
    for noise in draws:
        for name, smoothed in smoothings(known() + noise).items():
            factors.setdefault(name, []).append(LR[steepest(smoothed)] / STEEPEST)
    for name, off in factors.items():
        low, middle, high = np.quantile(off, [0.05, 0.5, 0.95])
        print(f"{name:20s} steepest at {middle:.1f} times the true rate ({low:.1f} to {high:.1f})")
    plots.save(picture(known() + draws[0]), sys.argv[1])


@style.styled
def picture(losses: np.ndarray) -> plots.Figure:
    """The losses, each smoothing of them, and where each is lowest."""
    figure = style.new_figure(style.WIDTH, 4.6)
    style.heading(
        figure,
        "Smoothing with and without lag",
        f"Known curve, steepest at {STEEPEST:g} (dotted); a dot where each is steepest",
    )
    axes = style.place(figure, 0.78, 0.86, style.WIDTH - 1.08, 4.6 - style.HEADING - 0.98)
    axes.set_xscale("log")
    axes.plot(LR, losses, color=style.FAINT, lw=1, label="loss of each step")
    colours = (style.ORANGE, style.RED, style.BLUE)
    for (name, smoothed), colour in zip(smoothings(losses).items(), colours, strict=True):
        axes.plot(LR, smoothed, color=colour, lw=2, label=name)
        point = steepest(smoothed)
        axes.plot(LR[point], smoothed[point], "o", color=colour, ms=7, mec="white", zorder=5)
    axes.axvline(STEEPEST, color=style.QUIET, lw=1, ls=":")
    axes.set(ylim=(1.4, 2.7), xlabel="learning rate (log scale)", ylabel="loss")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: style.rate_text(rate)))
    figure.legend(
        handles=axes.get_legend_handles_labels()[0], loc="lower left", ncols=4,
        bbox_to_anchor=(0.78 / style.WIDTH, 0.03), borderaxespad=0, borderpad=0,
    )  # fmt: skip
    return figure


if __name__ == "__main__":
    main()
