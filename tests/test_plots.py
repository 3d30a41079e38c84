"""The figures show their data legibly, and leave nothing behind."""

import itertools
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import _pylab_helpers, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from onecycle import plots, schedule
from onecycle.plots import style
from onecycle.writing.names import printable

METHODS = ("steepest", "valley", "minimum/10", "recommended", "lr_min", "slide")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


# ------------------------------------------------------------------------- what is on a figure


def texts(figure: Figure) -> dict[str, Bbox]:
    """The extent in pixels of every text drawn, by its words and place."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    figure.draw_without_rendering()
    extents = {}
    for text in _drawn(figure):
        assert isinstance(text, Text)
        extent = Text.get_window_extent(text, canvas.get_renderer())  # without an arrow
        extents[f"{text.get_text()} @{extent.x0:.0f},{extent.y0:.0f}"] = extent
    return extents


def _drawn(figure: Figure) -> Iterator[Text]:
    hidden = {
        id(text)
        for axes in figure.axes
        for which, axis in (("x", axes.xaxis), ("y", axes.yaxis))
        for tick in (*axis.majorTicks, *axis.minorTicks)
        for text in (tick.label1, tick.label2)
        if not _in_view(axes, which, tick.get_loc()) or not axes.axison
    }
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text() and id(text) not in hidden:  # pyright: ignore[reportAttributeAccessIssue]
            yield text  # pyright: ignore[reportReturnType]


def _in_view(axes: Axes, which: str, place: float) -> bool:
    low, high = sorted(axes.get_xlim() if which == "x" else axes.get_ylim())
    return low - 1e-9 <= place <= high + 1e-9


def assert_legible(figure: Figure) -> None:
    """No text crosses the figure's edge, and no two overlap."""
    extents = texts(figure)
    for says, extent in extents.items():
        assert figure.bbox.x0 <= extent.x0, says
        assert extent.x1 <= figure.bbox.x1, says
        assert figure.bbox.y0 <= extent.y0, says
        assert extent.y1 <= figure.bbox.y1, says
    for (one, first), (other, second) in itertools.combinations(extents.items(), 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert width <= 1 or height <= 1, f"{one!r} overlaps {other!r}"


def says(figure: Figure) -> str:
    """All texts of the figure, one per line."""
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in _drawn(figure))


def line(axes: Axes, label: str) -> Line2D:
    return next(line for line in axes.get_lines() if line.get_label() == label)


def xy(line: Line2D) -> tuple[list[float], list[float]]:
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def verticals(axes: Axes) -> list[float]:
    """The x values of lines that go from the bottom of the axes to the top."""
    return [xy(line)[0][0] for line in axes.get_lines() if xy(line)[1] == [0, 1]]


# -------------------------------------------------------------------------------- range test


def falling_curve(
    steps: int = 100, low: float = 1e-7, high: float = 10.0
) -> dict[str, list[float]]:
    """Flat, then a valley whose floor is 1.4 at about 0.1, then a blow-up to about 60."""
    lr = np.geomspace(low, high, steps)
    place = np.log10(lr)
    smoothed = 2.4 - 1.0 / (1 + np.exp(-3 * (place + 2))) + np.exp(4 * place)
    noise = 0.04 * np.random.default_rng(1).standard_normal(steps)
    return {"lr": lr.tolist(), "loss": (smoothed + noise).tolist(), "smoothed": smoothed.tolist()}


def at(*rates: float, spread: float = 1.0) -> dict[str, dict[str, float]]:
    return {
        name: {"lr": rate, "low": rate / spread, "high": rate * spread}
        for name, rate in zip(METHODS, rates, strict=False)
    }


def test_range_test_draws_the_curve_the_suggestions_and_the_cycle() -> None:
    curve = falling_curve()
    curve |= {"low": [value - 0.1 for value in curve["smoothed"]]}
    curve |= {"high": [value + 0.1 for value in curve["smoothed"]], "searched": [1e-6, 0.1]}
    figure = plots.lr_range_test(
        curve, at(0.01, 0.003, 0.013, 0.26, 0.001, spread=1.5), (0.0026, 0.26)
    )
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert xy(line(axes, "loss of each step")) == (curve["lr"], curve["loss"])
    assert xy(line(axes, "smoothed loss")) == (curve["lr"], curve["smoothed"])
    assert xy(line(axes, "rates considered"))[0] == [1e-6, 0.1]
    assert sorted(verticals(axes)) == [0.001, 0.003, 0.01, 0.013, 0.26]
    span = next(patch for patch in axes.patches if patch.get_alpha() == 0.1)
    assert span.get_extents().transformed(axes.transData.inverted()).intervalx == pytest.approx(
        [0.0026, 0.26]
    )
    band = axes.collections[0].get_paths()[0].vertices
    for bound in ("low", "high"):
        points = {(x, y) for x, y in np.asarray(band).tolist()}
        assert set(zip(curve["lr"], curve[bound], strict=True)) <= points
    said = says(figure)
    assert "one cycle from 0.0026 to 0.26" in said
    assert "steepest  0.01 (0.00667 to 0.015)" in said
    assert "recommended  0.26 (0.173 to 0.39)" in said


