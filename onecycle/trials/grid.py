"""A grid of settings times seeds as a list of trials, each with a name that stays the same."""

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onecycle.config import Recipe, override
from onecycle.config.declaring import Setting, settings
from onecycle.config.names import unknown_name
from onecycle.errors import InputError
from onecycle.writing.file_names import file_name
from onecycle.writing.numbers import counted, in_full

Grid = Mapping[str, Sequence[Any]]
"""The values of each setting that varies."""

AXIS = "fold"
"""The setting whose values are trained for all others, one at a time or not."""

MOST_TRIALS = 10_000
"""A larger grid is refused: it is likely a mistake."""

LONGEST_NAME = 180
"""Bytes of a trial's name. Files beside its run have the same name with an ending."""

MARK = 6
"""Hexadecimal digits that tell names apart which are not their values, letter by letter."""

TRUTH = {"true": True, "on": True, "false": False, "off": False}


@dataclass(frozen=True)
class Trial:
    """One training of a grid.

    Attributes:
        name: as in `width=0.25,cutout=8,seed=3`; also the name of its run's folder.
        settings: what it has of the grid, by field of the recipe.
        seed: its seed.
        recipe: what it trains.
    """

    name: str
    settings: dict[str, Any]
    seed: int
    recipe: Recipe


def read_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """A word such as `cutout=0,8` as a setting and its values, unchecked.

    Raises:
        InputError: there is no such setting, it can't vary, or a value is missing.
    """
    name, equals, values = text.partition("=")
    name = name.lstrip("-–—").replace("-", "_")
    setting = _setting(name)
    texts = [value.strip() for value in values.split(",")]
    if not equals or not all(texts):
        raise InputError(f"{name}: has an empty value in '{text}'; write {name}=A,B")
    return name, tuple(_read(setting, value) for value in texts)


def read_seeds(text: str, first: int) -> tuple[int, ...]:
    """`5` as the five seeds from `first` on; `0,3,7` as these.

    Raises:
        InputError: it is neither, or a seed is given twice.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and part.isascii() and len(part) < 20 for part in parts):
        raise InputError(f"--seeds: '{text}' is not a number of seeds; give 5, or a list: 0,3,7")
    if len(parts) > 1:
        return checked_seeds([int(part) for part in parts])
    if not 1 <= int(text) <= MOST_TRIALS:
        raise InputError(f"--seeds: {text} is out of range; give a number from 1 to {MOST_TRIALS}")
    return checked_seeds(range(first, first + int(text)))


def checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds, if there are any, each is valid and none is there twice.

    Raises:
        InputError: otherwise.
    """
    found = tuple(settings(Recipe)["seed"].check(seed, "seeds") for seed in seeds)
    if not found:
        raise InputError("seeds: there are none; give at least one")
    if twice := _repeated(found):
        raise InputError(f"seeds: {twice} is given twice; give it once")
    return found


def checked_grid(grid: Grid) -> dict[str, tuple[Any, ...]]:
    """The grid with each value in its setting's own type.

    Raises:
        InputError: an unknown setting, a value that is refused, or one that is there twice.
    """
    found = {}
    for name, values in grid.items():
        setting = _setting(name)
        checked = tuple(setting.check(value) for value in values)
        if not checked:
            raise InputError(f"{name}: has no values; give at least one")
        if twice := _repeated([_spelled(value) for value in checked]):
            raise InputError(f"{name}: {twice} is given twice; give it once")
        found[name] = checked
    return found


def trials_of(
    recipe: Recipe, grid: Grid, seeds: Sequence[int], *, one_at_a_time: bool = False
) -> tuple[Trial, ...]:
    """All trials of a grid, the seeds of the same settings next to each other.

    Args:
        recipe: what all trials have in common.
        grid: the values of each setting that varies.
        seeds: of each combination.
        one_at_a_time: the recipe as it is, and then each value of the grid alone, in place of all
            combinations. All of them are trained on each fold, if the grid has folds.

    Raises:
        InputError: a value, or a combination of values, is refused; the grid is too large.
    """
    checked, seeds = checked_grid(grid), checked_seeds(seeds)
    combined = _one_at_a_time(recipe, checked) if one_at_a_time else [checked]
    count = len(seeds) * sum(math.prod(map(len, each.values())) for each in combined)
    if count > MOST_TRIALS:
        raise InputError(
            f"trials: the grid has {counted(count, 'trial')}, more than {MOST_TRIALS:,}; leave out "
            "some values"
        )
    return tuple(
        _trial(recipe, dict(zip(each, values, strict=True)), seed)
        for each in combined
        for values in itertools.product(*each.values())
        for seed in seeds
    )


