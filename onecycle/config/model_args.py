"""The text of `model_args`: further arguments of a network, `depth=3,act=gelu`."""

import math
import re
from collections.abc import Mapping

from onecycle.errors import InputError
from onecycle.writing.names import printable

Argument = bool | int | float | str

_INTEGER = re.compile(r"[-+]?\d{1,18}")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d{1,3})?", re.IGNORECASE)
_TRUTH = {"true": True, "false": False}

LONGEST = 4096
"""Most characters of the text."""


def parsed(text: str) -> dict[str, Argument]:
    """The arguments by name, in the order of their names.

    A value is a whole number, a number, true or false; anything else is text.

    Raises:
        InputError: a part is no `name=value`, a name is not one of Python's or is given twice, or a
            value has control characters.
    """
    if len(text) > LONGEST:
        raise InputError(f"model_args: has more than {LONGEST:,} characters; shorten it")
    found: dict[str, Argument] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(
                f"model_args: '{printable(part)}' has no value; write name=value, separated by "
                "commas"
            )
        if not name.isidentifier():
            raise InputError(f"model_args: '{printable(name)}' can't be the name of an argument")
        if name in found:
            raise InputError(f"model_args: '{name}' is given twice; leave out one of them")
        if not value.isprintable():
            raise InputError(f"model_args: the value of '{name}' has control characters")
        found[name] = _value(value)
    return dict(sorted(found.items()))


def written(arguments: Mapping[str, Argument]) -> str:
    """The text of arguments, in the order of their names; `parsed` reads it back equal."""
    return ",".join(f"{name}={_text(value)}" for name, value in sorted(arguments.items()))


def _value(text: str) -> Argument:
    if text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _text(value: Argument) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
