"""The words of a command line as typed values. Every mistake is named in one line.

A setting declares what its flag means, and its class checks the value. Why no library does this
job: docs/architecture.md, "Settings".
"""

import difflib
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onecycle.config.declaring import Setting
from onecycle.errors import InputError

_NUMBER = re.compile(r"[-+]?(\.?\d|inf\b|nan\b)", re.IGNORECASE)
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Words:
    """What a command accepts.

    Attributes:
        command: its name, for messages.
        operand: placeholder for the word that is not a flag, e.g. `RECIPE`; empty: there is none.
        flags: the setting of each flag, by name.
        operand_required: whether the operand must be given.
        many: whether the operand may be several words.
    """

    command: str
    operand: str
    flags: Mapping[str, Setting]
    operand_required: bool = True
    many: bool = False


@dataclass(frozen=True)
class Given:
    """What the user gave.

    Attributes:
        operands: the words that are not flags: at most one, unless the command takes many.
        values: the value of each flag given, by field name. A value that does not have its flag's
            type stays text; the class of the setting refuses it.
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
        setting, negated = _find(name, words)
        if setting.name in values:
            raise InputError(f"{setting.flag}: is given twice; give it once")
        if setting.kind is bool:
            value = _truth(name, negated, attached if equals else None, waiting)
        else:
            value = _value(setting, [attached] if equals else _texts(setting, waiting))
        values[setting.name] = value
    return Given(_operands(operands, words), values)


def _is_flag(word: str) -> bool:
    """Whether it is meant as a flag. Dashes that a web page or a word processor made count too."""
    return len(word) > 1 and word[0] in "-–—" and not _NUMBER.match(word)


def _find(name: str, words: Words) -> tuple[Setting, bool]:
    """The setting that a flag stands for, and whether it is negated (`--no-…`)."""
    bare = name.lstrip("-–—").replace("-", "_")
    if name.startswith("--"):
        if bare in words.flags:
            return words.flags[bare], False
        positive = words.flags.get(bare.removeprefix("no_"))
        if positive and positive.kind is bool:
            return positive, True
    known = {name: setting.flag for name, setting in words.flags.items()} | {"help": "--help"}
    nearest = difflib.get_close_matches(bare, known, n=1)
    remedy = f"did you mean '{known[nearest[0]]}'?" if nearest else f"see {_help(words)}"
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
        raise InputError(
            f"{name}: '{attached}' is not true or false; give one of them, or no value"
        )
    return _TRUTH[attached.lower()]


def _texts(setting: Setting, waiting: deque[str]) -> list[str]:
    """The words that belong to a flag: one, or for a list all numbers that follow."""
    if not waiting or _is_flag(waiting[0]):
        raise InputError(f"{setting.flag}: has no value; give {_wanted(setting)}")
    texts = [waiting.popleft()]
    while setting.many and waiting and _NUMBER.match(waiting[0]):
        texts.append(waiting.popleft())
    return texts


def _value(setting: Setting, texts: list[str]) -> Any:
    """The texts as the setting reads them."""
    if setting.many:  # 0.5,0.5,0.5 is understood as 0.5 0.5 0.5
        texts = [part for text in texts for part in text.split(",")]
    if not all(texts):
        raise InputError(f"{setting.flag}: is empty; give {_wanted(setting)}")
    return setting.read(texts)


def _wanted(setting: Setting) -> str:
    return setting.metavar or setting.wanted


def _operands(operands: list[str], words: Words) -> tuple[str, ...]:
    """The words that are not flags: one, or several if the command takes them."""
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
    """The message for a surplus operand: perhaps it is a flag without its dashes."""
    for word in operands:
        name = word.partition("=")[0].replace("-", "_")
        if name in words.flags:
            return f"unexpected '{word}'; did you mean '{words.flags[name].flag}'?"
    return (
        f"unexpected '{operands[1]}'; {words.command} takes one {words.operand}, "
        f"and '{operands[0]}' is it"
    )
