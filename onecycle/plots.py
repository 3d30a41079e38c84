"""The figures of a run: arrays in, matplotlib figures out. Nothing here decides, and no torch.

Figures are made without pyplot, so there is no global state to leak; in a notebook a figure shows
itself as the last expression of a cell. Colours are those of Okabe and Ito (2008), which
colour-blind readers can tell apart.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

INK, FAINT, GRID = "#22262b", "#9aa3ad", "#e6e9ed"
BLUE, ORANGE, GREEN, PURPLE, SKY, RED = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00",
)  # fmt: skip
TRAIN, TEST, VAL = BLUE, RED, GREEN

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.dpi": 110,
    "savefig.dpi": 150,
}

METHOD_COLOURS = (ORANGE, GREEN, PURPLE, SKY, RED, INK)


def save(figure: Figure, path: str | Path) -> None:
    """Write `figure` as PNG, beside its place and then renamed; equal figures give equal bytes."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with rc_context(STYLE):
            figure.savefig(temporary, format="png", metadata={"Software": None})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def lr_range_test(
    curve: Mapping[str, Sequence[float]],
    suggestions: Mapping[str, Mapping[str, float]],
    chosen: tuple[float, float] | None = None,
) -> Figure:
    """Loss over the learning rate, with every suggestion and the span of the cycle.

    Args:
        curve: `lr`, `loss` and `smoothed`, equally long; with repeats also `low` and `high`.
        suggestions: by method: `lr`, and over repeats `low` and `high`.
        chosen: the rates (lr_min, lr_max) between which the cycle runs.
    """
    with rc_context(STYLE):
        figure = _figure(9, 5)
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.plot(curve["lr"], curve["loss"], color=FAINT, lw=1, alpha=0.7, label="loss per batch")
        if "low" in curve:
            axes.fill_between(
                curve["lr"], curve["low"], curve["high"], color=BLUE, alpha=0.18, lw=0,
                label="range over seeds",
            )  # fmt: skip
        axes.plot(curve["lr"], curve["smoothed"], color=BLUE, lw=2.4, label="smoothed loss")
        axes.set_ylim(*_valley_limits(curve))
        if chosen is not None:
            axes.axvspan(*chosen, color=GREEN, alpha=0.09, lw=0)
        for (name, suggestion), colour in zip(
            suggestions.items(), METHOD_COLOURS * len(suggestions), strict=False
        ):
            axes.axvline(
                suggestion["lr"], color=colour, lw=1.5, ls=(0, (4, 2)),
                label=f"{name}: {_span(suggestion)}",
            )  # fmt: skip
        if chosen is not None:
            axes.plot([], [], color=GREEN, alpha=0.25, lw=8, label=f"cycle: {_pair(chosen)}")
        axes.set(xlabel="learning rate (log scale)", ylabel="training loss")
        axes.set_title("Learning rate range test")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
        return figure


def one_cycle(
    lr: Sequence[float], momentum: Sequence[float], *, steps_per_epoch: int, peak_step: int
) -> Figure:
    """Learning rate and momentum of every step of the cycle.

    Args:
        lr, momentum: one value per step, from step 0.
        steps_per_epoch: to show the steps as epochs.
        peak_step: the step of the highest rate.
    """
    with rc_context(STYLE):
        figure = _figure(9, 5)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        epochs = (np.arange(len(lr)) + 1) / steps_per_epoch
        above.plot(epochs, lr, color=BLUE)
        above.set_title("One-cycle policy")
        above.set_ylabel("learning rate")
        above.set_ylim(0, max(lr) * 1.16)
        peak = (epochs[peak_step], lr[peak_step])
        above.plot(*peak, "o", color=BLUE)
        _label(above, f"peak {lr[peak_step]:.3g} at step {peak_step}\n(epoch {peak[0]:.3g})", peak)
        _label(above, f"start {lr[0]:.3g}", (epochs[0], lr[0]), offset=(10, 8))
        _label(above, f"end {lr[-1]:.3g}", (epochs[-1], lr[-1]), offset=(0, 34), align="right")
        below.plot(epochs, momentum, color=RED)
        below.set(xlabel="epoch", ylabel="momentum", xlim=(0, epochs[-1] * 1.01))
        middle = (max(momentum) + min(momentum)) / 2
        room = max(max(momentum) - min(momentum), 0.04)
        below.set_ylim(middle - 0.75 * room, middle + 0.75 * room)
        below.yaxis.set_major_locator(MaxNLocator(3))
        return figure


