"""Is a value from a file what its declaration says? Declarations are the types of `typing`.

A library such as pydantic would do it too, at the price of a compiled package that imports for half
a second; what is asked for here is a page.
"""

import math
import types
from dataclasses import dataclass
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from onecycle.printable import printable

LONGEST_TEXT = 65_536
"""Characters of a text, at the most."""

LONGEST_SHOWN = 40
"""Characters that a message shows of a value."""

LARGEST = 1e100
"""Of a number, so that its square is finite too; a loss in float32 reaches 1e38."""

WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
"""What a message calls a type."""


class Misfit(ValueError):
    """A value that is not what its declaration says; the message names its key and says why."""


@dataclass(frozen=True)
class Within:
    """Bounds of a number, both allowed."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}" if self.high < 2**53 else f"from {self.low:g}"


def check(value: Any, kind: Any, place: str = "") -> None:
    """Hold `value` to `kind`.

    Args:
        value: as the `json` module gives it.
        kind: a type, `list[…]`, `tuple[…]` of a list's items one by one, `dict[str, …]`, a union,
            `Literal`, `Annotated` with `Within`, or a TypedDict, whose undeclared keys may hold
            anything.
        place: what to call it, e.g. `suggestions.valley.lr`.

    Raises:
        Misfit: it is something else.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        _check_bounds(value, arguments[0], arguments[1], place)
    elif origin in (Union, types.UnionType):
        _check_union(value, arguments, place)
    elif origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise _misfit(value, f"one of {', '.join(map(str, arguments))}", place)
    elif is_typeddict(kind):
        _check_record(value, kind, place)
    elif origin in (list, tuple):
        _check_list(value, origin, arguments, place)
    elif origin is dict:
        if not isinstance(value, dict):
            raise _misfit(value, "an object", place)
        for key, part in value.items():
            check(key, arguments[0], f"a key of {place}")
            check(part, arguments[1], _below(place, key))
    else:
        _check_plain(value, kind, place)


def _check_plain(value: Any, kind: Any, place: str) -> None:
    """`float`, `int`, `bool`, `str`, `None` or `Any`; a whole number may stand for a float."""
    if kind is Any:
        return
    allowed: Any = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise _misfit(value, WORDS.get(kind, "null"), place)
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise Misfit(f"'{printable(place)}' is a text of {len(value):,} characters")
    elif kind is float and not _is_finite(value):
        raise _misfit(value, "a finite number", place)
    elif kind is int and not -(2**63) <= value < 2**63:
        raise _misfit(value, "a whole number of 64 bits", place)


def _is_finite(value: float) -> bool:
    """Also of whole numbers beyond the range of floats."""
    return -LARGEST < value < LARGEST and math.isfinite(value)


def _check_bounds(value: Any, kind: Any, bounds: Within, place: str) -> None:
    check(value, kind, place)
    if not bounds.low <= value <= bounds.high:
        raise _misfit(value, f"a number {bounds}", place)


def _check_union(value: Any, kinds: tuple[Any, ...], place: str) -> None:
    """The kind that fits, else what the first one misses."""
    if value is None and types.NoneType in kinds:
        return
    first = None
    for kind in kinds:
        try:
            check(value, kind, place)
        except Misfit as misfit:
            first = first or misfit
        else:
            return
    raise first or Misfit(place)


def _check_list(value: Any, origin: Any, kinds: tuple[Any, ...], place: str) -> None:
    if not isinstance(value, list):
        raise _misfit(value, "a list", place)
    if origin is tuple and len(value) != len(kinds):
        raise Misfit(f"'{printable(place)}' has {len(value)} items, not {len(kinds)}")
    kinds = kinds if origin is tuple else kinds * len(value)
    for index, (part, kind) in enumerate(zip(value, kinds, strict=True)):
        check(part, kind, _below(place, str(index)))


def _check_record(value: Any, kind: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise _misfit(value, "an object", place) if place else Misfit("not an object")
    declared = _declared(kind)
    for key in sorted(kind.__required_keys__ - value.keys()):
        raise Misfit(f"'{_below(place, key)}' is missing")
    for key, part in value.items():
        if key in declared:
            check(part, declared[key], _below(place, key))


@lru_cache
def _declared(kind: Any) -> dict[str, Any]:
    """The types of a TypedDict's keys, whether required or not."""
    hints = get_type_hints(kind, include_extras=True)
    marks = (Required, NotRequired)
    return {k: get_args(t)[0] if get_origin(t) in marks else t for k, t in hints.items()}


def _below(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _misfit(value: Any, wanted: str, place: str) -> Misfit:
    return Misfit(f"'{printable(place)}' is {_shown(value)}, not {wanted}")


def _shown(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return f"'{printable(_cut(value))}'"
    if isinstance(value, int) and abs(value) >= 10**LONGEST_SHOWN:
        return "a number of many digits"  # Python writes none of more than 4,300
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
