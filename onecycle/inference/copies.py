"""Copies of classified images, sorted into one folder per predicted class."""

import os
from collections.abc import Sequence

from onecycle.errors import InputError
from onecycle.inference.destination import Copy, Destination, Link
from onecycle.inference.stream import Batch
from onecycle.inference.takers import Taker
from onecycle.writing.file_names import folder_names


class Copies(Taker):
    """Copies of the readable images, or links to them, in one folder per predicted class.

    Args:
        destination: where the folders are made.
        classes: names of all classes. Their folders get these names, made safe.
        link: whether to make links.

    Raises:
        InputError: where a class's folder should be, there is a link or a file.
    """

    column = "copied_to"

    def __init__(self, destination: Destination, classes: Sequence[str], *, link: bool) -> None:
        self._destination = destination
        self._folders = folder_names(classes)
        self._item = Link if link else Copy
        for folder in self._folders.values():
            destination.hold(folder)

    def take(self, batch: Batch) -> list[str]:
        return [
            self._added(source.path, self._folders[name])
            for source, name in zip(batch.good, batch.predictions.predicted, strict=True)
        ]

    def _added(self, path: str, folder: str) -> str:
        try:
            item = self._item(path)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{path}: can't be read any more: {reason}; try again") from None
        return self._destination.add((folder,), os.path.basename(path), item)