def test_a_suggestion_is_marked_on_the_curve_with_its_range() -> None:
    curve = falling_curve(101)
    rate = curve["lr"][50]
    axes = plots.lr_range_test(curve, at(rate, spread=2.0), None).axes[0]
    marks = [xy(line) for line in axes.get_lines() if line.get_marker() == "o"]
    ranges = [xy(line) for line in axes.get_lines() if line.get_marker() == "|"]
    assert marks == [([rate], [pytest.approx(curve["smoothed"][50])])]
    assert ranges[0][0] == [rate / 2, rate * 2]


def test_a_blow_up_does_not_squash_the_valley() -> None:
    curve = falling_curve()
    assert max(curve["loss"]) > 50
    low, high = plots.lr_range_test(curve, {}, None).axes[0].get_ylim()
    start, floor = 2.4, min(curve["loss"])
    assert low < floor
    assert high > max(curve["loss"][:60])
    assert (start - floor) / (high - low) > 0.4


def test_one_low_reading_does_not_squash_the_valley() -> None:
    curve = falling_curve(80, high=1.0)
    usual = plots.lr_range_test(curve, {}, None).axes[0].get_ylim()
    curve["loss"][60] = -50.0
    low, high = plots.lr_range_test(curve, {}, None).axes[0].get_ylim()
    assert high == pytest.approx(usual[1])
    assert usual[0] - 1.2 < low < usual[0]


def test_a_steep_start_is_shown_completely() -> None:
    curve = {"lr": [0.01, 0.02, 0.03, 0.04, 0.05], "loss": [3.0, 2.9, 1.6, 1.5, 1.5]}
    curve |= {"smoothed": [2.0, 1.9, 1.8, 1.7, 1.6]}
    assert plots.lr_range_test(curve, {}, None).axes[0].get_ylim()[1] > 3.0


@pytest.mark.parametrize("tail", [math.nan, math.inf, 1e30])
def test_what_follows_a_divergence_changes_no_limits(tail: float) -> None:
    curve = falling_curve(80, high=1.0)
    longer = {
        "lr": [*curve["lr"], 1.2, 1.5, 1.9],
        "loss": [*curve["loss"], tail, tail, math.nan],
        "smoothed": [*curve["smoothed"], tail, math.nan, math.nan],
    }
    figure = plots.lr_range_test(longer, at(0.05), (0.005, 0.05))
    short = plots.lr_range_test(curve, at(0.05), (0.005, 0.05))
    assert figure.axes[0].get_ylim() == pytest.approx(short.axes[0].get_ylim())
    assert_legible(figure)


def test_a_curve_without_a_finite_loss_is_an_empty_figure() -> None:
    nothing = [math.nan] * 3
    figure = plots.lr_range_test({"lr": [0.1, 0.2, 0.3], "loss": nothing, "smoothed": nothing}, {})
    assert figure.axes[0].get_ylim() == (0, 1)
    style.png(figure)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ((0.1, 0.12, 0.14, 0.17, 0.2), (0.01, 0.2)),
        ((0.1, 0.1, 0.1, 0.1, 0.1), (0.01, 0.1)),
        ((1.1e-7, 1.2e-7, 1.4e-7, 1.5e-7, 1.7e-7), (1e-7, 1e-6)),
        ((8.0, 8.5, 9.0, 9.5, 9.9), (1.0, 9.9)),
        ((2e-7, 1e-4, 2e-3, 0.5, 9.9), (2e-7, 9.9)),
        ((30.0, 1e-9, 1.0, 0.5, 0.02), (1e-9, 30.0)),
    ],
    ids=["close", "identical", "far left", "far right", "everywhere", "outside"],
)
def test_labels_of_suggestions_never_overlap(
    rates: Sequence[float], chosen: tuple[float, float]
) -> None:
    for spread in (1.0, 1.7):
        curve = falling_curve(40, low=1e-7 if spread == 1 else 1e-5)
        assert_legible(plots.lr_range_test(curve, at(*rates, spread=spread), chosen))


