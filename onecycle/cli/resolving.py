"""Resolve the recipe of a call from a name, a file, a run, and flags."""

import os
from pathlib import Path

from onecycle.cli.call import Call
from onecycle.config import Recipe, override, read_recipe
from onecycle.config.declaring import deciding, settings
from onecycle.errors import InputError
from onecycle.recipes import RECIPES, named

IN_A_RUN = "recipe.toml"


def resolved(call: Call) -> Recipe:
    """The recipe of a call: a flag overrides the file, and the file overrides the named recipe.

    Raises:
        InputError: no recipe or file is given, it does not exist, or a value is refused.
    """
    if not call.operand and not call.options.config:
        raise InputError(
            f"which recipe? name one of {', '.join(RECIPES)}, or give a run or file with --config"
        )
    if call.operand.endswith(".toml"):
        raise InputError(f"recipe: '{call.operand}' is a file; give it with --config")
    if call.operand and os.path.isfile(os.path.join(call.operand, IN_A_RUN)):
        raise InputError(
            f"recipe: '{call.operand}' is a run; to train with its recipe, give it with --config; "
            "to go on with it, use onecycle resume"
        )
    recipe = named(call.operand).recipe if call.operand else Recipe()
    if call.options.config:
        recipe = _from_file(call.options.config, recipe, located="data" not in call.given.values)
    if _is_code(call.network or "") and not _is_code(recipe.model):  # the arguments of another
        fields = settings(type(recipe))
        recipe = override(recipe, **{n: fields[n].default for n in deciding(Recipe, "network")})
    recipe = override(recipe, **call.given.values)
    return override(recipe, data=os.path.expanduser(recipe.data))


def _is_code(model: str) -> bool:
    """Whether a network is named as code: `FILE.py:FUNCTION` or `MODULE:FUNCTION`."""
    return ":" in model


def _from_file(config: str, base: Recipe, *, located: bool) -> Recipe:
    """The recipe in a file, or in a run's folder; if `located`, with the images where they are."""
    path = Path(config, IN_A_RUN) if os.path.isdir(config) else Path(config)
    if path != Path(config) and not path.is_file():
        raise InputError(
            f"--config: '{config}' is a folder without {IN_A_RUN}; name a run or a TOML file"
        )
    recipe = read_recipe(path, base=base)
    if not located or path.name != IN_A_RUN or not (path.parent / "environment.json").is_file():
        return recipe
    return override(recipe, data=_located(path.parent, recipe))


def _located(run: Path, recipe: Recipe) -> str:
    """The place of the run's images: the recipe's path, if it leads to them from here."""
    from onecycle.run_dir import RunDir
    from onecycle.run_dir.sources import images_of

    try:
        place = images_of(RunDir(run), recipe)
    except InputError:  # not there; loading them will report it
        return recipe.data
    return recipe.data if os.path.abspath(recipe.data) == place else place
