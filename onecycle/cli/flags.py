"""The adapter between the user and tyro: words in, typed values out, one-line errors.

The words are taken apart here, so that every mistake can be named; what a flag's words mean is
left to tyro, by the field's type; whether a recipe's value makes sense, to the recipe itself.
"""

import difflib
import io
import re
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from onecycle.errors import InputError

_NUMBER = re.compile(r"[-+]?(\.?\d|inf\b|nan\b)", re.IGNORECASE)
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags that are no part of a recipe."""

    config: str = ""
    """A run, to train by its recipe, or a TOML file. A flag beats it, and it beats RECIPE."""
    runs: str = "runs"
    """Folder in which the run's own folder is made."""
    threads: int = 0
    """CPU threads; 0: PyTorch's choice."""
    mirror: str = ""
    """Addresses, with commas between them, to fetch CIFAR from instead of the usual ones."""
    no_report: bool = False
    """Draw no plots and write no report.html at the end; `onecycle report` does so later."""
    plot: str = ""
    """PNG file for the plot of the range test."""
    contact_sheet: str = ""
    """PNG file for a picture with a row of example images for each class."""
    markdown: bool = False
    """Print the tables as Markdown."""
    csv: bool = False
    """Print the figures as CSV, a line for each recipe."""
    html: str = ""
    """HTML file for a page with all of it: tables, curves, mistakes."""
    update: str = ""
    """Markdown file whose marked tables are written anew from their runs; see docs/compare.md."""
    check: bool = False
    """With --update: write nothing, and fail if a marked table is not up to date."""
    clean: bool = False
    """Remove what the cache holds, instead; no images are named then."""
    keep_gb: float = 0.0
    """GB that --clean leaves in the cache at the most: what was used last."""
    verify: bool = False
    """Train nothing new: replay what lies between the last two checkpoints; compare each bit."""
    allow_differences: bool = False
    """Go on although recipe, data, torch, threads or CPU differ; the run lists what did."""
    predictions: str = ""
    """File for what the network says of each image: a table (.csv), or arrays (.npz)."""
    ignore_unknown_classes: bool = False
    """Leave images out whose class the run doesn't know, and count them."""
    quiet: bool = False
    """Show no progress: only the result, and errors."""
    print_config: bool = False
    """Print the resolved recipe as TOML; run nothing."""
    json: bool = False
    """Print one JSON object on standard output; all else goes to standard error."""


OPTION_FIELDS = {option.name: option for option in fields(Options)}

METAVARS = {
    "config": "RUN|FILE",
    "contact_sheet": "FILE",
    "html": "FILE",
    "mirror": "URL,...",
    "plot": "FILE",
    "predictions": "FILE",
    "runs": "DIR",
    "update": "FILE",
    "data": "NAME|PATH",
}
"""What stands for the value of text flags that are more than text, in help and in messages."""


@dataclass(frozen=True)
class Words:
    """What a command accepts.

    Attributes:
        command: its name, for messages.
        operand: what the one word beside the flags stands for, e.g. `RECIPE`; empty: there is none.
        types: type of each flag, by field name.
        operand_required: whether the operand must be given.
        many: whether the operand may be several words.
    """

    command: str
    operand: str
    types: Mapping[str, Any]
    operand_required: bool = True
    many: bool = False


@dataclass(frozen=True)
class Given:
    """What the user gave.

    Attributes:
        operands: the words beside the flags: one at most, unless the command takes many.
        values: of each flag given, by field name. A value that does not have its flag's type stays
            text, for whoever knows the field to refuse in its own words.
    """

    operands: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)


def parse(argv: Sequence[str], words: Words) -> Given:
    """What `argv` gives, without the command's name.

    Raises:
        InputError: an unknown or repeated flag, a missing value, a missing or surplus operand.
    """
    waiting = deque(argv)
    operands: list[str] = []
    values: dict[str, Any] = {}
    while waiting:
        word = waiting.popleft()
        if word == "--":
            operands += waiting
            break
        if not _is_flag(word):
            operands.append(word)
            continue
        name, equals, attached = word.partition("=")
        flag, negated = _find(name, words)
        if flag in values:
            raise InputError(f"{spelled(flag)}: given twice; give it once")
        if words.types[flag] is bool:
            values[flag] = _truth(name, negated, attached if equals else None, waiting)
        else:
            texts = [attached] if equals else _texts(flag, words.types[flag], waiting)
            values[flag] = _value(flag, words.types[flag], texts)
    return Given(_operands(operands, words), values)


