"""One declaration for each setting: its values, its meaning and what it decides.

A class of settings is a dataclass whose fields are made by `setting`. Flags, help, TOML, checks,
resuming and comparing read the declarations through `settings`.
"""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from onecycle.config.names import unknown_name
from onecycle.errors import InputError

Decides = Literal["training", "network", "images", "statistics", "rates", "chance", "record"]
"""What a setting decides: how the network is trained; which arguments it is built with; which
images there are; how their channels are normalised; which rates a range test finds; random
draws; only the record."""

KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
"""The types of settings, and what a message calls them."""

Value = TypeVar("Value")


def spelled(name: str) -> str:
    """The flag of a setting: `--lr-max` of `lr_max`."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known about a setting. The first five follow from its field and its annotation.

    Attributes:
        name: of its field.
        kind: int, float, bool or str; of a list, that of its numbers.
        many: whether it is a list of numbers, one for each `unit`.
        share: whether a share in (0, 1) may stand for the whole number: how much of what the
            recipe is used on (`sizes.resolve_shares`).
        words: its choices; for a number, the words that may stand in its place.
        default: its value where none is given.
        help: what it means, in one line.
        group: the heading that it stands under in the help; empty: none.
        unit: what a number counts or measures, in the plural; of a list, in the singular.
        metavar: what stands for its value in the help, where that is not the kind or the unit.
        path: whether it is a path, so that `~` is the home directory.
        ge, gt, le, lt: bounds of a number: greater or equal, greater, less or equal, less. It has a
            lower one; without an upper one it may be any finite number.
        decides: see `Decides`; `compare` chooses by it what to show.
        changes_bits: whether a run that is resumed with another value may give other bits.
    """

    name: str
    kind: type
    many: bool
    share: bool
    words: tuple[str, ...]
    default: Any
    help: str
    group: str
    unit: str = ""
    metavar: str = ""
    path: bool = False
    ge: float | None = None
    gt: float = -math.inf
    le: float | None = None
    lt: float = math.inf
    decides: Decides = "training"
    changes_bits: bool = True

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return spelled(self.name)

    @property
    def wanted(self) -> str:
        """What to give, e.g. `a number or auto`."""
        if self.kind is str and self.words:
            return " or ".join(self.words)
        share = ("a share such as 0.125",) if self.share else ()
        return " or ".join(("numbers" if self.many else KINDS[self.kind], *share, *self.words))

    def read(self, texts: Sequence[str]) -> Any:
        """The value of the words of a command line; the words themselves if they are not a value.

        A `~` is the home directory. A shell expands it only at the beginning of a word, not in
        `--data=~/photos`.
        """
        if self.path:
            return os.path.expanduser(texts[0])
        try:
            if self.many:
                return tuple(map(self.kind, texts))
            return self.kind(texts[0])
        except ValueError:
            if self.share and _is_number(share := _float_of(texts[0])):
                return share
            return texts[0] if len(texts) == 1 else list(texts)

    def check(self, value: Any, called: str = "") -> Any:
        """The value in the setting's own type: a whole number may stand for a float.

        Args:
            value: as it was given.
            called: the setting's name in messages; empty: that of its field.

        Raises:
            InputError: it is of another kind, or out of range.
        """
        called = called or self.name
        if value in self.words:
            return value
        if self.many:
            return self._list(value, called)
        if self.share and type(value) is float:
            return self._share(value, called)
        if self.kind is float:
            value = self._float(value, called)
        elif type(value) is not self.kind:
            remedy = f"; give one, or {self.words[0]}" if self.kind is int and self.words else ""
            remedy = f"; give {self.wanted}" if self.share else remedy
            raise InputError(f"{called}: '{value}' is not {KINDS[self.kind]}{remedy}")
        if self.kind is str and self.words:
            raise InputError(unknown_name(called, value, self.words))
        if self.kind in (int, float) and not self._is_within(value):
            raise InputError(f"{called}: {value} is out of range; {self._range}")
        return value

    def _float(self, value: Any, called: str) -> float:
        if not _is_number(value):
            raise InputError(f"{called}: '{value}' is not a number; give {self.wanted}")
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"{called}: has too many digits; give a number below 1e308") from None

    def _share(self, value: float, called: str) -> int | float:
        """A share in (0, 1). 0.0 is 0; 1.0 could be one or all, and is neither."""
        if value == 0:
            return 0
        if not 0 < value < 1:
            raise InputError(
                f"{called}: {value} is not a share between 0 and 1; give {self.wanted}"
            )
        return value

    def _list(self, value: Any, called: str) -> tuple[float, ...]:
        numbers = value if isinstance(value, list | tuple) else ()
        if not numbers or not all(_is_number(v) and self._is_within(v) for v in numbers):
            raise InputError(
                f"{called}: '{value}' is not a list of numbers in {self._interval}, "
                f"one per {self.unit}"
            )
        return tuple(map(float, numbers))

    def _is_within(self, number: float) -> bool:
        """Whether it is within the bounds; NaN is not."""
        above = number > self.gt if self.ge is None else number >= self.ge
        below = number < self.lt if self.le is None else number <= self.le
        return above and below

    @property
    def _range(self) -> str:
        lower = f"more than {self.gt:g}" if self.ge is None else f"at least {self.ge:g}"
        if self.le is not None:
            return f"give a number {lower} and at most {_plain(self.le)}"
        if math.isinf(self.lt):
            return f"give a finite number {lower}"
        return f"give a number {lower} and less than {self.lt}"

    @property
    def _interval(self) -> str:
        low = f"({self.gt:g}" if self.ge is None else f"[{self.ge:g}"
        high = f"{self.lt:g})" if self.le is None else f"{self.le:g}]"
        return f"{low}, {high}"


