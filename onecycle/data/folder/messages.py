"""Parts of messages: quoted names, lists of names, and what a folder had to leave out."""

from collections.abc import Sequence
from pathlib import Path

from onecycle.data.image_set import LeftOut
from onecycle.writing.names import printable

NAMED = 3
"""Most names listed in a message."""


def some(what: str, offenders: Sequence[str], plural: str) -> str:
    """`class 'a'`, or `5 classes ('a', 'b', 'c', …)`."""
    if len(offenders) == 1:
        return f"{what} {quoted(offenders[0])}"
    named = ", ".join(quoted(name) for name in offenders[:NAMED])
    return f"{len(offenders):,} {plural} ({named}{', …' if len(offenders) > NAMED else ''})"


def quoted(name: str | Path) -> str:
    """A printable name in quotation marks."""
    return f"'{printable(str(name))}'"


def left_out_text(left_out: LeftOut) -> str:
    """What was left out, in one line."""
    hidden_files = left_out.hidden_files - left_out.hidden_folders
    counts = (
        (hidden_files, "hidden file", "", ()),
        (left_out.hidden_folders, "hidden folder", "", left_out.hidden_folder_names),
        (left_out.system_entries, "folder or file", " of the system", left_out.system_names),
        (left_out.run_folders, "folder", " of runs", left_out.run_folder_names),
        (left_out.other_files, "other file", "", left_out.other_endings),
        (left_out.dead_links, "dead link", "", ()),
        (left_out.links, "link or device", " in the archive", ()),
        (left_out.repeated_folders, "link", " to a folder of the same class", ()),
        (left_out.stray_images, "image", " outside the class folders", ()),
        (left_out.other_folders, "folder", " next to the splits", left_out.other_folder_names),
    )
    parts = [
        f"{count:,} {one if count == 1 else one.replace(' or', 's or') + 's'}{more}"
        + (f" ({', '.join(names)})" if names else "")
        for count, one, more, names in counts
        if count
    ]
    if names := left_out.unlabelled_folders:
        named = some("folder", names, "folders")
        parts.append(f"{named} without class folders, so without labels")
    if bad := left_out.bad_images:
        names = some("unreadable image", [image.name for image in bad], "unreadable images")
        parts.append(f"{names}: {bad[0].reason}")
    return ", ".join(parts)
