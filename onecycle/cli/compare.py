"""`onecycle compare`: tables of runs on the screen, in files, and in documents kept up to date."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onecycle.cli.call import Call, write
from onecycle.cli.flags import spelled
from onecycle.errors import InputError, StaleError

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from onecycle.experiments import Comparison
    from onecycle.experiments.tables import Table

MOST_PAIRS = 15
"""Pairs that the screen shows; of more, those with the first recipe."""


def compare(call: Call) -> None:
    """Compare runs. JSON: see docs/compare.md."""
    _check_flags(call)
    if call.options.update:
        _update(call)
        return
    page = call.place("html")
    from onecycle.experiments import compare

    comparison = compare(call.given.operands)
    if page:
        _write_page(comparison, page)
    found = comparison.to_json() | ({"html": str(page)} if page else {})
    if call.options.markdown:
        write(comparison.to_markdown())
    elif call.options.csv:
        write(comparison.to_csv())
        _tell(comparison)
    else:
        call.answer(found, lambda: _show(comparison, page))


def _check_flags(call: Call) -> None:
    """Refuse flags that contradict each other.

    Raises:
        InputError: names them.
    """
    options = call.options
    forms = [name for name in ("json", "markdown", "csv") if getattr(options, name)]
    if len(forms) > 1:
        raise InputError(f"{spelled(forms[1])}: goes not with {spelled(forms[0])}; give one")
    if options.check and not options.update:
        raise InputError("--check: says what --update FILE would change; give both")
    others = [*forms, *(["html"] if options.html else [])]
    if options.update and others:
        raise InputError(
            f"--update: writes Markdown into its file; leave {spelled(others[0])} away"
        )
    if not options.update and not call.given.operands:
        raise InputError("compare: needs RUN...; see onecycle compare --help")


def _update(call: Call) -> None:
    """Write a file's marked tables anew, or say whether that would change them."""
    from onecycle.experiments import rewrite

    file = call.options.update
    before, after = rewrite(file, call.given.operands)
    if before == after:
        write(f"{file} is up to date\n")
    elif call.options.check:
        raise StaleError(f"{file}: is stale; write it anew with: onecycle compare --update {file}")
    else:
        _write_text(Path(file), after)
        write(f"{file} is written anew\n")


def _write_page(comparison: "Comparison", path: Path) -> None:
    from onecycle.experiments import to_html

    _write_text(path, to_html(comparison))


def _write_text(path: Path, text: str) -> None:
    from onecycle.run_dir import write_atomically

    write_atomically(path, text.encode("utf-8", "replace"))


def _tell(comparison: "Comparison") -> None:
    """On standard error what the printed form has no room for."""
    for line in (*comparison.notes, *map(str, comparison.left_out)):
        sys.stderr.write(f"note: {_line(line)}\n")


# ------------------------------------------------------------------------------------- the screen


def _show(comparison: "Comparison", page: Path | None) -> None:
    """Recipes, figures, differences, and what has to be known, for a person."""
    from onecycle.cli.screens import console
    from onecycle.experiments import tables

    screen = console()
    screen.print(_line(tables.subject(comparison)), style="bold", soft_wrap=True)
    screen.print()
    told = tables.recipes(comparison)
    if len(told.headings) > 1:
        screen.print(_grid(told))
        screen.print()
    screen.print(_grid(tables.figures(comparison)))
    screen.print()
    screen.print(tables.legend(comparison), style="dim")
    screen.print()
    _show_pairs(comparison)
    if mistakes := tables.mistakes_told(comparison):
        screen.print(mistakes)
    for line in comparison.notes:
        screen.print(_line(f"note: {line}"))
    for run in comparison.left_out:
        screen.print(_line(str(run)), soft_wrap=True)
    if page:
        screen.print(f"page: {page}", soft_wrap=True)


def _show_pairs(comparison: "Comparison") -> None:
    from onecycle.cli.screens import console
    from onecycle.experiments import tables

    if not comparison.pairs:
        return
    screen, pairs = console(), comparison.pairs
    if len(pairs) > MOST_PAIRS:
        pairs = [pair for pair in pairs if pair.first == comparison.groups[0].letter]
    screen.print("differences in test accuracy", style="bold")
    screen.print(_grid(tables.differences(comparison, pairs)))
    if hidden := len(comparison.pairs) - len(pairs):
        screen.print(f"and {hidden} other pairs: --markdown, --html and --json have them")
    screen.print()


def _grid(table: "Table") -> "Grid":
    from rich import box
    from rich.table import Table as Grid

    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading, number in zip(table.headings, table.numbers, strict=True):
        grid.add_column(heading, justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*map(_line, row))
    return grid


def _line(text: str) -> str:
    """A name from a file as one line that moves no cursor: odd characters become `?`."""
    return "".join(character if character.isprintable() else "?" for character in text)