def test_no_line_crosses_a_label_of_suggestions() -> None:
    figure = plots.lr_range_test(falling_curve(), at(1e-3, 2e-3, 3e-3, 0.2, 0.4), (4e-4, 0.4))
    flags = figure.axes[1]
    labels = [extent for text, extent in texts(figure).items() if text.startswith(METHODS)]
    assert len(labels) == 5
    stems = [line for line in flags.get_lines() if len(xy(line)[0]) == 2 and xy(line)[1][0] == 0]
    assert len(stems) == 5
    for stem in stems:
        path = stem.get_transform().transform(np.column_stack(xy(stem)))
        for label in labels:
            inside = label.x0 < path[0, 0] < label.x1
            assert not (inside and path[:, 1].max() > label.y0)


# ---------------------------------------------------------------------------------- one cycle


def cycle(
    total: int = 2352, spe: int = 98, peak: int = 489, *, lr_min: float = 0.033, **shape: Any
) -> Figure:
    lr = [
        schedule.one_cycle(
            step, total_steps=total, peak_step=peak, lr_min=lr_min, lr_max=0.4, **shape
        )
        for step in range(total)
    ]
    shape.pop("lr_final", None)
    momentum = [
        schedule.one_cycle_momentum(
            step, total_steps=total, peak_step=peak, base_momentum=0.85, max_momentum=0.95, **shape
        )
        for step in range(total)
    ]
    figure = plots.one_cycle(lr, momentum, steps_per_epoch=spe, peak_step=peak)
    assert xy(figure.axes[0].get_lines()[1])[1] == lr
    assert xy(figure.axes[1].get_lines()[1])[1] == momentum
    return figure


def test_one_cycle_marks_start_peak_and_end() -> None:
    figure = cycle()
    above, below = figure.axes
    epochs = xy(above.get_lines()[1])[0]
    assert epochs == pytest.approx([(step + 1) / 98 for step in range(2352)])
    assert xy(below.get_lines()[1])[0] == epochs
    marks = [xy(line) for line in above.get_lines() if line.get_marker() == "o"]
    assert marks == [([5.0], [0.4]), ([epochs[0]], [0.033]), ([24.0], [pytest.approx(0.033)])]
    assert above.get_yscale() == "linear"
    assert above.get_ylim()[0] == 0
    said = says(figure).splitlines()
    for text in ("peak 0.4 at epoch 5 (step 489)", "start 0.033", "end 0.033", "end 0.95"):
        assert text in said


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"peak": 0},
        {"peak": 30},
        {"peak": 2351},
        {"peak": 2000, "anneal": "cosine", "lr_final": 1e-6},
        {"peak": 700, "three_phase": True, "lr_min": 1e-4, "lr_final": 1e-5},
        {"lr_min": 0.4},
        {"total": 98, "peak": 20},
        {"total": 10, "spe": 10, "peak": 4},
    ],
    ids=str,
)
def test_texts_of_the_cycle_are_legible(shape: dict[str, Any]) -> None:
    assert_legible(cycle(**shape))


def test_the_start_label_stays_clear_of_the_curve() -> None:
    for peak in (98, 489, 1200):
        figure = cycle(peak=peak)
        axes = figure.axes[0]
        label = next(extent for text, extent in texts(figure).items() if text.startswith("start"))
        curve = axes.transData.transform(np.column_stack(xy(axes.get_lines()[1])))
        under_label = curve[(curve[:, 0] > label.x0) & (curve[:, 0] < label.x1)]
        assert (under_label[:, 1] > label.y1).all()


def test_constant_momentum_has_one_tick() -> None:
    figure = plots.one_cycle([0.1, 0.2, 0.1], [0.9] * 3, steps_per_epoch=3, peak_step=1)
    assert figure.axes[1].get_yticks().tolist() == [0.9]


# ------------------------------------------------------------------------------------- curves


