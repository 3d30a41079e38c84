"""What all screens are made of: the console, tables, and pairs of a name and a value."""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from onecycle.writing.names import printable
from onecycle.writing.numbers import counted, percent

if TYPE_CHECKING:
    from onecycle.run_dir.records import TestFigures

UNLIMITED = 10_000
"""Width assumed for a file or pipe, so that nothing is folded."""

MOST_ROWS = 30
"""With more classes than these, they are shown side by side."""

LONGEST_NAME = 24
"""Characters of a class's name where many are shown."""


class Screen(Console):
    """A console that leaves it to the command what a closed pipe means."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console(unfolded: int = UNLIMITED) -> Screen:
    """Standard output: coloured and as wide as the terminal, or plain and of `unfolded` columns."""
    folded = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = None if folded else unfolded
    return Screen(highlight=False, markup=False, emoji=False, width=width)


def new_table(*columns: str, numbers: int = 0) -> Table:
    """An empty table, its last `numbers` columns flush right."""
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(table.columns):
        column.overflow = "fold"
        if index >= len(columns) - numbers:
            column.justify = "right"
    return table


def print_table(table: Table) -> None:
    """Print it with an empty line below."""
    screen = console()
    screen.print(table)
    screen.print()


def print_text(text: str) -> None:
    """Print it without folding."""
    console().print(text, soft_wrap=True)


def print_pairs(title: str, pairs: Mapping[str, str]) -> None:
    """A heading and lines of a name and a value, never folded, so that a path can be copied."""
    screen = console()
    screen.print(on_a_line(title), style="bold", soft_wrap=True)
    width = max(map(len, pairs)) + 2
    for name, value in pairs.items():
        screen.print(f"  {name:<{width}}{on_a_line(value)}", soft_wrap=True)


def on_a_line(text: str) -> str:
    """A name from a file system as one line that moves no cursor: odd characters as their codes."""
    return printable(text)


def shortened(name: str, room: int) -> str:
    """Its middle left out where it would take more than `room` columns."""
    if cell_len(name) <= room:
        return name
    tail = set_cell_size(name[::-1], room // 2)[::-1]
    return f"{set_cell_size(name, room - room // 2 - 1)}…{tail}"


def balanced(figures: "TestFigures") -> dict[str, str]:
    """The balanced accuracy, where it isn't the accuracy because classes differ in size."""
    smallest, largest = figures.test_class_sizes or (0, 0)  # a run of an older version: not known
    if smallest == largest or figures.test_balanced_accuracy is None:
        return {}
    classes = f"mean over classes of {smallest:,} to {counted(largest, 'image')}"
    return {"balanced accuracy": f"{percent(figures.test_balanced_accuracy)}  ({classes})"}
