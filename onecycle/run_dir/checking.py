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
"""Maximum length of a text, in characters."""

LONGEST_SHOWN = 40
"""Maximum length of a value in a message, in characters."""

LARGEST = 1e100
"""Largest number, so that its square is finite too. A loss in float32 reaches 1e38."""

NULLABLE = {"nullable": True}
"""Metadata of a field that is written as null if it is None, although it has a default."""

Kind = TypeVar("Kind")

WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
"""The name of each type in messages."""


class Misfit(ValueError):
    """A value that does not fit its declaration. The message names its key and the reason."""


@dataclass(frozen=True)
class Within:
    """Bounds of a number, both included."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}" if self.high < 2**53 else f"from {self.low:g}"


def to_json(record: Any) -> dict[str, Any]:
    """A record as a JSON object. A field that is None is left out unless it is `NULLABLE`."""
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
    """Convert `value` to a `kind`, and check it.

    Args:
        value: from the `json` module.
        kind: a type, `list[…]`, `tuple[…]` of a list's items one by one, `dict[str, …]`, a union,
            `Literal`, `Annotated` with `Within`, a dataclass, or a TypedDict. Keys that are not
            declared may hold anything, and a dataclass ignores them. If it has a method `upgraded`,
            that converts the value first.
        place: its name in messages, e.g. `suggestions.valley.lr`.

    Raises:
        Misfit: it is something else, or a dataclass's own check fails.
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
    """`float`, `int`, `bool`, `str`, `None` or `Any`. A whole number is allowed as a float."""
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
    """Whether a number is finite, also for whole numbers beyond the range of floats."""
    return -LARGEST < value < LARGEST and math.isfinite(value)


def _bounded(value: Any, kind: Any, bounds: Within, place: str) -> Any:
    _check_plain(value, kind, place)
    if not bounds.low <= value <= bounds.high:
        raise _misfit(value, f"a number {bounds}", place)
    return value


def _one_of(value: Any, kinds: tuple[Any, ...], place: str) -> Any:
    """The value as the first kind that fits. If none does, the error of the first."""
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
    """A dataclass, or a TypedDict unchanged."""
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
    """The types of a record's fields, required or not."""
    hints = get_type_hints(kind, include_extras=True)
    if is_dataclass(kind):
        return {field.name: _given(field, hints[field.name]) for field in fields(kind)}
    marks = (Required, NotRequired)
    return {k: get_args(t)[0] if get_origin(t) in marks else t for k, t in hints.items()}


def _given(field: Any, kind: Any) -> Any:
    """The type of a field that is present. For an optional field, null is not a value."""
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
    """A value as a short text."""
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