def _plain(number: float) -> str:
    """A bound as a reader would write it: `1000000`, not `1000000.0`."""
    return str(int(number) if number == int(number) else number)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _float_of(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def setting(default: Value, **declared: Any) -> Value:
    """A field of a class of settings: all that is known about it besides its name and annotation.

    The annotation is `int`, `float`, `bool`, `str`, or a `Literal` of choices; or `int`, `float` or
    `tuple[float, ...]` in a union with a `Literal` of the words that may stand in their place.
    `int | float` is a whole number, or a share in (0, 1).

    Args:
        default: its value where none is given.
        declared: `help`, `group` and other attributes of `Setting`. A mistake in them is an error
            of `settings`, and so of the import.
    """
    return dataclasses.field(default=default, metadata={"setting": declared})


@cache
def settings(kind: type) -> Mapping[str, Setting]:
    """The settings that a class declares, by name, in their order.

    Raises:
        TypeError: a field says too little, or has a type that no setting can have.
        InputError: a default is not what its own declaration allows.
    """
    annotations = get_type_hints(kind)
    return {f.name: _setting(f, annotations[f.name]) for f in dataclasses.fields(kind)}


def deciding(kind: type, *what: Decides) -> tuple[str, ...]:
    """The settings of a class that decide one of these."""
    return tuple(name for name, each in settings(kind).items() if each.decides in what)


def _setting(field: dataclasses.Field[Any], annotation: Any) -> Setting:
    declared = field.metadata.get("setting")
    if declared is None:
        raise TypeError(f"{field.name}: is not declared; write: {field.name}: … = setting(…)")
    known = {"name": field.name} | _understood(field.name, annotation)
    try:
        found = Setting(**known, default=field.default, **declared)
    except TypeError as error:
        raise TypeError(f"{field.name}: {error}") from None
    for mistake, made in _mistakes(found).items():
        if made:
            raise TypeError(f"{field.name}: {mistake}")
    found.check(found.default)
    return found


def _mistakes(found: Setting) -> dict[str, bool]:
    """What a declaration may lack or contradict, and whether it does."""
    bounded_below = found.ge is not None or math.isfinite(found.gt)
    return {
        "has no help; say in one line what it means": not found.help,
        "has no lower bound; give ge or gt": found.kind in (int, float) and not bounded_below,
        "has two lower bounds; give ge or gt": found.ge is not None and math.isfinite(found.gt),
        "has two upper bounds; give le or lt": found.le is not None and math.isfinite(found.lt),
        "is a list; say by its unit what each number is for": found.many and not found.unit,
        f"decides '{found.decides}'; see Decides": found.decides not in get_args(Decides),
    }


def _understood(name: str, annotation: Any) -> dict[str, Any]:
    """What the annotation says: `kind`, `many`, `share` and `words` of a setting."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    words = tuple(word for part in parts if get_origin(part) is Literal for word in get_args(part))
    others = [part for part in parts if get_origin(part) is not Literal]
    if words and not others:
        return {"kind": str, "many": False, "share": False, "words": words}
    many, share = others == [tuple[float, ...]], others == [int, float]
    kind = float if many else others[0]
    if (len(others) > 1 and not share) or kind not in KINDS or (words and kind in (bool, str)):
        raise TypeError(f"{name}: no setting can be {annotation}; see onecycle.config.setting")
    return {"kind": kind, "many": many, "share": share, "words": words}
