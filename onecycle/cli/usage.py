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
from typing import Annotated, Any, Literal, get_args, get_origin

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


def show(words: Words, summary: str, told: Mapping[str, str], base: Recipe) -> None:
    """Print a command's help.

    Args:
        words: what the command accepts.
        summary: what it does.
        told: help for the operand, by its own name, and for flags that mean something else here
            than in a recipe.
        base: the recipe whose values are shown as defaults.
    """
    import tyro

    captured = _Captured()
    with suppress(SystemExit), redirect_stdout(captured):
        tyro.cli(_page(words, told, base), description=summary, args=["--help"])
    _, _, explanation = captured.text().partition("\n\n")  # after tyro's own usage line
    operand = f"[{words.operand}]" if not words.operand_required else words.operand
    usage = " ".join(filter(None, ("usage: onecycle", words.command, operand, "[flags]")))
    sys.stdout.write(f"{usage}\n\n{explanation}")


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


def _page(words: Words, told: Mapping[str, str], base: Recipe) -> type:
    """A class whose fields are the command's operand and flags, grouped, for tyro to describe."""
    from tyro.conf import OmitArgPrefixes, Positional, arg

    top: list[_Member] = []
    if words.operand:
        mark = arg(metavar=words.operand, help=told[words.operand], help_behavior_hint="")
        top.append(("operand", Positional[Annotated[str, mark]], field(default="")))
    documented = documentation(Options) | documentation(Recipe)
    top += [
        _member(name, option.type, told.get(name, documented[name]), option.default)
        for name, option in OPTION_FIELDS.items()
        if name in words.types
    ]
    groups: dict[str, list[_Member]] = {"": top}
    title = ""
    for name in FIELDS:
        title = FIRST_OF_GROUP.get(name, title)
        if name in words.types:
            default = "" if name in told else getattr(base, name)
            member = _member(name, FIELDS[name].type, told.get(name, documented[name]), default)
            groups.setdefault(title, []).append(member)
    for title, members in groups.items():
        if title:
            kind = make_dataclass("Group", members)
            kind.__doc__ = " "  # else tyro shows the generated signature
            name = title.replace(" ", "_")
            top.append((name, OmitArgPrefixes[kind], field(default_factory=kind)))
    return make_dataclass("Page", top)


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