def metrics(epochs: int, *, val: bool = False) -> list[dict[str, float]]:
    rows = []
    for epoch in range(1, epochs + 1):
        rise = 1 - math.exp(-3 * epoch / epochs)
        row = {"epoch": epoch, "train_loss": 2.3 - 2 * rise, "train_accuracy": 0.1 + 0.85 * rise}
        row |= {"test_loss": 2.3 - 1.8 * rise, "test_accuracy": 0.1 + 0.8 * rise}
        if val:
            row |= {"val_loss": row["test_loss"] + 0.002, "val_accuracy": row["test_accuracy"]}
        rows.append(row)
    return rows


@pytest.mark.parametrize("val", [False, True])
@pytest.mark.parametrize("epochs", [1, 3, 24])
def test_curves_draw_every_row(epochs: int, val: bool) -> None:
    rows = metrics(epochs, val=val)
    figure = plots.curves(rows)
    for axes, what in zip(figure.axes, ("loss", "accuracy"), strict=True):
        splits = ("train", "test", "val") if val else ("train", "test")
        assert {line.get_label() for line in axes.get_lines()} >= set(splits)
        for split in splits:
            drawn = line(axes, split)
            assert xy(drawn) == (
                [row["epoch"] for row in rows],
                [row[f"{split}_{what}"] for row in rows],
            )
            assert drawn.get_marker() == "o"
            assert drawn.get_markersize() > 0
    assert_legible(figure)


def test_curves_name_last_values_and_the_gap() -> None:
    rows = metrics(8)
    last = rows[-1] | {"train_accuracy": 0.9912, "test_accuracy": 0.94, "test_loss": 0.2104}
    said = says(plots.curves([*rows[:-1], last]))
    assert "train 99.12 %" in said
    assert "test 94.00 %" in said
    assert "test 0.210" in said
    assert "train 5.12 points above test in the last epoch" in said
    last["train_accuracy"] = 0.92
    assert "train 2.00 points below test" in says(plots.curves([*rows[:-1], last]))


def test_accuracy_is_shown_as_percent() -> None:
    figure = plots.curves(metrics(8))
    figure.draw_without_rendering()
    axes = figure.axes[1]
    for label in axes.get_yticklabels():
        assert label.get_text() == f"{100 * label.get_position()[1]:g} %"


@pytest.mark.parametrize("accuracy", [0.0, 0.5, 1.0])
def test_labels_of_equal_ends_do_not_overlap(accuracy: float) -> None:
    same = {f"{split}_accuracy": accuracy for split in ("train", "test", "val")}
    same |= {f"{split}_loss": 1e-4 for split in ("train", "test", "val")}
    figure = plots.curves([{"epoch": epoch, **same} for epoch in (1, 2)])
    assert_legible(figure)
    assert f"val {100 * accuracy:.2f} %" in says(figure)


def test_a_non_finite_loss_leaves_a_gap() -> None:
    rows = metrics(4)
    rows[-1]["test_loss"] = math.nan
    figure = plots.curves(rows)
    assert_legible(figure)
    assert "test nan" not in says(figure)


def test_without_epochs_the_curves_say_so() -> None:
    assert "No epoch" in says(plots.curves([]))


# ------------------------------------------------------------------------------- curves compared


def test_compared_draws_the_mean_and_the_range_of_each_groups_runs() -> None:
    runs = [metrics(4), metrics(4)]
    for row in runs[1]:
        row["test_accuracy"] /= 2
    figure = plots.compared({"A: one": runs, "B: other": [metrics(3)]})
    assert_legible(figure)
    accuracy, _, legend = figure.axes
    one, other = accuracy.get_lines()
    expected = [(a["test_accuracy"] + b["test_accuracy"]) / 2 for a, b in zip(*runs, strict=True)]
    assert xy(one) == ([1, 2, 3, 4], pytest.approx(expected))
    assert xy(other)[0] == [1, 2, 3]
    (band,) = accuracy.collections
    heights = band.get_paths()[0].vertices[:, 1]
    ends = [f([row["test_accuracy"] for row in rows]) for rows in runs for f in (min, max)]
    assert (heights.min(), heights.max()) == pytest.approx((min(ends), max(ends)))
    assert [text.get_text() for text in legend.texts] == ["A: one", "B: other"]
    for drawn, shown in zip((one, other), legend.get_lines(), strict=True):
        assert drawn.get_color() == shown.get_color()


