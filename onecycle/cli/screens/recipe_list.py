"""The recipes, each with its evidence."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.padding import Padding
from rich.table import Table

from onecycle.cli.screens.parts import (
    UNLIMITED,
    console,
    new_table,
    print_table,
)
from onecycle.writing.numbers import duration


def recipes(rows: Sequence[Mapping[str, Any]]) -> None:
    """The named recipes, with the evidence for each; a dash where nothing was measured.

    A table where it fits without folding, as in a file; else a few lines for each.
    """
    screen, table = console(), _table_of_recipes(rows)
    unfolded = screen.measure(table, options=screen.options.update(width=UNLIMITED))
    if unfolded.maximum <= screen.width:
        print_table(table)
        return
    for row in rows:
        screen.print(row["name"], style="bold")
        for line in (row["summary"], *_evidence(row)):
            screen.print(Padding(line, (0, 0, 0, 2)))
        screen.print()


def _evidence(row: Mapping[str, Any]) -> list[str]:
    """What was measured of a recipe, in two lines, or that nothing was."""
    if row["accuracy"] is None:
        return ["not measured yet"]
    time = "" if row["minutes"] is None else f", in {duration(60 * row['minutes'])}"
    places = ", ".join(part for part in (row["measured_on"], row["device"]) if part)
    return [f"test accuracy {_expected(row)}{time}", *([f"measured on {places}"] if places else [])]


def _table_of_recipes(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = new_table("recipe", "what it is", "test accuracy", "time", "measured on")
    table.leading = 1
    for row in rows:
        measured = ", ".join(part for part in (row["measured_on"], row["device"]) if part)
        table.add_row(
            row["name"],
            row["summary"],
            _expected(row),
            "–" if row["minutes"] is None else duration(60 * row["minutes"]),
            measured or "–",
        )
    return table


def _expected(row: Mapping[str, Any]) -> str:
    """`94.08 ± 0.10 % (n = 5)`, or as much of it as was measured."""
    if row["accuracy"] is None:
        return "–"
    spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.2f}"
    return f"{100 * row['accuracy']:.2f}{spread} % (n = {row['n']})"
