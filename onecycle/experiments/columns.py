"""The columns of a comparison's table of figures, each with its heading and its legend."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from onecycle.config.names import unknown_name
from onecycle.errors import InputError
from onecycle.experiments.cells import percent, points, range_text, value_range, with_spread
from onecycle.experiments.groups import ABSENT, Figure, Group
from onecycle.writing.numbers import duration

if TYPE_CHECKING:
    from onecycle.experiments.comparison import Comparison


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        heading: what stands above it.
        show: the cell of a group.
        legend: how to read it; empty where the heading is enough.
        figure: which all runs must have, or the cell is a dash.
        spread: whether a cell has the standard deviation over seeds.
    """

    heading: str
    show: Callable[[Group], str]
    legend: str = ""
    figure: Figure | None = None
    spread: bool = False


def _accuracy(name: Figure, group: Group) -> str:
    found = group.accuracy(name)
    return with_spread(found.mean, found.std)


def _column(
    heading: str, name: Figure, show: Callable[[Group], str] | None = None, legend: str = ""
) -> Column:
    return Column(heading, show or partial(_accuracy, name), legend, name, spread=show is None)


def _mean(name: Figure, form: Callable[[float], str]) -> Callable[[Group], str]:
    return lambda group: form(group.mean(name))


COLUMNS: Mapping[str, Column] = {
    "n": Column("n", lambda group: str(group.n)),
    "train": _column("train %", "train_accuracy", legend="Train: last epoch, augmented images."),
    "test": _column("test %", "test_accuracy", legend="Test: after the last epoch{spread}."),
    "interval": Column(
        "95 % interval",
        lambda group: range_text(group.accuracy("test_accuracy").interval),
        "Interval: {over}.",
    ),
    "val": _column("val %", "val_accuracy"),
    "balanced": _column("balanced %", "test_balanced_accuracy"),
    "tta": _column("test %, TTA", "test_accuracy_tta"),
    "gap": Column(
        "gap",
        lambda group: points(group.mean("train_accuracy") - group.mean("test_accuracy")),
        "Gap: train minus test, in points; below 0 where augmentation and dropout make the "
        "training images harder.",
    ),
    "loss": _column(
        "test loss",
        "test_loss",
        _mean("test_loss", lambda loss: f"{loss:.3f}"),
        "Loss: mean cross-entropy of the test images, in nats.",
    ),
    "ece": _column(
        "ECE %",
        "calibration_error",
        legend="ECE: expected calibration error on the test images, in 15 bins of equal width "
        "(Guo et al., 2017).",
    ),
    "peak": _column(
        "peak rate",
        "lr_max",
        lambda group: value_range(group.values("lr_max")),
        "Peak: the highest learning rate of each run, from the lowest to the highest over seeds.",
    ),
    "best": _column(
        "best %",
        "best_test_accuracy",
        _mean("best_test_accuracy", percent),
        "Best: of all epochs, picked on the test split, so too high: for curiosity only.",
    ),
    "time": _column(
        "time", "total_seconds", _mean("total_seconds", duration), "Time: the whole run."
    ),
    "speed": _column("images/s", "images_per_second", _mean("images_per_second", "{:,.0f}".format)),
}
"""Every column, by the name that `--columns` takes, in the order in which they are shown."""

USUAL = ("n", "train", "test", "interval", "val", "balanced", "tta", "best", "time", "speed")
"""What is shown unless columns are asked for."""

WHERE_KNOWN = ("val", "balanced", "tta")
"""Of the usual ones, those that are shown only if all runs have them."""


def read_columns(text: str) -> tuple[str, ...]:
    """`train,test` as names of columns; none for an empty text.

    Raises:
        InputError: there is no such column, or one is there twice.
    """
    return checked_columns([word.strip() for word in text.split(",")] if text else [])


def checked_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The names of columns, if there are such columns and each is there once.

    Raises:
        InputError: otherwise.
    """
    names = [names] if isinstance(names, str) else names
    for place, name in enumerate(names):
        if name not in COLUMNS:
            raise InputError(f"--columns: {unknown_name('column', name, COLUMNS)}")
        if name in names[:place]:
            raise InputError(f"--columns: '{name}' is given twice; give it once")
    return tuple(names)


def shown(comparison: "Comparison") -> list[Column]:
    """The columns that were asked for, or the usual ones."""
    groups = comparison.groups
    if comparison.columns:
        return [COLUMNS[name] for name in comparison.columns]
    names = list(USUAL)
    for name in WHERE_KNOWN:
        if not all(_known(COLUMNS[name], group) for group in groups):
            names.remove(name)
    if "balanced" in names and not any(run.result.uneven for run in comparison.runs):
        names.remove("balanced")
    return [COLUMNS[name] for name in names]


def cell(column: Column, group: Group) -> str:
    """The text of a group in a column; a dash where not all of its runs have the figure."""
    return column.show(group) if _known(column, group) else ABSENT


def legend(comparison: "Comparison") -> str:
    """How to read the columns."""
    several = any(group.n > 1 for group in comparison.groups)
    single = any(group.n == 1 for group in comparison.groups)
    spread = "± is the standard deviation over seeds" if several else ""
    over = [
        *(["of the mean over seeds (Student)"] if several else []),
        *(["over the test images for a single run (Wilson)"] if single else []),
    ]
    columns = shown(comparison)
    told = [column.legend for column in columns if column.legend]
    if spread and COLUMNS["test"] not in columns and any(column.spread for column in columns):
        told.append(f"{spread}.")
    return " ".join(told).format(spread=f"; {spread}" if spread else "", over=", ".join(over))


def _known(column: Column, group: Group) -> bool:
    return column.figure is None or len(group.values(column.figure)) == group.n