def test_a_loss_that_blew_up_leaves_the_others_legible() -> None:
    blown = metrics(6)
    blown[0]["test_loss"] = 4000.0
    figure = plots.compared({"A: one": [blown], "B: other": [metrics(6)]})
    assert_legible(figure)
    loss = figure.axes[1]
    assert loss.get_yscale() == "log"
    assert loss.get_title("left") == "Test loss (logarithmic)"
    losses = [row["test_loss"] for row in metrics(6)]
    bottom, top = loss.transData.transform([(1, min(losses)), (1, max(losses))])[:, 1]
    assert top - bottom > 0.05 * loss.get_window_extent().height
    assert plots.compared({"A": [metrics(6)]}).axes[1].get_yscale() == "linear"
    perfect = [row | {"test_loss": 0.0} for row in metrics(6)]
    assert plots.compared({"A": [blown], "B": [perfect]}).axes[1].get_yscale() == "linear"


def test_a_loss_that_blew_up_leaves_a_single_runs_curves_legible() -> None:
    blown = metrics(6, val=True)
    blown[0]["test_loss"] = 1477.0
    figure = plots.curves(blown)
    assert_legible(figure)
    loss = figure.axes[0]
    assert loss.get_yscale() == "log"
    assert "logarithmic" in says(figure)
    losses = [row["train_loss"] for row in blown]
    bottom, top = loss.transData.transform([(1, min(losses)), (1, max(losses))])[:, 1]
    assert top - bottom > 0.05 * loss.get_window_extent().height
    learned = [row | {"train_loss": 2.3 * 0.3 ** row["epoch"]} for row in metrics(12)]
    assert plots.curves(learned).axes[0].get_yscale() == "linear"


def test_no_two_of_many_groups_look_alike() -> None:
    figure = plots.compared({f"{index}: {'long ' * 40}": [metrics(2)] for index in range(24)})
    assert_legible(figure)
    looks = {(str(line.get_color()), str(line._dash_pattern)) for line in figure.axes[0].lines}  # pyright: ignore[reportAttributeAccessIssue]
    assert len(looks) == 24
    assert "No epoch" in says(plots.compared({"A": [[]]}))