def _one_at_a_time(
    recipe: Recipe, grid: dict[str, tuple[Any, ...]]
) -> list[dict[str, tuple[Any, ...]]]:
    """A grid with nothing but the folds, and one for each other setting, without its usual value.

    A value that changes nothing is trained once, by the first of these grids.
    """
    folds = {AXIS: grid[AXIS]} if AXIS in grid else {}
    others = {name: values for name, values in grid.items() if name != AXIS}
    return [folds] + [
        {name: tuple(v for v in values if _changes(recipe, name, v)), **folds}
        for name, values in others.items()
    ]


def _changes(recipe: Recipe, name: str, value: Any) -> bool:
    """Whether the recipe would be another with this value; some settings bring others along."""
    if getattr(recipe, name) != value:
        return True  # whatever it is, it is checked later
    return override(recipe, **{name: value}) != recipe


def _trial(recipe: Recipe, chosen: dict[str, Any], seed: int) -> Trial:
    name = name_of(chosen | {"seed": seed})
    try:
        return Trial(name, chosen, seed, override(recipe, **chosen, seed=seed))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def added_trial(recipe: Recipe, name: str, settings: Mapping[str, Any]) -> Trial:
    """A trial outside of a grid. Its seed is the recipe's, unless the settings have one.

    Raises:
        InputError: a value, or the combination of values, is refused.
    """
    if not name or file_name(name) != name or len(name.encode()) > LONGEST_NAME:
        raise InputError(f"'{name}' can't be the name of a trial's folder")
    try:
        found = override(recipe, **settings)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return Trial(name, {n: v for n, v in settings.items() if n != "seed"}, found.seed, found)


def _setting(name: str) -> Setting:
    """The setting that an axis varies.

    Raises:
        InputError: there is none of that name, or it can't be an axis.
    """
    known = settings(Recipe)
    if name == "seed":
        raise InputError("seed: is no part of the grid; give the seeds with --seeds")
    if name not in known or name == "recipe":
        raise InputError(unknown_name("recipe field", name, known.keys() - {"seed", "recipe"}))
    if known[name].many:
        raise InputError(f"{name}: is a list of numbers, which a grid can't vary; give it once")
    return known[name]


def _read(setting: Setting, text: str) -> Any:
    """A value as its flag would read it."""
    if setting.kind is bool:
        return TRUTH.get(text.lower(), text)
    if setting.name == "model" and ":" in text:
        raise InputError(f"model: '{text}' is code, which a grid can't vary; give it with --model")
    return setting.read([text])


def name_of(chosen: Mapping[str, Any]) -> str:
    """What settings are called, as in `width=0.25,seed=0`: a name for a folder on any system.

    A hash tells apart what such a name can't.
    """
    exact = ",".join(f"{name}={_spelled(value)}" for name, value in chosen.items())
    safe = file_name(exact)
    if safe == exact and len(exact.encode()) <= LONGEST_NAME:
        return exact
    mark = hashlib.sha256(exact.encode("utf-8", "surrogateescape")).hexdigest()[:MARK]
    while len(safe.encode("utf-8", "surrogateescape")) > LONGEST_NAME - MARK - 1:
        safe = safe[:-1]
    return f"{safe}-{mark}"


def _spelled(value: Any) -> str:
    """A value as it would be typed; equal texts are equal values."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return in_full(value)
    return str(value)


def _repeated(values: Sequence[Any]) -> str:
    """The first value that is there twice, as text; empty if none is."""
    return next((str(v) for index, v in enumerate(values) if v in values[:index]), "")
