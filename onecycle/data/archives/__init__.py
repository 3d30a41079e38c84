"""Archives of class folders: zip, and tar, also packed by gzip, bzip2 or xz.

Their images are written into a folder in the cache, decoded from there like those of any folder,
and removed. So they have the same pixels, names, splits and fingerprint as the unpacked folder.
"""

from contextlib import closing
from pathlib import Path
from typing import Literal

from onecycle.data.archives import tars, zips
from onecycle.data.archives.members import Damaged, Member
from onecycle.data.archives.unpacking import errors_named, members, unpack
from onecycle.data.folder import walking
from onecycle.progress import SILENT

__all__ = ["Form", "form_of", "holds_images", "unpack"]

Form = Literal["zip", "tar"]


def form_of(path: Path) -> Form | None:
    """The form of an archive, by its first bytes, packed or not; None if it isn't one.

    Raises:
        InputError: the file can't be read.
    """
    with errors_named(path), path.open("rb") as file:
        head = file.read(tars.BLOCK)
        if head[:4] in zips.STARTS:
            return "zip"
        file.seek(0)
        if tars.packing(head):
            try:
                with tars.unpacked(file) as content:
                    head = content.read(tars.BLOCK)
            except (Damaged, *tars.DAMAGE, MemoryError):
                return None
    return "tar" if tars.is_tar(head) else None


def holds_images(path: Path) -> bool:
    """Whether an archive has an image, by the endings of its members; reads up to the first one.

    Raises:
        InputError: as in `unpack`, if it is found before an image.
    """
    with closing(members(path, SILENT)) as found:
        return any(_is_image(member) for member in found)


def _is_image(member: Member) -> bool:
    hidden = any(part.startswith(".") for part in member.parts)
    image = member.parts and walking.ending(member.parts[-1]) in walking.ENDINGS
    return member.kind == "file" and bool(image) and not hidden