def spelled(name: str) -> str:
    """The flag of a field: `--lr-max` of `lr_max`."""
    return f"--{name.replace('_', '-')}"


def takes_many(kind: Any) -> bool:
    """Whether a flag of this type takes several values."""
    return any(get_origin(option) is tuple for option in _alternatives(kind))


def kind_in_words(kind: Any) -> str:
    """What to give for a flag of this type, e.g. `a number or auto`."""
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    found = []
    for option in _alternatives(kind):
        if get_origin(option) is Literal:
            found += get_args(option)
        else:
            found.append("numbers" if get_origin(option) is tuple else names[option])
    return " or ".join(found)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_flag(word: str) -> bool:
    """Whether it is meant as a flag. Dashes that a web page or a word processor made count too."""
    return len(word) > 1 and word[0] in "-–—" and not _NUMBER.match(word)


def _find(name: str, words: Words) -> tuple[str, bool]:
    """The field that a flag stands for, and whether it is negated (`--no-…`)."""
    bare = name.lstrip("-–—").replace("-", "_")
    if name.startswith("--"):
        if bare in words.types:
            return bare, False
        positive = bare.removeprefix("no_")
        if words.types.get(positive) is bool:
            return positive, True
    nearest = difflib.get_close_matches(bare, (*words.types, "help"), n=1)
    remedy = f"did you mean '{spelled(nearest[0])}'?" if nearest else f"see {_help(words)}"
    raise InputError(f"unknown flag '{name}'; {remedy}")


def _help(words: Words) -> str:
    return f"onecycle {words.command} --help"


def _truth(name: str, negated: bool, attached: str | None, waiting: deque[str]) -> bool:
    """The value of an on-off flag: alone, with `=true`, or followed by `true` or `false`."""
    if negated:
        if attached is not None:
            raise InputError(f"{name}: takes no value; give it alone")
        return False
    if attached is None and waiting and waiting[0].lower() in _TRUTH:
        attached = waiting.popleft()
    if attached is None:
        return True
    if attached.lower() not in _TRUTH:
        raise InputError(f"{name}: '{attached}' is not true or false; give one of them, or none")
    return _TRUTH[attached.lower()]


def _texts(flag: str, kind: Any, waiting: deque[str]) -> list[str]:
    """The words that belong to a flag."""
    if not waiting or _is_flag(waiting[0]):
        raise InputError(f"{spelled(flag)}: has no value; give {_wanted(flag, kind)}")
    texts = [waiting.popleft()]
    while takes_many(kind) and waiting and _NUMBER.match(waiting[0]):
        texts.append(waiting.popleft())
    return texts


def _wanted(flag: str, kind: Any) -> str:
    return METAVARS.get(flag) or kind_in_words(kind)


def _value(flag: str, kind: Any, texts: list[str]) -> Any:
    """The texts as a value of the type, or as they are if they are none."""
    if takes_many(kind):  # 0.5,0.5,0.5 is understood as 0.5 0.5 0.5
        texts = [part for text in texts for part in text.split(",")]
    if not all(texts):
        raise InputError(f"{spelled(flag)}: is empty; give {_wanted(flag, kind)}")
    if kind is str:
        return texts[0]
    import tyro

    try:
        with redirect_stderr(io.StringIO()):
            return tyro.cli(kind, args=["--", *texts], add_help=False, console_outputs=False)
    except SystemExit:
        return texts[0] if len(texts) == 1 else texts


def _operands(operands: list[str], words: Words) -> tuple[str, ...]:
    """The words that are no flags: one, or many where the command takes them."""
    if not words.operand and operands:
        raise InputError(f"unexpected '{operands[0]}'; {words.command} takes only flags")
    if len(operands) > 1 and not words.many:
        raise InputError(_surplus(operands, words))
    if not operands and words.operand and words.operand_required:
        raise InputError(f"{words.command}: needs {words.operand}; see {_help(words)}")
    if not all(operands):
        raise InputError(f"{words.operand}: is empty; see {_help(words)}")
    return tuple(operands)


def _surplus(operands: list[str], words: Words) -> str:
    """The message for more than one word that is no flag: maybe one lacks its dashes."""
    for word in operands:
        name = word.partition("=")[0].replace("-", "_")
        if name in words.types:
            return f"unexpected '{word}'; did you mean '{spelled(name)}'?"
    return (
        f"unexpected '{operands[1]}'; {words.command} takes one {words.operand}, "
        f"and '{operands[0]}' is it"
    )
