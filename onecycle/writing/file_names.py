"""Names for files and folders, made from text from outside, such as the names of classes.

They are valid on Linux, macOS and Windows, and never lead out of the folder that they are in.
"""

import os
import re
import unicodedata
from collections.abc import Sequence

LONGEST = 255
"""Bytes that a name may have."""

MOST_OF_A_CLASS = 100
"""Characters of a class's name that its folder keeps."""

_UNSAFE = re.compile(r'[/\\:*?"<>|]')

_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever their extension."""


def file_name(text: str) -> str:
    """`text` as the name of one file or folder.

    Slashes and other characters that some system refuses become `_`, as does a dot in front.
    """
    shown = "".join(character if character.isprintable() else "_" for character in text)
    name = _UNSAFE.sub("_", shown).rstrip(" .").lstrip()
    name = f"_{name[1:]}" if name.startswith(".") else name
    name = f"{name}_" if _DEVICES.match(name) else name
    return shortened(name) or "_"


def folder_names(classes: Sequence[str]) -> dict[str, str]:
    """A folder name for each class: its own name as far as that is possible, and all different.

    Names also differ on systems that ignore case or the form of accents. Of two classes whose
    folders would have the same name, one gets a number.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    wanted = {name: file_name(name[:MOST_OF_A_CLASS]) for name in classes}
    for name in sorted(wanted, key=lambda name: wanted[name] != name):
        number, folder = 1, wanted[name]
        while key(folder) in taken:
            number += 1
            folder = numbered(wanted[name], number)
        taken.add(key(folder))
        found[name] = folder
    return found


def numbered(name: str, number: int) -> str:
    """`photo-2.jpg` for the second `photo.jpg`."""
    stem, ending = os.path.splitext(name)
    return shortened(stem, f"-{number}{ending}")


def shortened(stem: str, ending: str = "") -> str:
    """`stem` and `ending`; of a stem that is too long for a file name, the end is left out."""
    while stem and len(os.fsencode(stem + ending)) > LONGEST:
        stem = stem[:-1]
    return stem + ending


def key(name: str) -> str:
    """What is the same for two names that some system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