def test_an_svg_figure_follows_the_pages_colours_and_is_the_same_each_time() -> None:
    text, again = (plots.svg(plots.compared({"A": [metrics(2)]})) for _ in range(2))
    assert text == again
    assert text.startswith("<svg")
    assert "var(--ink, #22262b)" in text
    assert re.search(r"(?<!, )#22262b", text) is None  # nowhere without the variable


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=6).map(sorted),
    st.floats(0.01, 0.15),
)
def test_spread_keeps_order_distance_and_bounds(values: list[float], distance: float) -> None:
    placed = style.spread(values, distance, 0, 1)
    assert len(placed) == len(values)
    assert all(b - a >= distance - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[0] >= -1e-9
    assert placed[-1] <= 1 + 1e-9
    if all(b - a >= distance for a, b in itertools.pairwise(values)):
        assert placed == pytest.approx(values)


# ---------------------------------------------------------------------------------- confusion


def counts(classes: int, per_class: int = 100, right: float = 0.9) -> np.ndarray:
    generator = np.random.default_rng(classes)
    shares = generator.gamma(0.3, 1, (classes, classes)) + 1e-9
    np.fill_diagonal(shares, 0)
    shares *= (1 - right) / shares.sum(axis=1, keepdims=True)
    np.fill_diagonal(shares, right)
    return np.stack([generator.multinomial(per_class, row) for row in shares])


def cells(figure: Figure) -> dict[tuple[int, int], str]:
    """The text in each cell, by row and column."""
    axes = figure.axes[0]
    found = {}
    for text in axes.texts:
        x, y = text.get_position()
        if text.get_transform() == axes.transData:
            found[round(y), round(x)] = text.get_text()
    return found


def test_confusion_writes_each_count_in_its_cell() -> None:
    counts_KK = counts(10, 1000)
    figure = plots.confusion(counts_KK, CLASSES)
    expected = {
        (row, column): str(counts_KK[row, column])
        for row, column in itertools.product(range(10), range(10))
        if counts_KK[row, column]
    }
    assert cells(figure) == expected
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(CLASSES)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(CLASSES)
    assert figure.axes[0].get_xlabel() == "predicted"
    assert figure.axes[0].get_ylabel() == "actual"
    wrong = counts_KK.sum() - np.trace(counts_KK)
    assert f"{wrong:,} of 10,000 images wrong" in says(figure)


def test_colours_are_shares_of_the_row_and_errors_have_their_own_scale() -> None:
    counts_KK = np.array([[90, 10, 0], [4, 196, 0], [0, 1, 999]])
    right, errors = plots.confusion(counts_KK, CLASSES[:3]).axes[0].get_images()
    shares_KK = counts_KK / counts_KK.sum(axis=1, keepdims=True)
    for image, shown in ((right, np.eye(3, dtype=bool)), (errors, ~np.eye(3, dtype=bool))):
        array = image.get_array()
        assert isinstance(array, np.ma.MaskedArray)
        assert (np.ma.getmaskarray(array) == ~(shown & (counts_KK > 0))).all()
        assert array.compressed() == pytest.approx(shares_KK[shown & (counts_KK > 0)])
    assert errors.get_clim() == (0, pytest.approx(0.1))
    assert right.get_clim() == (0, 1)
    faintest = np.asarray(errors.to_rgba(np.array(0.001)))[:3]  # one error in a thousand
    assert np.abs(faintest - np.array([0xF6, 0xF7, 0xF9]) / 255).max() > 0.1


def test_a_column_shows_each_classes_share_of_correct() -> None:
    said = says(plots.confusion(np.array([[9, 1, 0], [0, 5, 0], [0, 0, 0]]), CLASSES[:3]))
    assert "90.0 %" in said
    assert "100.0 %" in said
    assert "none" in said.splitlines()


def test_a_hundred_classes_have_no_numbers_and_fewer_names() -> None:
    names = [f"class number {index}" for index in range(100)]
    figure = plots.confusion(counts(100), names)
    assert cells(figure) == {}
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert 15 <= len(shown) <= 50
    step = 100 // len(shown)
    assert [int(name.split()[-1]) for name in shown] == list(range(0, 100, step))[: len(shown)]
    extents = [
        label.get_window_extent() for label in figure.axes[0].get_yticklabels() if label.get_text()
    ]
    assert all(not a.overlaps(b) for a, b in itertools.pairwise(extents))


@pytest.mark.parametrize(
    ("counts_KK", "classes"),
    [
        (counts(2), ("healthy", "the name of a class that is much, much longer than any other")),
        (np.diag([10, 10]), ("a", "b")),
        (np.array([[0, 10], [10, 0]]), ("cat", "dog")),
        (np.zeros((3, 3), dtype=np.int64), ("a", "b", "c")),
        (counts(10, 100_000), CLASSES),
        (counts(30, 1000), [f"class {index}" for index in range(30)]),
        (counts(31), [f"class {index}" for index in range(31)]),
    ],
    ids=["long", "perfect", "all wrong", "nothing", "large counts", "thirty", "thirty-one"],
)
def test_confusion_is_legible(counts_KK: np.ndarray, classes: Sequence[str]) -> None:
    figure = plots.confusion(counts_KK, classes)
    for label in figure.axes[0].get_xticklabels():
        if label.get_rotation():  # the box around a slanted text is much larger than the text
            assert label.get_window_extent().y0 >= 0
            label.set_visible(False)
    assert_legible(figure)


def test_numbers_fit_their_cells() -> None:
    figure = plots.confusion(counts(12, 100_000), [str(index) for index in range(12)])
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / 12
    for text in axes.texts:
        if text.get_transform() == axes.transData:
            assert text.get_window_extent().width < 0.95 * cell


# ------------------------------------------------------------------------------------- images


def pictures(count: int, height: int = 32, width: int = 32, channels: int = 3) -> np.ndarray:
    shape = (count, height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def shown(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for image in figure.axes[0].get_images()]


@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_samples_show_originals_first_and_then_each_version(channels: int) -> None:
    originals = pictures(3, channels=channels)
    augmented = pictures(12, channels=channels).reshape(3, 4, 32, 32, channels)
    figure = plots.augmented_samples(originals, augmented, ["cat", "dog", "a" * 60])
    expected = [image for row in range(3) for image in (originals[row], *augmented[row])]
    for image, array in zip(shown(figure), expected, strict=True):
        assert (image == array).all()
    images = figure.axes[0].get_images()
    assert {image.get_interpolation() for image in images} == {"nearest"}
    columns = [
        [image.get_extent()[0] for image in images[row * 5 : row * 5 + 5]] for row in (0, 1, 2)
    ]
    assert columns[0] == columns[1] == columns[2] == sorted(columns[0])
    rows = [image.get_extent()[3] for image in images[::5]]
    assert rows == sorted(rows)
    said = says(figure)
    assert "cat" in said
    assert "original" in said
    assert_legible(figure)


def test_small_images_are_drawn_pixel_by_pixel() -> None:
    originals, augmented = pictures(2), pictures(6).reshape(2, 3, 32, 32, 3)
    figure = plots.augmented_samples(originals, augmented, ["one", "two"])
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    page = np.asarray(canvas.buffer_rgba())[..., :3]
    for image, array in zip(figure.axes[0].get_images(), shown(figure), strict=True):
        left, right, bottom, top = (round(edge) for edge in image.get_extent())
        factor = (right - left) // 32
        assert (right - left, bottom - top) == (32 * factor, 32 * factor)
        drawn = page[top:bottom, left:right]
        assert (drawn == array.repeat(factor, axis=0).repeat(factor, axis=1)).all()


@pytest.mark.parametrize("size", [(8, 8), (64, 48), (224, 300)])
@pytest.mark.parametrize("versions", [1, 11])
def test_augmented_samples_of_any_size(size: tuple[int, int], versions: int) -> None:
    originals = pictures(2, *size)
    augmented = originals[:, None].repeat(versions, axis=1)
    figure = plots.augmented_samples(originals, augmented, ["x", "automobile"])
    assert_legible(figure)
    for image in figure.axes[0].get_images():
        left, right, bottom, top = image.get_extent()
        assert 0 <= left < right <= figure.bbox.width
        assert 0 <= top < bottom <= figure.bbox.height
        assert (bottom - top) / (right - left) == pytest.approx(size[0] / size[1], rel=0.02)


def mistakes(count: int, channels: int = 3, **given: Sequence[str]) -> Figure:
    return plots.misclassified(
        pictures(count, channels=channels),
        given.get("actual", [CLASSES[index % 10] for index in range(count)]),
        given.get("predicted", [CLASSES[(index + 1) % 10] for index in range(count)]),
        [1 - index / 50 for index in range(count)],
        given.get("names", [f"test/{index:06d}.png" for index in range(count)]),
        losses=given.get("losses"),
    )


def test_the_loss_of_a_mistake_follows_its_confidence() -> None:
    figure = mistakes(20, losses=[10.234 + index for index in range(20)])
    assert "100.0 %, loss 10.23" in says(figure)
    assert "62.0 %, loss 29.23" in says(figure)
    assert_legible(figure)


@pytest.mark.parametrize(("count", "channels"), [(1, 3), (2, 1), (7, 3), (20, 1), (25, 3)])
def test_misclassified_shows_each_image_with_its_text(count: int, channels: int) -> None:
    figure = mistakes(count, channels)
    expected = pictures(count, channels=channels)[:20]
    for image, array in zip(shown(figure), expected, strict=True):
        assert (image == array).all()
    images = figure.axes[0].get_images()
    assert len({image.get_extent()[0] for image in images}) == min(5, count)
    assert len({image.get_extent()[2] for image in images}) == math.ceil(min(20, count) / 5)
    said = says(figure)
    for index in range(min(count, 20)):
        assert f"{CLASSES[index % 10]} → {CLASSES[(index + 1) % 10]}" in said
        assert f"{100 - 2 * index:.1f} % confident" in said
        assert f"test/{index:06d}.png" in said
    assert_legible(figure)


def test_without_mistakes_the_figure_says_so() -> None:
    figure = mistakes(0)
    assert says(figure) == "No test image was classified wrongly."
    assert_legible(figure)


def test_long_names_lose_their_middle() -> None:
    figure = mistakes(
        20,
        actual=["African hunting dog (Lycaon pictus)"] * 20,
        predicted=["cat"] * 20,
        names=[f"a/folder/inside/of/another/image_{index:04d}.jpeg" for index in range(20)],
    )
    assert_legible(figure)
    said = says(figure)
    for index in range(20):
        assert f"{index:04d}.jpeg" in said
    pair = next(text for text in said.splitlines() if "→ cat" in text)
    assert "…" in pair
    assert pair.startswith("Afr")
    assert "us) → cat" in pair


# --------------------------------------------------------------------------------------- texts


@given(st.text(max_size=80), st.floats(0.3, 3))
def test_fit_keeps_both_ends_and_the_width(text: str, width: float) -> None:
    short = style.fit(text, 9, width)
    whole = printable(" ".join(text.split()))
    assert "\n" not in short
    if short != whole:
        start, end = short.split("…", 1) if short.count("…") == 1 else (short[:1], short[-1:])
        assert whole.startswith(start)
        assert whole.endswith(end)
        assert style.text_width(whole, 9) > width
    if len(short) > 4:
        assert style.text_width(short, 9) <= width


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0.4, "0.4"),
        (0.0315, "0.0315"),
        (1.0, "1"),
        (0.001, "0.001"),
        (0.0001, "1e-4"),
        (2.53e-5, "2.53e-5"),
        (1e-7, "1e-7"),
        (12.34, "12.3"),
        (0.0, "0"),
    ],
)
def test_rates_are_written_to_three_digits(rate: float, text: str) -> None:
    assert style.rate_text(rate) == text


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100.0 %"), (0.99996, "99.9 %"), (0.29, "29.0 %"), (0.0, "0.0 %")]
)
def test_only_the_whole_is_a_hundred_percent(share: float, text: str) -> None:
    assert style.percent_text(share) == text