def augmented_samples(
    originals_NHWC: np.ndarray, augmented_NRHWC: np.ndarray, names: Sequence[str]
) -> Figure:
    """Images beside augmented versions of themselves.

    Args:
        originals_NHWC: uint8.
        augmented_NRHWC: uint8, R versions of each of the N images.
        names: what to write beside each row.
    """
    with rc_context(STYLE):
        rows, versions = augmented_NRHWC.shape[:2]
        figure = _figure(1.05 * (versions + 1) + 1.4, 1.05 * rows + 0.6)
        grid = figure.subplots(rows, versions + 1, squeeze=False)
        for row in range(rows):
            for column in range(versions + 1):
                image = originals_NHWC[row] if column == 0 else augmented_NRHWC[row, column - 1]
                _show(grid[row, column], image)
            grid[row, 0].set_ylabel(
                _short(names[row], 14), rotation=0, ha="right", va="center", labelpad=6
            )
        grid[0, 0].set_title("original", fontsize=9, fontweight="normal", loc="center", pad=4)
        grid[0, 1].set_title("as trained on", fontsize=9, fontweight="normal", pad=4)
        figure.suptitle("Augmented samples", fontweight="bold", x=0.02, ha="left")
        return figure


def curves(metrics: Sequence[Mapping[str, float]]) -> Figure:
    """Loss and accuracy after each epoch: train against test, and validation where there is one.

    Args:
        metrics: the rows of metrics.jsonl.
    """
    with rc_context(STYLE):
        figure = _figure(11, 4.4)
        left, right = figure.subplots(1, 2)
        for axes, what in ((left, "loss"), (right, "accuracy")):
            _curves_of(axes, metrics, what)
        left.set_title("Loss")
        left.set_ylim(bottom=0)
        gap = metrics[-1]["train_accuracy"] - metrics[-1]["test_accuracy"]
        right.set_title(f"Accuracy (train − test at the end: {100 * gap:+.1f} points)")
        right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        return figure


