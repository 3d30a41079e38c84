"""`onecycle compare`: tables of runs on the screen, in files, and in documents kept up to date."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from onecycle.cli.call import Call, write
from onecycle.config.declaring import spelled
from onecycle.errors import InputError, StaleError
from onecycle.writing.names import printable
from onecycle.writing.numbers import counted
from onecycle.writing.outputs import check_output

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from onecycle.experiments import Comparison
    from onecycle.experiments.tables import Table

MOST_PAIRS = 15
"""Pairs that the screen shows; of more, those with the first recipe."""
IN_PROSE = ("difference", "verdict")
"""Columns whose cells may take several lines."""
MOST_NAMED = 3
"""Runs that a remedy names again."""
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
    from onecycle.experiments.columns import read_columns

    options = call.options
    columns = read_columns(options.columns)
    comparison = compare(call.given.operands, baseline=options.baseline, columns=columns)
    if page:
        _write_page(comparison, page)
    found = comparison.to_json() | ({"html": str(page)} if page else {})
    if options.markdown:
        write(comparison.to_markdown())
    elif options.csv:
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
    if options.update and (options.baseline or options.columns) and not call.given.operands:
        flag = "--baseline" if options.baseline else "--columns"
        raise InputError(
            f"{flag}: with --update it needs RUN... too; or write {flag.lstrip('-')}=… into the "
            "table's comment"
        )
    lost = ["columns"] if options.columns else []
    lost += ["baseline"] if options.baseline and options.csv else []
    for form in ("csv", "json"):
        if lost and getattr(options, form):
            raise InputError(
                f"--{lost[-1]}: has no effect on --{form}, which has all figures; leave one out"
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
    from onecycle.experiments.columns import read_columns
    from onecycle.experiments.marked import Marking

    options, file = call.options, call.options.update
    place = Path(file)
    check_output("--update", place.resolve() if place.is_symlink() else place)  # a link is followed
    asked = Marking(options.baseline, read_columns(options.columns))
    before, after = rewrite(file, call.given.operands, asked)
    if before == after:
        write(f"{file} is up to date\n")
    elif options.check:
        runs = call.given.operands
        words = ["compare", *(runs if len(runs) <= MOST_NAMED else [])]
        for flag, value in (("--baseline", options.baseline), ("--columns", options.columns)):
            words += [flag, value] if value else []
        these = ", with these runs" if len(runs) > MOST_NAMED else ""
        remedy = f"update it with: onecycle {shlex.join([*words, '--update', file])}{these}"
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
    from onecycle.experiments import columns, tables

    screen, told = console(), tables.recipes(comparison)
    if len(told.headings) > 1:
        _show_table(told)
    _show_table(tables.figures(comparison))
    screen.print(columns.legend(comparison), style="dim")
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
    if len(pairs) > MOST_PAIRS and comparison.baseline is None:
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
        room = screen.width - GAP * (len(form.headings) - 1)
        if sum(_least_widths(form)) <= room:
            screen.print(_grid(form, room))
            screen.print()
            return
    for row in table.rows:
        screen.print(_line(row[0]), style="bold")
        for heading, cell in zip(table.headings[1:], row[1:], strict=True):
            if cell:
                screen.print(_line(f"{heading}: {cell}"))
        screen.print()


def _grid(table: "Table", room: int) -> "Grid":
    """The table in columns that take `room` cells at most, without the gaps."""
    from rich import box
    from rich.table import Table as Grid

    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    columns = zip(table.headings, table.numbers, _column_widths(table, room), strict=True)
    for heading, number, width in columns:
        grid.add_column(_line(heading), justify="right" if number else "left", width=width)
    for row in table.rows:
        grid.add_row(*map(_line, row))
    return grid


def _column_widths(table: "Table", room: int) -> list[int]:
    """The width of each column: what it needs, and then the narrowest prose gets of the rest."""
    from rich.cells import cell_len

    widths = _least_widths(table)
    most = [max(map(cell_len, cells)) for cells in _columns(table)]
    for _ in range(room - sum(widths)):
        folded = [place for place, width in enumerate(widths) if width < most[place]]
        if not folded:
            break
        widths[min(folded, key=widths.__getitem__)] += 1
    return widths


def _least_widths(table: "Table") -> list[int]:
    """The least width of each column: prose may break between words, other cells may not."""
    from rich.cells import cell_len

    parts = [
        [word for cell in cells for word in cell.split()] if cells[0] in IN_PROSE else cells
        for cells in _columns(table)
    ]
    return [max(map(cell_len, cells)) for cells in parts]


def _columns(table: "Table") -> list[list[str]]:
    """The cells of each column as they are shown, its heading first."""
    columns = zip(table.headings, *table.rows, strict=True)
    return [[_line(cell) for cell in cells] for cells in columns]


def _line(text: str) -> str:
    """A name from a file as one line that moves no cursor: odd characters become `?`."""
    return printable(text)
