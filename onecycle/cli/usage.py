"""Help: the page of all commands, and each command's own, drawn from the declared settings."""

import textwrap
from collections.abc import Mapping
from typing import Any

from onecycle.cli.command import Command
from onecycle.cli.flags import Words
from onecycle.config.declaring import Setting
from onecycle.writing.numbers import in_full

COMMON, OTHER = "common", "other"
"""The first and the last group, where some flags are common: those, and other options."""

INDENT = 22
"""Column at which the text of a flag begins; a longer flag has a line of its own."""

PAGE = 80
"""Columns of help that goes to a file or a pipe."""


def overview(summaries: Mapping[str, tuple[str, str]]) -> str:
    """The page of all commands, given `{name: (operand, summary)}`."""
    rows = {f"{name} {operand}": summary for name, (operand, summary) in summaries.items()}
    rows |= {
        "": "",
        "-h, --help": "this page; after a command: its flags",
        "--version": "the version",
    }
    width = max(map(len, rows)) + 2
    lines = (f"  {name:<{width}}{told}".rstrip() for name, told in rows.items())
    return "\n".join((_ABOUT, *lines, "", "start with:  onecycle train demo", ""))


_ABOUT = """\
usage: onecycle COMMAND [flags]

Train image classifiers the fast way: find the learning rate, train with the
one-cycle policy, look at the mistakes.
"""


def show(words: Words, summary: str, command: Command) -> None:
    """Print a command's help.

    Args:
        words: what the command accepts; the defaults of its flags are shown.
        summary: what it does.
        command: its `told`, which explains the operand; its `examples`; its `common` flags, which
            come first.
    """
    from rich.panel import Panel
    from rich.text import Text

    from onecycle.cli import screens

    screen = screens.console(PAGE)
    operand = f"[{words.operand}]" if not words.operand_required else words.operand
    usage = " ".join(filter(None, ("usage: onecycle", words.command, operand, "[flags]")))
    screen.print(f"{usage}\n\n{summary}\n{_examples(command)}", soft_wrap=True)
    for title, rows in _groups(words, command).items():
        text = Text()
        for head, about in rows:
            text.append(head, "bold").append(f"{_beside(head, about, screen.width - 4)}\n")
        text.rstrip()
        screen.print(Panel(text, title=f"{title}".strip(), title_align="left"))


def _examples(command: Command) -> str:
    """The command's examples, and a line about the order of the flags; empty without examples.

    They are never folded, so that they can be copied.
    """
    if not command.examples:
        return ""
    lines = "".join(f"  onecycle {example}\n" for example in command.examples)
    common = "\nThe common flags come first. All others follow, grouped by subject.\n"
    return f"\nexamples:\n{lines}{common if command.common else ''}"


def _groups(words: Words, command: Command) -> dict[str, list[tuple[str, str]]]:
    """The rows under each title, a flag and what it means; other options come last if some do."""
    groups: dict[str, list[tuple[str, str]]] = {}
    if words.operand:
        groups["positional arguments"] = [(words.operand, command.told[words.operand])]
    options = f"{OTHER} options" if command.common else "options"
    last = [("-h, --help", "Show this help and exit.")]
    if not command.common:
        groups[options] = last
    for name in dict.fromkeys((*command.common, *words.flags)):
        setting = words.flags[name]
        group = COMMON if name in command.common else setting.group
        rows = groups.setdefault(f"{group} options", []) if group else last
        rows.append((_head(setting), f"{setting.help}{_default(setting)}"))
    return groups | {options: last}


def _head(setting: Setting) -> str:
    """The flag with what stands for its value; of an on-off setting of a recipe both flags."""
    if setting.kind is bool:
        negated = f", --no-{setting.flag.removeprefix('--')}" if setting.group else ""
        return f"{setting.flag}{negated}"
    return f"{setting.flag} {setting.metavar or _metavar(setting)}"


def _metavar(setting: Setting) -> str:
    if setting.kind is str:
        return "|".join(setting.words) or "TEXT"
    if setting.many:
        return "|".join(("X...", *setting.words))
    number = setting.unit.upper() or {int: "N", float: "X"}[setting.kind]
    return "|".join((number, *(("SHARE",) if setting.share else ()), *setting.words))


def _default(setting: Setting) -> str:
    """A default in brackets, as it would be typed; empty for an option's 0 or off."""
    value = setting.default
    if value in (None, "") or not (setting.group or value):
        return ""
    return f" [{_typed(value)}]"


def _typed(value: Any) -> str:
    """A value as it would be typed; on or off for a flag that takes no value."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(in_full, value))
    return in_full(value) if isinstance(value, float) else str(value)


def _beside(head: str, about: str, width: int) -> str:
    """The text, folded to the right of the flag, or below a flag that is too long."""
    indent = min(INDENT, width // 3)
    lines = textwrap.wrap(about, max(width - indent, 1), break_on_hyphens=False)
    if len(head) > indent - 2:
        return "".join(f"\n{' ' * indent}{line}" for line in lines)
    return " " * (indent - len(head)) + f"\n{' ' * indent}".join(lines)
