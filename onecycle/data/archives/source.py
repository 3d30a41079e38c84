"""An archive of class folders as a source of images."""

from dataclasses import replace
from pathlib import Path

from onecycle.data import cache
from onecycle.data.archives.unpacking import unpack
from onecycle.data.folder import kept, listing
from onecycle.data.folder.listing import Listing
from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.writing.names import printable


class ArchiveSource:
    """The images in an archive.

    Args:
        path: of the archive.
        form: `zip` or `tar`.
    """

    def __init__(self, path: Path, form: str) -> None:
        self._path = path
        self.form = f"{form} archive of class folders"

    def files(self) -> list[Path]:
        return [self._path]

    def decode(
        self, folder: Path, settings: kept.Settings, whole: bool, progress: Progress
    ) -> Listing:
        """Unpack the images, list them as those of a folder, and decode them.

        Raises:
            InputError: the archive is damaged or hostile, or as for a folder.
            OSError: `folder` can't be written.
        """
        unpacked = folder / cache.UNPACKED
        root, links = unpack(self._path, unpacked, progress)
        try:
            found = listing.list_labelled(root) if whole else listing.list_folder(root)
            kept.decode(found, settings, folder, progress)
        except InputError as error:  # its paths are where the images lie for the moment
            here, there = printable(str(unpacked)), printable(str(self._path))
            raise InputError(str(error).replace(here, there)) from None
        return replace(found, left_out=replace(found.left_out, links=links))