def test_any_name_can_be_drawn(tmp_path: Path) -> None:
    names = ["$x^2$ and $", "a_b\n\tc", "猫", "bad \udcff byte", "\\frac{", "\u202e"]
    rates = {name: {"lr": 0.1} for name in names}
    figures = [
        plots.confusion(np.ones((6, 6), dtype=np.int64), names),
        mistakes(6, actual=names, predicted=names[::-1], names=names),
        plots.augmented_samples(pictures(6), pictures(6)[:, None], names),
        plots.lr_range_test(falling_curve(), rates, (0.01, 0.1)),
    ]
    for figure in figures:
        plots.save(figure, tmp_path / "figure.png")


# ------------------------------------------------------------------------- files and notebooks

SIX: Mapping[str, Callable[[], Figure]] = {
    "lr_range_test": lambda: plots.lr_range_test(falling_curve(), at(0.01, 0.02, 0.3), (0.01, 0.3)),
    "one_cycle": cycle,
    "augmented_samples": lambda: plots.augmented_samples(
        pictures(8), pictures(56).reshape(8, 7, 32, 32, 3), CLASSES[:8]
    ),
    "curves": lambda: plots.curves(metrics(24, val=True)),
    "confusion": lambda: plots.confusion(counts(10, 1000), CLASSES),
    "misclassified": lambda: mistakes(20),
}


