"""The commands that work on a recipe without training it: list, summarize, test the rates."""

from collections.abc import Callable
from dataclasses import asdict

from onecycle.cli.call import Call, with_listed, write
from onecycle.cli.resolving import resolved
from onecycle.config import Recipe, to_toml
from onecycle.recipes import RECIPES


def on_a_recipe(work: Callable[[Call, Recipe], None]) -> Callable[[Call], None]:
    """A command that works on a recipe, or prints it if asked to."""

    def command(call: Call) -> None:
        recipe = resolved(call)
        if call.options.print_config:
            call.answer(asdict(recipe), lambda: write(to_toml(recipe)))
        else:
            work(call, recipe)

    return command


def recipes(call: Call) -> None:
    """List the named recipes. JSON: `recipes`, each with its fields and its evidence."""
    rows = [{"name": name} | asdict(entry) for name, entry in RECIPES.items()]

    def show() -> None:
        from onecycle.cli import screens

        screens.recipes(rows)

    call.answer({"recipes": rows}, show)


def summary(call: Call, recipe: Recipe) -> None:
    """Describe the network. JSON: `parameters`, `macs`, `layers`."""
    from onecycle.cli import screens
    from onecycle.training import describe

    found = asdict(describe(recipe, network=call.network))
    call.answer(found, lambda: screens.summary(f"{recipe.model} ({recipe.recipe})", found))


def find_lr(call: Call, recipe: Recipe) -> None:
    """Run the range test. JSON: `lr_min`, `lr_max`, `suggestions`, `curve` and more."""
    plot = call.place("plot", with_listed(recipe.data, recipe.init_from), picture=True)
    with call.progress() as progress:
        from onecycle.cli import screens
        from onecycle.training import find_lr

        finding = find_lr(
            recipe, network=call.network, threads=call.options.threads, progress=progress
        )
    if plot:
        from onecycle import pictures, plots

        plots.save(pictures.range_test(finding), plot)
    found = finding.to_json()
    call.answer(found, lambda: screens.found_rates(found, call.options.plot))
