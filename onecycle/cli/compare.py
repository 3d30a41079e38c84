"""`onecycle compare`: tables of runs on the screen, in files, and in documents kept up to date."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onecycle.cli.call import Call, write
from onecycle.config.declaring import spelled
from onecycle.errors import InputError, StaleError
from onecycle.writing.names import printable
from onecycle.writing.numbers import counted

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from onecycle.experiments import Comparison
    from onecycle.experiments.tables import Table

MOST_PAIRS = 15
"""Pairs that the screen shows; of more, those with the first recipe."""
IN_PROSE = ("difference", "verdict")
"""Columns whose cells may take several lines."""
GAP = 3
"""Cells between two columns."""


def compare(call: Call) -> None:
    """Compare runs. JSON: see docs/compare.md."""
    _check_flags(call)
    if call.options.update:
        _update(call)
        return
    page = _place_of_page(call)
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
        call.answer(found, lambda: show(comparison, page))


def _check_flags(call: Call) -> None:
    """Refuse flags that contradict each other.

    Raises:
        InputError: names them.
    """
    options = call.options
    forms = [name for name in ("json", "markdown", "csv") if getattr(options, name)]
    if len(forms) > 1:
        raise InputError(
            f"{spelled(forms[1])}: can't be combined with {spelled(forms[0])}; give one"
        )
    if options.check and not options.update:
        raise InputError("--check: needs --update FILE; give both")
    others = [*forms, *(["html"] if options.html else [])]
    if options.update and others:
        raise InputError(f"--update: writes Markdown into its file; leave out {spelled(others[0])}")
    if not options.update and not call.given.operands:
        raise InputError("compare: needs RUN...; see onecycle compare --help")


def _place_of_page(call: Call) -> Path | None:
    """Where the page is written; never over a Markdown file that was meant for --update.

    Raises:
        InputError: the folder does not exist, or the name does not end in .html or .htm.
    """
    page = call.place("html")
    if page and page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--html: '{page}' is not an HTML file; end its name in .html")
    return page


def _update(call: Call) -> None:
    """Update a file's marked tables; with --check, report whether that would change them."""
    from onecycle.experiments import rewrite

    file = call.options.update
    before, after = rewrite(file, call.given.operands)
    if before == after:
        write(f"{file} is up to date\n")
    elif call.options.check:
        runs, these = ("RUN... ", ", with these runs") if call.given.operands else ("", "")
        remedy = f"update it with: onecycle compare {runs}--update {file}{these}"
        raise StaleError(f"{file}: is out of date; {remedy}")
    else:
        real = Path(file).resolve()  # a link stays one
        mode = real.stat().st_mode
        _write_text(real, after)
        real.chmod(mode)
        write(f"{file} is updated\n")


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


def show(comparison: "Comparison", page: Path | None = None, *, ranked: bool = False) -> None:
    """Recipes, figures, differences, and what has to be known, for a person.

    `ranked`: show a leaderboard in place of the recipes, their figures and all differences.
    """
    from onecycle.cli.screens import console
    from onecycle.experiments import tables

    screen = console()
    screen.print(_line(tables.subject(comparison)), style="bold", soft_wrap=True)
    screen.print()
    if ranked:
        _show_ranks(comparison)
    else:
        _show_figures(comparison)
        if mistakes := tables.mistakes_told(comparison):
            screen.print(_line(mistakes))
    for line in comparison.notes:
        if ranked and line in comparison.test_notes:
            continue  # no test is shown
        screen.print(_line(f"note: {line}"))
    for run in comparison.left_out:
        screen.print(_line(str(run)), soft_wrap=True)
    if page:
        screen.print(f"page: {page}", soft_wrap=True)


def _show_figures(comparison: "Comparison") -> None:
    from onecycle.cli.screens import console
    from onecycle.experiments import tables

    screen, told = console(), tables.recipes(comparison)
    if len(told.headings) > 1:
        _show_table(told)
    _show_table(tables.figures(comparison))
    screen.print(tables.legend(comparison), style="dim")
    screen.print()
    _show_pairs(comparison)


def _show_ranks(comparison: "Comparison") -> None:
    from onecycle.cli.screens import console
    from onecycle.experiments import leaderboard

    _show_table(leaderboard.ranks(comparison))
    console().print(leaderboard.legend(comparison), style="dim")
    console().print()


def _show_pairs(comparison: "Comparison") -> None:
    from onecycle.cli.screens import console
    from onecycle.experiments import tables

    if not comparison.pairs:
        return
    screen, pairs = console(), comparison.pairs
    if len(pairs) > MOST_PAIRS:
        pairs = [pair for pair in pairs if pair.first == comparison.groups[0].letter]
    screen.print("differences in test accuracy", style="bold")
    _show_table(tables.differences(comparison, pairs))
    if hidden := len(comparison.pairs) - len(pairs):
        screen.print(f"and {counted(hidden, 'other pair')}, in --markdown, --html and --json")
        screen.print()


def _show_table(table: "Table") -> None:
    """Print the table as it is if the screen is wide enough, else transposed, else row by row."""
    from onecycle.cli.screens import console

    screen = console()
    for form in (table, table.turned):
        if sum(_widths(form)) + GAP * (len(form.headings) - 1) <= screen.width:
            screen.print(_grid(form))
            screen.print()
            return
    for row in table.rows:
        screen.print(_line(row[0]), style="bold")
        for heading, cell in zip(table.headings[1:], row[1:], strict=True):
            if cell:
                screen.print(_line(f"{heading}: {cell}"))
        screen.print()


def _grid(table: "Table") -> "Grid":
    from rich import box
    from rich.table import Table as Grid

    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    columns = zip(table.headings, table.numbers, _widths(table), strict=True)
    for heading, number, width in columns:
        justify = "right" if number else "left"
        grid.add_column(
            _line(heading), justify=justify, min_width=width, no_wrap=heading not in IN_PROSE
        )
    for row in table.rows:
        grid.add_row(*map(_line, row))
    return grid


def _widths(table: "Table") -> list[int]:
    """The least width of each column: prose may break between words, other cells may not."""
    from rich.cells import cell_len

    columns = zip(table.headings, *(map(_line, row) for row in table.rows), strict=True)
    parts = [
        [word for cell in cells for word in cell.split()] if cells[0] in IN_PROSE else cells
        for cells in columns
    ]
    return [max(map(cell_len, cells)) for cells in parts]


def _line(text: str) -> str:
    """A name from a file as one line that moves no cursor: odd characters become `?`."""
    return printable(text)
