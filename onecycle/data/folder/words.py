"""Names and what is wrong with them, in messages of one line."""

from collections.abc import Sequence
from pathlib import Path

from onecycle.data.image_set import LeftOut

NAMED = 3
"""Offenders named in a message."""


def some(what: str, offenders: Sequence[str], plural: str) -> str:
    """`class 'a'`, or `5 classes ('a', 'b', 'c', …)`."""
    if len(offenders) == 1:
        return f"{what} {quoted(offenders[0])}"
    named = ", ".join(quoted(name) for name in offenders[:NAMED])
    return f"{len(offenders):,} {plural} ({named}{', …' if len(offenders) > NAMED else ''})"


def quoted(name: str | Path) -> str:
    """A name in quotation marks."""
    return f"'{printable(str(name))}'"


def printable(text: str) -> str:
    """`text` on one line: line breaks, control characters and stray bytes as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def in_words(left_out: LeftOut) -> str:
    """What was left out, in one line."""
    kinds = f" ({', '.join(left_out.other_endings)})" if left_out.other_endings else ""
    counts = (
        (left_out.hidden_files, "hidden file", "hidden files", ""),
        (left_out.other_files, "other file", "other files", kinds),
        (left_out.dead_links, "dead link", "dead links", ""),
        (left_out.repeated_folders, "link", "links", " to a folder of the same class"),
        (left_out.stray_images, "image", "images", " outside the class folders"),
        (left_out.other_folders, "folder", "folders", " beside train and test"),
    )
    parts = [
        f"{count:,} {one if count == 1 else several}{more}"
        for count, one, several, more in counts
        if count
    ]
    if bad := left_out.bad_images:
        names = some("unreadable image", [image.name for image in bad], "unreadable images")
        parts.append(f"{names}: {bad[0].reason}")
    return f"data: left out: {', '.join(parts)}"
