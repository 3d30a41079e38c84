"""`onecycle trials`: a grid of trainings, shown while they run and compared at the end."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onecycle.cli.call import Call, write
from onecycle.cli.flags import Given
from onecycle.cli.resolving import resolved
from onecycle.config import Recipe, to_toml
from onecycle.errors import InputError, TrainingError
from onecycle.writing.names import printable
from onecycle.writing.numbers import counted, percent

if TYPE_CHECKING:
    from rich.table import Table

    from onecycle.trials import CrossValidation, Trials

SEEDS = "3"
"""Given in place of --seeds. With fewer, a difference between recipes can't be told from chance.
With folds it is one, as each fold is a training."""


@dataclass(frozen=True)
class _Asked:
    """The trials that are asked for, as `run` takes them."""

    recipe: Recipe
    grid: dict[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    one_at_a_time: bool


def trials(call: Call) -> None:
    """Train a grid. JSON: see docs/trials.md.

    Raises:
        TrainingError: a trial failed; the others are shown first.
    """
    asked = _asked(call)
    if call.options.print_config:
        _print(call, asked)
        return
    from onecycle.cli.board import shown
    from onecycle.trials import run

    how, reports = carried_out(call), call.options.reports
    with shown(sys.stderr, quiet=call.options.quiet) as board:
        found = run(
            asked.recipe,
            asked.grid,
            seeds=asked.seeds,
            one_at_a_time=asked.one_at_a_time,
            reports=reports,
            **how,
            listener=board,
        )
    call.answer(found.to_json(), lambda: _show(found))
    if found.failed:
        raise TrainingError(_told(found))


def carried_out(call: Call) -> dict[str, Any]:
    """How and where trainings are carried out, as `run` and `search` of this package take it.

    Raises:
        InputError: an option is refused.
    """
    from onecycle.trials.jobs import wanted
    from onecycle.trials.slurm_engine import read_options

    options = call.options
    return {
        "network": call.network,
        "into": options.into,
        "jobs": wanted(options.jobs),
        "threads": options.threads,
        "engine": options.engine,
        "address": options.address,
        "slurm": read_options(options.slurm),
        "command": call.command_line,
    }


def is_trials(path: str) -> bool:
    """Whether it is a folder of trials, and not a run."""
    from onecycle.trials.manifest import Manifest

    try:
        folder = Path(path)
        return (folder / Manifest.FILE).is_file() and not (folder / "recipe.toml").is_file()
    except (OSError, ValueError):
        return False


def report_folds(call: Call) -> None:
    """Write the pages on the mistakes of all folds again, in a folder of trials.

    JSON: `folder`, and `cross_validations` as that of `trials`.
    """
    from onecycle.trials.joining import joined_again

    folder = Path(call.operand)
    found = joined_again(folder)
    call.answer(
        {"folder": call.operand, "cross_validations": [each.to_json() for each in found]},
        lambda: write("".join(f"{each.report}\n" for each in found)),
    )


def _asked(call: Call) -> _Asked:
    """The recipe, the grid and the seeds: as given, or those of the folder to go on with.

    Raises:
        InputError: neither is given, or a value is refused.
    """
    from onecycle.trials.folds import across_folds
    from onecycle.trials.grid import checked_grid, read_axis, read_seeds

    names = [word for word in call.given.operands if "=" not in word]
    axes = [word for word in call.given.operands if "=" in word]
    if len(names) > 1:
        raise InputError(
            f"unexpected '{names[1]}'; trials takes one RECIPE, and '{names[0]}' is it; write the "
            "settings that vary as FIELD=A,B"
        )
    changes = {n: v for n, v in call.given.values.items() if n != "model"}
    if not (names or axes or changes or call.options.config or call.options.seeds):
        return _of_folder(call)
    recipe = resolved(replace(call, given=Given(tuple(names), call.given.values)))
    grid: dict[str, tuple[Any, ...]] = {}
    for name, values in map(read_axis, axes):
        if name in grid:
            raise InputError(f"{name}: is given twice; give all its values at once")
        if name in call.given.values:
            raise InputError(f"{name}: is given as a flag and in the grid; give it once")
        grid[name] = values
    seeds = read_seeds(call.options.seeds or ("1" if recipe.folds else SEEDS), recipe.seed)
    recipe, folded = across_folds(recipe, grid, chosen="fold" in call.given.values)
    return _Asked(recipe, checked_grid(folded), seeds, call.options.one_at_a_time)


def _of_folder(call: Call) -> _Asked:
    """What the folder of --into has.

    Raises:
        InputError: there is none, or its trials are those of a sweep.
    """
    from onecycle.trials import manifest

    into = Path(call.options.into)
    found = manifest.read(into) if call.options.into and into.is_dir() else None
    if found is None:
        raise InputError(
            f"--into: '{into}' is not a folder of trials; name a recipe to begin one"
            if call.options.into
            else "which recipe? name one, see onecycle recipes; or go on with --into DIR"
        )
    if not found.seeds:
        raise InputError(
            f"--into: the trials in '{into}' have no seeds, like those of a sweep; go on with: "
            f"{shlex.join(['onecycle', 'sweep', '--into', str(into.absolute().parent)])}"
        )
    grid = {name: tuple(values) for name, values in found.grid.items()}
    alone = found.one_at_a_time or call.options.one_at_a_time
    return _Asked(found.base(), grid, tuple(found.seeds), alone)


def _print(call: Call, asked: _Asked) -> None:
    """The recipe that all trials have in common, and the names of the trials."""
    from onecycle.trials.grid import trials_of

    found = trials_of(asked.recipe, asked.grid, asked.seeds, one_at_a_time=asked.one_at_a_time)
    names = [trial.name for trial in found]
    comments = "".join(f"# {name}\n" for name in names)
    call.answer(
        {"recipe": asdict(asked.recipe), "trials": names},
        lambda: write(f"{to_toml(asked.recipe)}\n# {counted(len(names), 'trial')}:\n{comments}"),
    )


def _show(found: "Trials") -> None:
    """The comparison, what was drawn, and where everything is."""
    from onecycle.cli import screens
    from onecycle.cli.compare import show
    from onecycle.experiments.leaderboard import MOST_IN_PAIRS

    screen = screens.console()
    if found.comparison:
        show(found.comparison, ranked=len(found.comparison.groups) > MOST_IN_PAIRS)
        screen.print()
    if found.cross_validations:
        screens.print_table(_cross_validations(found.cross_validations))
        screen.print()
    for trial in found.failed:
        screen.print(f"failed: {trial.name}: {printable(trial.message)}", soft_wrap=True)
    pairs = {"folder": str(found.folder), "reports": found.drawn.why}
    for name in found.drawn.names[:3]:
        pairs[f"report {len(pairs) - 1}"] = f"open {found.folder / name / 'report.html'}"
    if more := found.drawn.names[3:]:
        pairs["and"] = counted(len(more), "other")
    if found.cross_validations:
        crossed = found.cross_validations
        pages = [each.report for each in crossed if each.report]
        if pages:
            pairs["mistakes"] = f"open {pages[0]}{_more(pages)}"
        pairs["predictions"] = f"{crossed[0].predictions}{_more(crossed)}"
    if found.comparison:
        pairs["compare"] = shlex.join(["onecycle", "compare", str(found.folder)])
    done = len(found.trials) - len(found.failed)
    screens.print_pairs(f"{counted(done, 'trial')} of {len(found.trials)} finished", pairs)


def _more(files: Sequence[object]) -> str:
    """How many there are besides the first."""
    return f" and {len(files) - 1} more" if files[1:] else ""


def _cross_validations(found: Sequence["CrossValidation"]) -> "Table":
    """A row for each combination and seed."""
    from onecycle.cli import screens
    from onecycle.trials.grid import name_of

    table = screens.new_table(
        "cross-validation", "images", "accuracy %", "95 % interval", "lowest fold", "highest",
        numbers=5,
    )  # fmt: skip
    seeds = {each.seed for each in found}
    for each in found:
        low, high = each.interval
        named = each.settings | ({"seed": each.seed} if len(seeds) > 1 else {})
        table.add_row(
            name_of(named) if named else "all folds",
            f"{each.images:,}",
            percent(each.accuracy, unit=""),
            f"{percent(low, unit='')} to {percent(high, unit='')}",
            percent(min(each.by_fold), unit=""),
            percent(max(each.by_fold), unit=""),
        )
    return table


def _told(found: "Trials") -> str:
    """How many failed, and how to try them again.

    A run that has its result.json counts as finished, however damaged it is.
    """
    from onecycle.trials.driver import command_to_go_on
    from onecycle.trials.folder import TrialsFolder

    place, failed, first = TrialsFolder(found.folder), found.failed, found.failed[0]
    remedy = f"try again with: {command_to_go_on(place, found.network)}"
    if place.finished(first.name):
        remedy = f"if you can't mend it, remove '{first.run}', and {remedy}"
    return (
        f"{counted(len(failed), 'trial')} of {len(found.trials)} failed ({first.name}: "
        f"{first.message}); {remedy}"
    )
