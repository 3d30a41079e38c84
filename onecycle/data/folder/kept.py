"""The decoded images of a folder in the cache: made once, then memory-mapped."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from onecycle.data import cache
from onecycle.data.folder import workers
from onecycle.data.folder.checks import good_files, refuse_bad
from onecycle.data.folder.decoding import (
    FORMAT,
    LONGEST_SIDE,
    MOST_PIXELS,
    Resize,
    Unreadable,
    pixels,
    quiet,
)
from onecycle.data.folder.listing import File, Listing
from onecycle.data.folder.messages import quoted
from onecycle.data.image_set import BadImage
from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.writing.numbers import counted

SAMPLED = 16
"""Images examined to guess whether all are grey."""

USUAL_SIDE = 64
"""Pixels: the size that is suggested for images of different sizes, unless some are smaller."""

KEPT = ("images.npy", "about.json")
"""The files of a decoded set."""

_BLOCK = 2**24
"""Bytes moved at a time to close the gaps of unreadable images."""


@dataclass(frozen=True)
class Settings:
    """What the decoded images depend on besides the files."""

    image_size: int
    resize: Resize
    on_bad_image: str


class _Coloured(Exception):
    """An image has colours, but the ones before it were grey."""


def key(listing: Listing, settings: Settings) -> str:
    """The decoded set's name; it changes with any file's path, size or time, and the settings."""
    root = os.path.abspath(listing.root)
    files = [(file.name, file.size, *file.times) for file in listing.files]
    parts = [FORMAT, MOST_PIXELS, LONGEST_SIDE, astuple(settings), root, files]
    return "folder-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


Opened = tuple[np.ndarray, tuple[BadImage, ...]]
"""Images of the readable files, memory-mapped, and the unreadable files."""


def opened(place: Path, listing: Listing, names: Sequence[str] = KEPT) -> Opened | None:
    """The decoded set, with files of these names; None if there is no intact one."""
    if not cache.is_whole(place, names):
        return None
    try:
        about = json.loads((place / "about.json").read_text(encoding="utf-8"))
        bad = tuple(BadImage(name, reason) for name, reason in about["bad_images"])
        images_NHWC = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (images_NHWC, bad) if len(images_NHWC) + len(bad) == len(listing.files) else None


def make(place: Path, listing: Listing, settings: Settings, progress: Progress) -> Opened:
    """Decode all files into the cache, unless another process does so, and open the set."""
    try:
        with cache.only_one(place, "decoding", progress):
            if made := opened(place, listing):  # by another process meanwhile
                return made
            with cache.making(place) as folder:
                decode(listing, settings, folder, progress)
        cache.make_room(place)
    except OSError as error:
        raise cache.unwritable(place.parent, error) from None
    if made := opened(place, listing):
        return made
    raise InputError(f"data: the cache '{place}' can't be read back; check the disk")


# ---------------------------------------------------------------------------------------- decoding


def decode(listing: Listing, settings: Settings, folder: Path, progress: Progress) -> None:
    """Decode all files of a listing: write images.npy and about.json into `folder`.

    Raises:
        InputError: an image is unreadable and none may be left out, a class is left without images,
            or images differ in size.
        OSError: the folder can't be written.
    """
    began = time.perf_counter()
    first, shape = _expected(listing, settings)
    target = folder / "images.npy"
    try:
        bad = _decode_as(shape, first, listing, settings, target, progress)
    except _Coloured:
        bad = _decode_as((*shape[:2], 3), first, listing, settings, target, progress)
    seconds = time.perf_counter() - began
    if settings.on_bad_image == "error":
        refuse_bad(bad)
    if bad:
        good_files(listing, bad)
        _close_gaps(target, listing, bad)
    write_about(folder, bad)
    count = len(listing.files)
    progress.note(
        f"decoded {counted(count, 'image')} in {seconds:.3g} s, {count / seconds:,.0f} images/s"
    )


def check_size(name: str, width: int, height: int, settings: Settings) -> None:
    """Reject images that are too small or too large to be used as they are.

    Raises:
        InputError: it names the image.
    """
    if not settings.image_size and (min(width, height) < 8 or max(width, height) > 1024):
        raise InputError(
            f"data: {quoted(name)} is {width}x{height} pixels; give --image-size from 8 to 1024"
        )


def write_about(folder: Path, bad: Sequence[BadImage] = ()) -> None:
    """Write about.json: the unreadable images."""
    about = {"bad_images": [(image.name, image.reason) for image in bad]}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _expected(listing: Listing, settings: Settings) -> tuple[str, tuple[int, int, int]]:
    """The first readable image, and the shape (H, W, C) that all seem to have."""
    found = ((file.name, _pixels(listing, file, settings)) for file in listing.files)
    first, image_HWC = next(
        ((name, image_HWC) for name, image_HWC in found if image_HWC is not None), ("", None)
    )
    if image_HWC is None:  # none is readable, which is reported later; any shape will do
        return first, (8, 8, 1)
    height, width, channels = image_HWC.shape
    check_size(first, width, height, settings)
    step = -(-len(listing.files) // SAMPLED)
    for file in listing.files[::step]:
        sample_HWC = _pixels(listing, file, settings)
        if sample_HWC is not None:
            channels = max(channels, sample_HWC.shape[2])
    return first, (height, width, channels)


def _pixels(listing: Listing, file: File, settings: Settings) -> np.ndarray | None:
    """The image in a file; None if it is unreadable."""
    try:
        with quiet():
            path = os.path.join(listing.root, file.name)
            return pixels(path, settings.image_size, settings.resize)
    except Unreadable:
        return None


def _decode_as(
    shape: tuple[int, int, int],
    first: str,
    listing: Listing,
    settings: Settings,
    target: Path,
    progress: Progress,
) -> tuple[BadImage, ...]:
    """Write an array of all images in order; return the bad ones, whose places stay empty."""
    names = [file.name for file in listing.files]
    whole = (len(names), *shape)
    cache.check_room(target.parent, int(np.prod(whole)))
    offset = np.lib.format.open_memmap(target, "w+", np.uint8, whole).offset
    root = os.path.abspath(listing.root)
    job = workers.Job(
        root, str(target.absolute()), offset, shape, settings.image_size, settings.resize
    )
    bad: list[BadImage] = []
    progress.start("decoding images", len(names), "images")
    total_bytes = sum(file.size for file in listing.files)
    for done, answer in workers.decode_all(job, names, total_bytes):
        if answer.failure:
            raise OSError(0, answer.failure)
        if answer.odd:
            _refuse_odd(first, shape, *answer.odd[0])
        if answer.coloured:
            raise _Coloured
        bad += [BadImage(name, reason) for name, reason in answer.bad]
        progress.advance(done)
    progress.finish()
    return tuple(bad)


def _refuse_odd(
    first: str, shape: tuple[int, int, int], name: str, width: int, height: int
) -> None:
    side = min(USUAL_SIDE, *shape[:2], width, height)
    raise InputError(
        f"data: images differ in size: {quoted(first)} is {shape[1]}x{shape[0]}, {quoted(name)} is "
        f"{width}x{height}; give --image-size, such as --image-size {side}"
    )


def _close_gaps(target: Path, listing: Listing, bad: Sequence[BadImage]) -> None:
    """Remove the empty places from the array."""
    gaps = {image.name for image in bad}
    kept = np.array([i for i, file in enumerate(listing.files) if file.name not in gaps], dtype=int)
    gappy_NHWC = np.load(target, mmap_mode="r", allow_pickle=False)
    closed = target.with_name("closed.npy")
    shape = (len(kept), *gappy_NHWC.shape[1:])
    np.lib.format.open_memmap(closed, "w+", np.uint8, shape)
    step = max(1, _BLOCK // int(np.prod(shape[1:])))
    with closed.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.seek(-int(np.prod(shape)), os.SEEK_CUR)
        for start in range(0, len(kept), step):
            file.write(gappy_NHWC[kept[start : start + step]].data)
    del gappy_NHWC
    closed.replace(target)