def confusion(counts_KK: np.ndarray, classes: Sequence[str]) -> Figure:
    """Actual against predicted classes.

    The colour of an error is its share of the actual class, on a scale that ends at the largest
    error, so that rare errors can be seen beside a strong diagonal.

    Args:
        counts_KK: rows actual, columns predicted.
        classes: names of the K classes.
    """
    with rc_context(STYLE | {"axes.grid": False}):
        count = len(classes)
        side = min(11.0, max(4.6, 2.2 + 0.62 * count))
        figure = _figure(side + 0.8, side)
        axes = figure.subplots()
        shares_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
        errors_KK = np.ma.masked_array(shares_KK, mask=np.eye(count, dtype=bool))
        largest = float(errors_KK.max()) if count > 1 and errors_KK.max() > 0 else 1.0
        right_KK = np.ma.masked_array(shares_KK, mask=~np.eye(count, dtype=bool))
        axes.imshow(right_KK, cmap="Blues", vmin=0, vmax=1.8)
        shown = axes.imshow(errors_KK, cmap="Oranges", vmin=0, vmax=largest)
        bar = figure.colorbar(shown, ax=axes, shrink=0.6, pad=0.02)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        bar.set_label("errors: share of the actual class")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        if count <= 20:
            _write_counts(axes, counts_KK, shares_KK, largest)
        ticks = range(0, count, max(1, count // 25))
        names = [_short(classes[index], 14) for index in ticks]
        axes.set_xticks(list(ticks), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(list(ticks), names)
        axes.set(xlabel="predicted", ylabel="actual")
        for spine in axes.spines.values():
            spine.set_visible(False)
        total, wrong = int(counts_KK.sum()), int(counts_KK.sum() - counts_KK.trace())
        axes.set_title(f"Confusion matrix: {wrong:,} of {total:,} images wrong")
        return figure


def misclassified(
    images_NHWC: np.ndarray,
    actual: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float],
    names: Sequence[str],
) -> Figure:
    """Up to twenty images that were classified wrongly, in the order given.

    Args:
        images_NHWC: uint8.
        actual, predicted: class names.
        confidence: probability of the predicted class.
        names: file name or index of each image.
    """
    with rc_context(STYLE):
        count = min(20, len(images_NHWC))
        if count == 0:
            figure = _figure(6, 2)
            figure.text(0.5, 0.5, "No test image was classified wrongly.", ha="center", va="center")
            return figure
        columns = min(5, count)
        rows = -(-count // columns)
        figure = _figure(2.3 * max(columns, 3), 2.75 * rows + 0.5)
        grid = figure.subplots(rows, columns, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index >= count:
                axes.set_axis_off()
                continue
            _show(axes, images_NHWC[index])
            axes.set_title(
                f"{_short(predicted[index], 12)}  {_percent(confidence[index])}",
                fontsize=9, color=RED, loc="center", pad=4,
            )  # fmt: skip
            axes.set_xlabel(
                f"is {_short(actual[index], 14)}\n{_short(names[index], 24)}", fontsize=8
            )
        figure.suptitle(
            f"The {count} most confidently wrong: predicted (above) and actual class",
            fontweight="bold", x=0.02, ha="left",
        )  # fmt: skip
        return figure


# ------------------------------------------------------------------------------------------ parts


class _Figure(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        with rc_context(STYLE):
            self.savefig(content, format="png", dpi=STYLE["figure.dpi"])
        return content.getvalue()


def _figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that arranges its parts without overlap."""
    figure = _Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _show(axes: Axes, image_HWC: np.ndarray) -> None:
    grey = image_HWC.shape[2] == 1
    axes.imshow(
        image_HWC[..., 0] if grey else image_HWC,
        cmap="gray" if grey else None, vmin=0, vmax=255, interpolation="nearest",
    )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label(
    axes: Axes,
    text: str,
    point: tuple[float, float],
    *,
    offset: tuple[float, float] = (8, 4),
    align: str = "left",
) -> None:
    axes.annotate(
        text, point, xytext=offset, textcoords="offset points", ha=align, va="bottom", fontsize=9
    )


def _curves_of(axes: Axes, metrics: Sequence[Mapping[str, float]], what: str) -> None:
    epochs = [row["epoch"] for row in metrics]
    ends: list[tuple[float, str, str]] = []
    for split, colour in (("train", TRAIN), ("test", TEST), ("val", VAL)):
        key = f"{split}_{what}"
        if key not in metrics[0]:
            continue
        values = [row[key] for row in metrics]
        axes.plot(epochs, values, color=colour, marker="o", ms=4 if len(epochs) < 30 else 0)
        number = f"{100 * values[-1]:.1f} %" if what == "accuracy" else f"{values[-1]:.3f}"
        ends.append((values[-1], f"{split} {number}", colour))
    axes.set(xlabel="epoch", ylabel=what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(min(epochs) - 0.2, max(epochs) + 0.2)
    low, high = axes.get_ylim()
    for (_, text, colour), y in zip(
        sorted(ends), _spread([end for end, _, _ in sorted(ends)], 0.07 * (high - low)), strict=True
    ):
        axes.annotate(
            text, (epochs[-1], y), xytext=(10, 0), textcoords="offset points",
            color=colour, va="center", fontweight="bold", fontsize=9, annotation_clip=False,
        )  # fmt: skip


def _spread(values: Sequence[float], distance: float) -> list[float]:
    """Rising values, moved apart about their middle where they stand closer than `distance`."""
    placed = list(values)
    for _ in range(50):
        for left in range(len(placed) - 1):
            short = distance - (placed[left + 1] - placed[left])
            if short > 0:
                placed[left] -= short / 2
                placed[left + 1] += short / 2
    return placed


def _write_counts(axes: Axes, counts_KK: np.ndarray, shares_KK: np.ndarray, largest: float) -> None:
    size = 9 if len(counts_KK) <= 10 else 6
    for (row, column), count in np.ndenumerate(counts_KK):
        if count:
            dark = row != column and shares_KK[row, column] > 0.6 * largest
            axes.text(
                column, row, f"{count}", ha="center", va="center", fontsize=size,
                color="white" if dark else INK,
            )  # fmt: skip


def _valley_limits(curve: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Limits that show the valley whole, and of a blow-up no more than as much again."""
    smoothed = np.asarray(curve["smoothed"], dtype=float)
    low, start = float(np.nanmin(smoothed)), float(np.median(curve["loss"][:5]))
    depth = max(start - low, 0.05 * abs(start), 1e-6)
    top = min(float(np.nanmax(curve["loss"])), start + depth)
    bottom = max(min(low, float(np.nanmin(curve["loss"]))), low - depth)
    return bottom - 0.1 * depth, max(top, start) + 0.15 * depth


def _span(suggestion: Mapping[str, float]) -> str:
    text = f"{suggestion['lr']:.2g}"
    if suggestion.get("low", suggestion["lr"]) != suggestion.get("high", suggestion["lr"]):
        text += f" ({suggestion['low']:.2g} to {suggestion['high']:.2g})"
    return text


def _pair(rates: tuple[float, float]) -> str:
    return f"{rates[0]:.2g} to {rates[1]:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share < 0.995 else f"{100 * min(share, 0.9999):.1f} %"


def _short(text: str, length: int) -> str:
    """`text`, its middle left out where it is longer than `length`."""
    if len(text) <= length:
        return text
    tail = (length - 1) * 2 // 3
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"
