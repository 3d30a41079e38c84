"""What a sweep searches: for some settings of a recipe, the values that they may take.

A space is a TOML file with a table for each setting:

    [lr_max]
    low = 0.01
    high = 0.5
    log = true

    [optimizer]
    values = ["sgd", "adamw"]

    [momentum]
    low = 0.8
    high = 0.95
    when = { optimizer = "sgd" }
"""

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Protocol

from onecycle.config import Recipe, override
from onecycle.config.declaring import Setting, settings
from onecycle.config.names import unknown_name
from onecycle.errors import InputError
from onecycle.writing.numbers import counted, in_full

Value = bool | int | float | str
Point = Mapping[str, Value]
"""A value for each setting that is in use at this point of the space."""

FIXED = {
    "images": "the trials would be judged on different images",
    "chance": "the best seed is luck; see --final-seeds",
    "record": "it doesn't change the training",
}
"""What can't be searched, by what a setting decides, and why."""

MOST_STEPS = 10**6
"""Most steps between low and high."""

SEARCHABLE_IMAGES = ("image_size", "resize")
"""Settings of the images that leave the choice of the images as it is."""


class Suggesting(Protocol):
    """What chooses the values: the part of `optuna.trial.Trial` that is used here."""

    def suggest_int(self, name: str, low: int, high: int, /, *, step: int, log: bool) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, /, *, step: float | None, log: bool
    ) -> float: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any], /) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """The values that one setting may take: an interval, or a list.

    Attributes:
        name: of the setting.
        whole: whether its numbers are whole.
        low, high: the ends of the interval, both included; not used with `values`.
        step: distance of neighbouring numbers from `low` on; 0: any number (of whole ones: 1).
        log: whether numbers are drawn evenly on a logarithmic scale.
        values: the list; empty: an interval.
        when: the values of other dimensions with which this one is in use; otherwise the recipe's
            value holds.
    """

    name: str
    whole: bool = False
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    log: bool = False
    values: tuple[Value, ...] = ()
    when: Mapping[str, tuple[Value, ...]]

    def is_used(self, point: Point) -> bool:
        """Whether the dimension is in use where the others have the values of `point`."""
        return all(
            name in point and _among(point[name], values) for name, values in self.when.items()
        )

    def holds(self, value: Any) -> bool:
        """Whether `value` is one that the dimension can take."""
        if self.values:
            return _among(value, self.values)
        if not _is_number(value) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0
        return math.isclose(steps, round(steps), abs_tol=1e-9)

    def suggested(self, by: Suggesting) -> Value:
        """A value that `by` chooses."""
        if self.values:
            return by.suggest_categorical(self.name, self.values)
        if self.whole:
            low, high, step = int(self.low), int(self.high), int(self.step) or 1
            return by.suggest_int(self.name, low, high, step=step, log=self.log)
        step = self.step or None
        return by.suggest_float(self.name, self.low, self.high, step=step, log=self.log)


@dataclass(frozen=True)
class Space:
    """The dimensions of a search, in an order in which each follows those it depends on."""

    dimensions: tuple[Dimension, ...]

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dimensions)

    def __len__(self) -> int:
        return len(self.dimensions)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The settings that are searched."""
        return tuple(each.name for each in self.dimensions)

    def suggested(self, by: Suggesting) -> Point:
        """A point whose values `by` chooses, for the dimensions that are in use there."""
        point: dict[str, Value] = {}
        for dimension in self.dimensions:
            if dimension.is_used(point):
                point[dimension.name] = dimension.suggested(by)
        return point

    def is_complete(self, point: Point) -> bool:
        """Whether `point` has a value for each dimension that is in use there."""
        return all(each.name in point for each in self.dimensions if each.is_used(point))

    def nearest_to(self, recipe: Recipe) -> Point:
        """The recipe's own values, as far as the space has them.

        Words such as `auto` and values outside of the space are left out.
        """
        point: dict[str, Value] = {}
        for dimension in self.dimensions:
            value = getattr(recipe, dimension.name)
            if dimension.is_used(point) and dimension.holds(value):
                point[dimension.name] = value
        return point


# ----------------------------------------------------------------------------------------- reading


def read_tables(path: str | Path, recipe: Recipe) -> dict[str, Any]:
    """The tables in the TOML file at `path`, checked against the recipe that they belong to.

    Raises:
        InputError: the file can't be read, or `space_of` refuses what it says.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{path}: can't be read: {reason}") from None
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    try:
        space_of(tables, recipe)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return tables


def read_space(path: str | Path, recipe: Recipe) -> Space:
    """The space that `read_tables` finds at `path`.

    Raises:
        InputError: as of `read_tables`.
    """
    return space_of(read_tables(path, recipe), recipe)


def space_of(tables: Mapping[str, Any], recipe: Recipe) -> Space:
    """The space that `tables` describe, by the names of settings.

    Raises:
        InputError: a setting is unknown or can't be searched, a value is none that it can have, or
            conditions are on what isn't searched or in a circle.
    """
    if not tables:
        raise InputError("no setting to search; write a table such as [weight_decay] for each")
    known = settings(type(recipe))
    for name in tables:
        if name not in known:
            raise InputError(unknown_name("recipe field", name, known))
    found = {name: _dimension(known[name], table) for name, table in tables.items()}
    for dimension in found.values():
        _check_condition(dimension, found)
    try:
        order = TopologicalSorter({n: each.when for n, each in found.items()}).static_order()
        space = Space(tuple(found[name] for name in order))
    except CycleError as error:
        circle = ", ".join(error.args[1][1:])
        raise InputError(f"when: {circle} depend on each other; remove one condition") from None
    for dimension in space:
        _check_with(recipe, dimension)
    return space


