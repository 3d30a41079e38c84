"""Prose of the result files in lines that can be read."""

import textwrap

LONGEST = 120
AS_THEY_ARE = "|", "    ", "![", "#", "<!--"
"""How lines begin that are no prose: of tables, code, pictures, headings and comments."""


def wrapped(markdown: str) -> str:
    """The same Markdown, its lines of prose broken after 120 characters."""
    return "\n".join(
        line if line.startswith(AS_THEY_ARE) or len(line) <= LONGEST else _broken(line)
        for line in markdown.split("\n")
    )


def _broken(line: str) -> str:
    return textwrap.fill(
        line,
        LONGEST,
        subsequent_indent="  " if line.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
