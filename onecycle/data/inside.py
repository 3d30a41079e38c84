"""Sources whose images lie inside files: archives, arrays, Hugging Face data sets.

Their images are decoded once into the cache, with the list of their names, labels and splits. From
then on the source is not read again, as long as its files keep their places, sizes and times.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, Protocol

from onecycle.data import cache
from onecycle.data.folder import kept
from onecycle.data.folder.decoding import FORMAT, LONGEST_SIDE, MOST_PIXELS
from onecycle.data.folder.listing import File, Listing
from onecycle.data.folder.messages import quoted
from onecycle.data.image_set import LeftOut
from onecycle.errors import InputError
from onecycle.progress import Progress

LISTED = 1
"""Increased whenever lists change, so that older caches are not reused."""

KEPT = (*kept.KEPT, "names.json")
"""The files of a decoded set."""


class Source(Protocol):
    """A source of one kind."""

    form: str
    """What it is, in a few words."""

    def files(self) -> Sequence[Path]:
        """All files that the images depend on.

        Raises:
            InputError: one is missing or no regular file.
        """
        ...

    def decode(
        self, folder: Path, settings: kept.Settings, whole: bool, progress: Progress
    ) -> Listing:
        """Write images.npy and about.json into a folder, and list the images.

        Args:
            folder: the new set; `cache.UNPACKED` in it is for files that are needed meanwhile.
            settings: size, resizing and the rule for unreadable images.
            whole: whether the images form one set, from which none are held out.
            progress: receives progress reports.

        Raises:
            InputError: the source is damaged, hostile, or lacks something.
            OSError: the folder can't be written.
        """
        ...


def opened(
    source: Source,
    settings: kept.Settings,
    cache_dir: Path | None,
    progress: Progress,
    *,
    whole: bool,
) -> tuple[Listing, kept.Opened]:
    """The list of images, and the images, memory-mapped, with the unreadable ones.

    Raises:
        InputError: as in `Source.decode`; or the cache can't be written.
    """
    cache.limit_bytes()  # report an invalid limit before the work, not after
    place = cache.cache_folder(cache_dir) / key(source, settings, whole)
    return _kept(place) or _made(place, source, settings, whole, progress)


def key(source: Source, settings: kept.Settings, whole: bool) -> str:
    """The decoded set's name; it changes with any file's path, size or time, and the settings."""
    files = []
    for path in source.files():
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"data: can't read {quoted(path)}: {error.strerror}") from None
        files.append(
            (os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        )
    parts = [LISTED, FORMAT, MOST_PIXELS, LONGEST_SIDE, astuple(settings), source.form, whole]
    return "folder-" + hashlib.sha256(json.dumps([*parts, files]).encode()).hexdigest()[:32]


def _kept(place: Path) -> tuple[Listing, kept.Opened] | None:
    """The decoded set; None if there is no intact one."""
    try:
        listing = _from_json(json.loads((place / "names.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found = kept.opened(place, listing, KEPT)
    return (listing, found) if found else None


def _made(
    place: Path, source: Source, settings: kept.Settings, whole: bool, progress: Progress
) -> tuple[Listing, kept.Opened]:
    """Decode everything into the cache, unless another process does so, and open the set."""
    try:
        with cache.only_one(place, "decoding", progress):
            if made := _kept(place):  # by another process meanwhile
                return made
            with cache.making(place) as folder:
                (folder / cache.UNPACKED).mkdir(mode=0o700)
                listing = source.decode(folder, settings, whole, progress)
                shutil.rmtree(folder / cache.UNPACKED)
                content = json.dumps(_to_json(listing))
                (folder / "names.json").write_text(content, encoding="utf-8")
        cache.make_room(place)
    except OSError as error:
        raise cache.unwritable(place.parent, error) from None
    if made := _kept(place):
        return made
    raise InputError(f"data: the cache '{place}' can't be read back; check the disk")


def _to_json(listing: Listing) -> dict[str, Any]:
    return {
        "files": [(file.name, file.split, file.label) for file in listing.files],
        "classes": listing.classes,
        "left_out": asdict(listing.left_out) | {"bad_images": ()},
        "named": listing.named,
        "whole": listing.whole,
    }


def _from_json(given: dict[str, Any]) -> Listing:
    left_out: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given["left_out"].items()
    }
    return Listing(
        Path(),
        tuple(File(name, split, label, 0, (0, 0)) for name, split, label in given["files"]),
        tuple(given["classes"]),
        LeftOut(**left_out),
        named=tuple((split, name) for split, name in given["named"]),
        whole=given["whole"],
    )