KEYS = tuple(f.name for f in fields(Dimension) if f.name not in ("name", "whole"))


def _dimension(setting: Setting, table: Any) -> Dimension:
    name = setting.name
    if not isinstance(table, dict):
        raise InputError(f"{name}: is no table; write [{name}] with low and high, or values")
    if setting.decides in FIXED and name not in SEARCHABLE_IMAGES:
        raise InputError(f"{name}: can't be searched: {FIXED[setting.decides]}")
    if setting.many:
        raise InputError(f"{name}: can't be searched: it is a list of numbers")
    for key in table:
        if key not in KEYS:
            raise InputError(f"{name}: {unknown_name('key', key, KEYS)}")
    when = _condition(name, table.get("when", {}))
    if "values" in table:
        more = [key for key in ("low", "high", "log", "step") if key in table]
        if more:
            raise InputError(f"{name}: give values, or an interval with {more[0]}, not both")
        return Dimension(name=name, values=_values(setting, table["values"]), when=when)
    return _interval(setting, table, when)


def _values(setting: Setting, given: Any) -> tuple[Value, ...]:
    if not isinstance(given, list) or len(given) < 2:
        raise InputError(f"{setting.name}: values: give a list of two or more")
    values = tuple(setting.check(value, f"{setting.name}: values") for value in given)
    for index, value in enumerate(values):
        if _among(value, values[:index]):
            raise InputError(f"{setting.name}: values: {value} is there twice; remove one")
    return values


def _interval(
    setting: Setting, table: Mapping[str, Any], when: Mapping[str, tuple[Value, ...]]
) -> Dimension:
    name = setting.name
    if setting.kind not in (int, float):
        raise InputError(f"{name}: is no number; give values = [...]")
    for key in ("low", "high"):
        if key not in table:
            raise InputError(f"{name}: {key} is missing; give low and high, or values = [...]")
        if not _is_number(table[key]):
            raise InputError(f"{name}: {key}: '{table[key]}' is not a number")
    low, high = (setting.check(table[key], f"{name}: {key}") for key in ("low", "high"))
    if low == high:
        raise InputError(
            f"{name}: low and high are both {in_full(low)}; raise high, or remove the table"
        )
    if not low < high:
        raise InputError(
            f"{name}: low ({in_full(low)}) is not below high ({in_full(high)}); exchange them"
        )
    log = table.get("log", False)
    if type(log) is not bool:
        raise InputError(f"{name}: log: '{log}' is not true or false")
    if log and low <= 0:
        raise InputError(f"{name}: log: needs a low above 0; raise it, or give values = [0, ...]")
    whole = setting.kind is int and (type(low) is type(high) is int)
    if setting.share and type(low) is not type(high):
        raise InputError(f"{name}: low and high are a whole number and a share; give two of a kind")
    step = _step(name, table, whole)
    if log and step:
        raise InputError(f"{name}: step: can't be even on a logarithmic scale; remove step or log")
    return Dimension(name=name, whole=whole, low=low, high=high, step=step, log=log, when=when)


def _step(name: str, table: Mapping[str, Any], whole: bool) -> float:
    step = table.get("step", 0)
    if not _is_number(step) or ("step" in table and not 0 < step < math.inf):
        raise InputError(f"{name}: step: '{step}' is not a number above 0")
    if whole and step != int(step):
        raise InputError(f"{name}: step: {step} is not a whole number, as those of {name} are")
    steps = (table["high"] - table["low"]) / step if step else 0
    if steps > MOST_STEPS:
        raise InputError(f"{name}: step: {in_full(step)} is too small; raise it, or leave it out")
    if not math.isclose(steps, round(steps), abs_tol=1e-9):
        raise InputError(
            f"{name}: step: high is not a whole number of steps of {in_full(step)} above low; "
            "change one"
        )
    return step


def _condition(name: str, given: Any) -> dict[str, tuple[Value, ...]]:
    if not isinstance(given, dict):
        raise InputError(f'{name}: when: is no table; write when = {{ optimizer = "sgd" }}')
    if empty := [other for other, value in given.items() if value == []]:
        raise InputError(f"{name}: when: {empty[0]}: has no values; name one, or leave it out")
    return {
        other: tuple(value) if isinstance(value, list) else (value,)
        for other, value in given.items()
    }


def _check_condition(dimension: Dimension, found: Mapping[str, Dimension]) -> None:
    for other, values in dimension.when.items():
        called = f"{dimension.name}: when: {other}"
        if other not in found or not found[other].values:
            raise InputError(f"{called}: is not searched with values; add a table for it")
        for value in values:
            if not _among(value, found[other].values):
                among = ", ".join(map(str, found[other].values))
                raise InputError(f"{called}: '{value}' is none of its values: {among}")


def _check_with(recipe: Recipe, dimension: Dimension) -> None:
    """Refuse a dimension of which no end fits the other values of the recipe."""
    ends = dimension.values or tuple(
        int(end) if dimension.whole else end for end in (dimension.low, dimension.high)
    )
    refusals = []
    for end in ends:
        try:
            override(recipe, **{dimension.name: end})
        except InputError as error:
            refusals.append(error)
    if len(refusals) == len(ends):
        raise InputError(
            f"no value fits the recipe ({counted(len(ends), 'value')} tried): {refusals[0]}"
        )


def _among(value: Any, values: Sequence[Any]) -> bool:
    """Whether `values` has it; `true` is not 1 here."""
    return any(value == each and (type(value) is bool) == (type(each) is bool) for each in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
