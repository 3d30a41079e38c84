"""Conversion between JSON and declared records, with checks of all field types.

A library such as pydantic would do it too, but it is a compiled package that takes half a second to
import; the code needed here is about a page.
"""

import math
import types
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from onecycle.writing.names import printable

LONGEST_TEXT = 65_536
"""Characters of a text, at the most."""

LONGEST_SHOWN = 40
"""Characters that a message shows of a value."""

LARGEST = 1e100
"""Of a number, so that its square is finite too; a loss in float32 reaches 1e38."""

NULLABLE = {"nullable": True}
"""Metadata of a field that is written as null where it is None, though it has a default."""

Kind = TypeVar("Kind")

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


def to_json(record: Any) -> dict[str, Any]:
    """A record as a JSON object. What is None and not `NULLABLE` is left out."""
    return {
        field.name: _encoded(value)
        for field in fields(record)
        if (value := getattr(record, field.name)) is not None or _is_nullable(field)
    }


def _is_nullable(field: Any) -> bool:
    return field.metadata == NULLABLE or field.default is field.default_factory is MISSING


def _encoded(value: Any) -> Any:
    if is_dataclass(value):
        return to_json(value)
    if isinstance(value, list | tuple):
        return [_encoded(part) for part in value]
    return {k: _encoded(v) for k, v in value.items()} if isinstance(value, dict) else value


def from_json(value: Any, kind: type[Kind], place: str = "") -> Kind:
    """`value` as a `kind`, to which it is held.

    Args:
        value: as the `json` module gives it.
        kind: a type, `list[…]`, `tuple[…]` of a list's items one by one, `dict[str, …]`, a union,
            `Literal`, `Annotated` with `Within`, a dataclass, or a TypedDict. Keys that these don't
            declare may hold anything; a dataclass passes them over. Its `upgraded`, if it has one,
            gets the value first.
        place: what to call it, e.g. `suggestions.valley.lr`.

    Raises:
        Misfit: it is something else, or what a dataclass checks by itself does not hold.
    """
    return cast(Kind, _decoded(value, kind, place))


def _decoded(value: Any, kind: Any, place: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _bounded(value, arguments[0], arguments[1], place)
    if origin in (Union, types.UnionType):
        return _one_of(value, arguments, place)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise _misfit(value, f"one of {', '.join(map(str, arguments))}", place)
        return value
    if is_dataclass(kind) or is_typeddict(kind):
        return _record(value, kind, place)
    if origin in (list, tuple):
        return _sequence(value, origin, arguments, place)
    if origin is dict:
        if not isinstance(value, dict):
            raise _misfit(value, "an object", place)
        for key in value:
            _decoded(key, arguments[0], f"a key of {place}")
        return {k: _decoded(part, arguments[1], _below(place, k)) for k, part in value.items()}
    _check_plain(value, kind, place)
    return value


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


def _bounded(value: Any, kind: Any, bounds: Within, place: str) -> Any:
    _check_plain(value, kind, place)
    if not bounds.low <= value <= bounds.high:
        raise _misfit(value, f"a number {bounds}", place)
    return value


def _one_of(value: Any, kinds: tuple[Any, ...], place: str) -> Any:
    """The value as the kind that fits, else what the first one misses."""
    if value is None and types.NoneType in kinds:
        return None
    first = None
    for kind in kinds:
        try:
            return _decoded(value, kind, place)
        except Misfit as misfit:
            first = first or misfit
    raise first or Misfit(place)


def _sequence(value: Any, origin: Any, kinds: tuple[Any, ...], place: str) -> Any:
    if not isinstance(value, list):
        raise _misfit(value, "a list", place)
    if origin is tuple and len(value) != len(kinds):
        raise Misfit(f"'{printable(place)}' has {len(value)} items, not {len(kinds)}")
    kinds = kinds if origin is tuple else kinds * len(value)
    parts = enumerate(zip(value, kinds, strict=True))
    return origin(_decoded(part, kind, _below(place, str(index))) for index, (part, kind) in parts)


def _record(value: Any, kind: Any, place: str) -> Any:
    """A dataclass, or a TypedDict as it is."""
    value = kind.upgraded(value) if hasattr(kind, "upgraded") else value
    if not isinstance(value, dict):
        raise _misfit(value, "an object", place) if place else Misfit("not an object")
    declared = _declared(kind)
    for key in _required(kind):
        if key not in value:
            raise Misfit(f"'{_below(place, key)}' is missing")
    parts = {
        key: _decoded(value[key], of, _below(place, key))
        for key, of in declared.items()
        if key in value
    }
    return kind(**parts) if is_dataclass(kind) else value  # pyright: ignore[reportCallIssue]


@lru_cache
def _declared(kind: Any) -> dict[str, Any]:
    """The types of a record's fields, whether required or not."""
    hints = get_type_hints(kind, include_extras=True)
    if is_dataclass(kind):
        return {field.name: _given(field, hints[field.name]) for field in fields(kind)}
    marks = (Required, NotRequired)
    return {k: get_args(t)[0] if get_origin(t) in marks else t for k, t in hints.items()}


def _given(field: Any, kind: Any) -> Any:
    """The type of a field where it is there: null stands for nothing that may be left out."""
    if field.default is None and field.metadata != NULLABLE and get_args(kind):
        return Union[tuple(part for part in get_args(kind) if part is not types.NoneType)]  # noqa: UP007
    return kind


@lru_cache
def _required(kind: Any) -> list[str]:
    if not is_dataclass(kind):
        return sorted(kind.__required_keys__)
    return sorted(f.name for f in fields(kind) if f.default is f.default_factory is MISSING)


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
