"""Help: the page of all commands, and each command's own, which tyro draws from the fields."""

import ast
import inspect
import io
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import field, make_dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin

from onecycle.cli.flags import METAVARS, OPTION_FIELDS, Options, Words, takes_many
from onecycle.config import FIELDS, Recipe

_Member = tuple[str, Any, Any]  # name, type, field: what make_dataclass takes

FIRST_OF_GROUP = {
    "data": "data",
    "model": "network",
    "epochs": "cycle",
    "optimizer": "optimizer",
    "crop_padding": "transforms",
    "lr_start": "range test",
    "precision": "machine",
}
"""The field of `Recipe` with which each group of flags begins in the help."""

COMMON, OTHER = "common", "other"
"""The first and the last group, where some flags are common: those, and other options."""


def overview(summaries: Mapping[str, tuple[str, str]]) -> str:
    """The page of all commands, given `{name: (operand, summary)}`."""
    rows = {f"{name} {operand}": summary for name, (operand, summary) in summaries.items()}
    rows |= {"": "", "-h, --help": "this page; of a command: its flags", "--version": "the version"}
    width = max(map(len, rows)) + 2
    lines = (f"  {name:<{width}}{told}".rstrip() for name, told in rows.items())
    return "\n".join((_ABOUT, *lines, "", "start with:  onecycle train demo", ""))


_ABOUT = """\
usage: onecycle COMMAND [flags]

Train image classifiers the fast way: find the learning rate, train with the
one-cycle policy, look at the mistakes.
"""


class Explained(Protocol):
    """What a command says of itself: see `onecycle.cli.commands.Command`."""

    @property
    def told(self) -> Mapping[str, str]: ...
    @property
    def examples(self) -> tuple[str, ...]: ...
    @property
    def common(self) -> tuple[str, ...]: ...


def show(words: Words, summary: str, command: Explained, base: Recipe) -> None:
    """Print a command's help.

    Args:
        words: what the command accepts.
        summary: what it does.
        command: its `told`: help for the operand, by its own name, and for flags that mean
            something else here than in a recipe; its `examples`; its `common` flags.
        base: the recipe whose values are shown as defaults.
    """
    import tyro

    captured = _Captured()
    with suppress(SystemExit), redirect_stdout(captured):
        tyro.cli(_page(words, command, base), description=summary, args=["--help"])
    _, _, explanation = captured.text().partition("\n\n")  # after tyro's own usage line
    operand = f"[{words.operand}]" if not words.operand_required else words.operand
    usage = " ".join(filter(None, ("usage: onecycle", words.command, operand, "[flags]")))
    about, _, flags = explanation.partition("\n\n")
    sys.stdout.write(f"{usage}\n\n{about}\n{_examples(command)}\n{flags}")


def _examples(command: Explained) -> str:
    """The command's examples, and what the first flags below them are; empty where there are none.

    They are plain text: to be copied, and never folded.
    """
    if not command.examples:
        return ""
    lines = "".join(f"  onecycle {example}\n" for example in command.examples)
    common = "\nThe flags that people use come first. All others follow, by what they are about.\n"
    return f"\nexamples:\n{lines}{common if command.common else ''}"


class _Captured(io.TextIOWrapper):
    """Keeps what is written, and is a terminal if standard output is one that shows colours."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        super().__init__(self._bytes, sys.stdout.encoding or "utf-8", "replace", write_through=True)

    def isatty(self) -> bool:
        return self._coloured

    def text(self) -> str:
        return self._bytes.getvalue().decode(self.encoding)


def _page(words: Words, command: Explained, base: Recipe) -> type:
    """A class whose fields are the command's operand and flags, grouped, for tyro to describe.

    Where some flags are common, they are the first group, and other options the last.
    """
    from tyro.conf import OmitArgPrefixes, Positional, arg

    told = command.told
    top: list[_Member] = []
    if words.operand:
        mark = arg(metavar=words.operand, help=told[words.operand], help_behavior_hint="")
        top.append(("operand", Positional[Annotated[str, mark]], field(default="")))
    documented = documentation(Options) | documentation(Recipe)

    def described(name: str) -> _Member:
        if name in OPTION_FIELDS:
            kind, default = OPTION_FIELDS[name].type, OPTION_FIELDS[name].default
        else:
            kind, default = FIELDS[name].type, "" if name in told else getattr(base, name)
        return _member(name, kind, told.get(name, documented[name]), default)

    groups: dict[str, list[_Member]] = {}
    for name in (*command.common, *_rest(words, command)):
        groups.setdefault(_group_of(name, command), []).append(described(name))
    top += groups.pop("", [])
    for title, members in sorted(groups.items(), key=lambda group: group[0] == OTHER):
        kind = make_dataclass("Group", members)
        kind.__doc__ = " "  # else tyro shows the generated signature
        name = title.replace(" ", "_")
        top.append((name, OmitArgPrefixes[kind], field(default_factory=kind)))
    return make_dataclass("Page", top)


def _rest(words: Words, command: Explained) -> list[str]:
    """The flags that are not common, options first, each kind in the order of its declaration."""
    names = (*OPTION_FIELDS, *FIELDS)
    return [name for name in names if name in words.types and name not in command.common]


def _group_of(name: str, command: Explained) -> str:
    """The title over a flag; empty for those that stand beside --help."""
    if name in command.common:
        return COMMON
    if name in OPTION_FIELDS:
        return OTHER if command.common else ""
    before = list(FIELDS)[: list(FIELDS).index(name) + 1]
    titles = [FIRST_OF_GROUP[each] for each in before if each in FIRST_OF_GROUP]
    return titles[-1] if titles else OTHER if command.common else ""


def _member(name: str, kind: Any, told: str, default: Any) -> _Member:
    """One flag as a field that tyro can describe, its default in brackets after the text."""
    from tyro.conf import FlagCreatePairsOff, arg

    nothing = "" if name in FIELDS else 0  # an option's 0 or off goes without saying
    mark = arg(
        metavar=METAVARS.get(name) or _metavar(kind),
        help=told,
        help_behavior_hint="" if default in ("", nothing) else f"[{_typed(default)}]",
    )
    annotated = Annotated[kind, mark]
    if name in OPTION_FIELDS:
        annotated = FlagCreatePairsOff[annotated]
    return name, annotated, field(default=default)


def _metavar(kind: Any) -> str | None:
    names = {int: "N", float: "X", str: "TEXT", bool: None}
    if kind in names:
        return names[kind]
    if get_origin(kind) is Literal:
        return "|".join(get_args(kind))
    if takes_many(kind):
        return "X...|auto"
    return "|".join(("X", *get_args(next(o for o in get_args(kind) if o is not float))))


def _typed(value: Any) -> str:
    """A default as it would be typed; on or off for a flag that takes no value."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(f"{number:g}" for number in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def documentation(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, by the field's name."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        named.target.id: told.value.value
        for named, told in pairwise(tree.body)
        if isinstance(named, ast.AnnAssign)
        and isinstance(named.target, ast.Name)
        and isinstance(told, ast.Expr)
        and isinstance(told.value, ast.Constant)
        and isinstance(told.value.value, str)
    }
