"""Many recipes in the order of their accuracy, where a table of all pairs would be too long."""

from typing import TYPE_CHECKING

from onecycle.experiments.cells import range_text, with_spread
from onecycle.experiments.groups import Figure, Group
from onecycle.experiments.tables import Table

if TYPE_CHECKING:
    from onecycle.experiments.comparison import Comparison

MOST_IN_PAIRS = 6
"""Recipes up to which all pairs are shown."""


def ordering(comparison: "Comparison") -> Figure:
    """The accuracy that decides the places: that of the validation split if all runs have one."""
    every = all(len(group.values("val_accuracy")) == group.n for group in comparison.groups)
    return "val_accuracy" if every else "test_accuracy"


def ranked(comparison: "Comparison") -> list[Group]:
    """The groups, the best first; of equal ones, that which came first."""
    by = ordering(comparison)
    return sorted(comparison.groups, key=lambda group: -group.mean(by))


def ranks(comparison: "Comparison") -> Table:
    """A row for each group: its place, its settings, and its accuracies with an interval."""
    by, fields = ordering(comparison), list(comparison.groups[0].differences)
    named = [] if fields else [""]
    shown: list[tuple[str, Figure]] = [("val %", "val_accuracy")] if by == "val_accuracy" else []
    headings = ["", *named, *fields, "n", *(name for name, _ in shown), "test %", "95 % interval"]
    rows = [
        [
            f"{place}.",
            *([group.name] if named else []),
            *group.differences.values(),
            str(group.n),
            *(_accuracy(group, figure) for _, figure in shown),
            _accuracy(group, "test_accuracy"),
            range_text(group.accuracy("test_accuracy").interval),
        ]
        for place, group in enumerate(ranked(comparison), start=1)
    ]
    words = 1 + len(named) + len(fields)
    return Table(headings, rows, [False] * words + [True] * (len(headings) - words))


def legend(comparison: "Comparison") -> str:
    """How to read the places."""
    if ordering(comparison) == "val_accuracy":
        order = "Order: by validation accuracy, so that the test accuracy of the first is fair."
    else:
        order = (
            "Order: by test accuracy, since there is no validation split: the first of many is "
            "partly first by luck, and its accuracy too high."
        )
    return (
        f"{order} ± is the standard deviation over seeds. Interval: of the test accuracy, for each "
        "recipe alone. Which differences are more than chance: onecycle compare."
    )


def _accuracy(group: Group, name: Figure) -> str:
    found = group.accuracy(name)
    return with_spread(found.mean, found.std)
