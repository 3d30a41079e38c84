"""`onecycle sweep`: a search for better settings, shown while it runs and summed up at the end."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onecycle.cli.call import Call, write
from onecycle.cli.options import Options
from onecycle.cli.resolving import resolved
from onecycle.cli.trials import carried_out
from onecycle.config import Recipe, to_toml
from onecycle.errors import InputError
from onecycle.writing.numbers import counted, duration, percent

if TYPE_CHECKING:
    from rich.table import Table

    from onecycle.sweep import Sweep
    from onecycle.sweep.record import Asked


def sweep(call: Call) -> None:
    """Search. JSON: see docs/sweep.md."""
    before = _of_folder(call)
    recipe, space = (before.base(), before.space) if before else _asked(call)
    if call.options.print_config:
        call.answer({"recipe": asdict(recipe), "space": space}, lambda: write(to_toml(recipe)))
        return
    from onecycle.cli.board import shown
    from onecycle.sweep import search

    how = carried_out(call)
    with shown(sys.stderr, quiet=call.options.quiet) as board:
        found = search(recipe, space, **_wishes(call, before), **how, listener=board)
    call.answer(found.to_json(), lambda: _show(found))


def _asked(call: Call) -> tuple[Recipe, dict[str, Any]]:
    """The recipe and the space that are given.

    Raises:
        InputError: one is missing or refused.
    """
    from onecycle.sweep.space import read_tables

    if not call.options.space:
        raise InputError("--space: is missing; give a TOML file with the settings to search")
    changes = {n: v for n, v in call.given.values.items() if n != "model"}
    if not (call.operand or changes or call.options.config):
        raise InputError("which recipe? name one, see onecycle recipes; or go on with --into DIR")
    recipe = resolved(call)
    return recipe, read_tables(call.options.space, recipe)


def _of_folder(call: Call) -> "Asked | None":
    """What the sweep of --into was asked for; None if a recipe is given.

    Raises:
        InputError: there is none, or it is asked for other settings too.
    """
    from onecycle.sweep import record

    changes = {n: v for n, v in call.given.values.items() if n != "model"}
    if call.operand or changes or call.options.config or call.options.space:
        return None
    into = Path(call.options.into)
    found = record.read(into) if call.options.into and into.is_dir() else None
    if found is None and call.options.into:
        raise InputError(
            f"--into: '{into}' is not the folder of a sweep; name a recipe and --space"
        )
    return found


def _wishes(call: Call, before: "Asked | None") -> dict[str, Any]:
    """How long to search and where to keep it: as given, else as before."""
    options = call.options
    given = {
        "trials": options.trials or None,
        "minutes": options.minutes or None,
        "final_seeds": options.final_seeds,
        "pruning": options.pruning,
        "storage": options.storage,
        "study": options.study,
    }
    if before is None:
        return given
    if not (options.trials or options.minutes):
        given |= {"trials": before.trials, "minutes": before.minutes}
    kept = {
        name: getattr(before, name)
        for name in ("final_seeds", "pruning", "study")
        if getattr(options, name) == getattr(Options(), name)
    }
    return given | kept | {"storage": options.storage or before.storage}


def _show(found: "Sweep") -> None:
    """The best settings, the comparison on the test split, and where everything is."""
    from onecycle.cli import screens
    from onecycle.cli.compare import show

    screen = screens.console()
    if found.best:
        screens.print_table(_settings(found))
        screen.print()
    if found.comparison:
        show(found.comparison)
        screen.print()
    screen.print(found.verdict, style="bold")
    screen.print()
    pairs = {"folder": str(found.folder)}
    if found.baseline is not None:
        pairs["recipe"] = f"{percent(found.baseline)} val"
    if found.best and found.best.accuracy is not None:
        whose = f"trial {found.best.number}; too high, as it is the best of many"
        whose = "the recipe itself" if found.best.is_recipe else whose
        pairs["best"] = f"{percent(found.best.accuracy)} val ({whose})"
    if found.winner and found.found_better:
        pairs["settings"] = f"onecycle train --config {found.folder / 'best.toml'}"
    pairs["time"] = f"{duration(found.seconds)} of training in all trials"
    pairs["page"] = f"open {found.page}"
    states = [f"{counted(len(found.tried), 'trial')}"]
    states += [f"{count} {s}" for s in ("pruned", "failed") if (count := found.count(s))]
    screens.print_pairs(", ".join(states), pairs)


def _settings(found: "Sweep") -> "Table":
    """A row for each setting: the recipe's value, the best one, and how much it matters."""
    from onecycle.cli import screens
    from onecycle.sweep import page

    table = screens.new_table("setting", "recipe", "best trial", "importance", numbers=3)
    for name, before, best, _ in page.settings(found).rows:
        share = found.importances.get(name)
        table.add_row(name, before, best, "" if share is None else f"{100 * share:.0f} %")
    return table