@pytest.mark.parametrize("name", SIX)
def test_each_figure_is_legible_and_of_the_reports_width(name: str, tmp_path: Path) -> None:
    figure = SIX[name]()
    assert_legible(figure) if name != "confusion" else None
    plots.save(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert 1100 <= image.width <= 1300
        assert 500 <= image.height <= 1500


@pytest.mark.parametrize("name", SIX)
def test_the_same_data_gives_the_same_bytes_under_any_user_style(name: str, tmp_path: Path) -> None:
    plots.save(SIX[name](), tmp_path / "one.png")
    mine: Any = {
        "font.size": 20,
        "axes.facecolor": "black",
        "savefig.bbox": "tight",
        "font.family": "serif",
    }
    with rc_context(mine):
        plots.save(SIX[name](), tmp_path / "two.png")
    content = (tmp_path / "one.png").read_bytes()
    assert content == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as image:
        assert set(image.info) == {"dpi"}  # no date, no version


def test_a_failure_leaves_the_existing_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure, path = plots.curves(metrics(2)), tmp_path / "curves.png"
    path.write_bytes(b"former")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    for place, name in ((Figure, "savefig"), (Path, "write_bytes"), (Path, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fail)
            with pytest.raises(OSError, match="no space"):
                plots.save(figure, path)
        assert [entry.name for entry in tmp_path.iterdir()] == ["curves.png"]
        assert path.read_bytes() == b"former"
    plots.save(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_drawing_touches_neither_pyplot_nor_torch() -> None:
    code = (
        "import sys; from onecycle import plots; import numpy as np; "
        "plots.style.png(plots.confusion(np.eye(2, dtype=int), ['a', 'b'])); "
        "print(*{'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
    before = len(_pylab_helpers.Gcf.figs)
    for figure in SIX.values():
        figure()
    assert len(_pylab_helpers.Gcf.figs) == before == 0


def test_a_notebook_shows_a_figure_that_ends_a_cell(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell(
        "from onecycle import plots\n"
        "plots.curves([{'epoch': 1, 'train_loss': 1, 'test_loss': 2, 'train_accuracy': 0.6,"
        " 'test_accuracy': 0.5}])"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output["output_type"] == "execute_result"
    assert output["data"]["image/png"].startswith("iVBOR")
    assert output["metadata"]["image/png"]["width"] == 800
