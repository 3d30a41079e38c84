"""Images in an .npz file of NumPy: MedMNIST's form, Keras's, or plain `images` and `labels`.

The form is that of Yang et al., MedMNIST v2, Scientific Data 10:41, 2023: `train_images`,
`train_labels`, `val_…` and `test_…`. N images, H height, W width, C channels.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from onecycle.data.archives import zips
from onecycle.data.archives.members import Damaged
from onecycle.data.archives.unpacking import errors_named, safely
from onecycle.data.arrays import labels
from onecycle.data.arrays.npy import ENDING, Array, arrays
from onecycle.data.cache import check_room
from onecycle.data.folder import kept
from onecycle.data.folder.decoding import Resize, pixels_of
from onecycle.data.folder.listing import Listing
from onecycle.data.folder.messages import quoted, some
from onecycle.data.image_set import LeftOut
from onecycle.data.listed import Part, chosen, listing
from onecycle.errors import InputError
from onecycle.progress import Progress
from onecycle.writing.numbers import counted

NAMES = ("classes", "class_names")
"""Arrays that may hold the names of the classes."""

FORMS = "train_images, train_labels, test_images, test_labels and val_…, or images, labels"

_PIECE = 2**23
"""About the number of bytes that are moved at a time."""


def is_npz(path: Path) -> bool:
    """Whether a file is a zip archive that holds arrays and nothing else, by its content.

    Raises:
        InputError: it can't be read.
    """
    with errors_named(path), path.open("rb") as file:
        if file.read(4) not in zips.STARTS:
            return False
        try:
            entries = zips.entries(file)
        except Damaged:
            return False
    return bool(entries) and all(
        entry.name.endswith(ENDING) and "/" not in entry.name for entry in entries
    )


@dataclass(frozen=True)
class _Pair:
    """The arrays of one split."""

    images: Array
    labels: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        _, height, width, *channels = self.images.shape
        return height, width, channels[0] if channels else 1


class ArraySource:
    """The images in an .npz file."""

    form = "arrays in an .npz file"

    def __init__(self, path: Path) -> None:
        self._path = path

    def files(self) -> list[Path]:
        return [self._path]

    def decode(
        self, folder: Path, settings: kept.Settings, whole: bool, progress: Progress
    ) -> Listing:
        """Copy the images into one array, resized if need be, and list them.

        Raises:
            InputError: the file lacks arrays, or has some that can't be used.
            OSError: `folder` can't be written.
        """
        path = self._path
        with _opened(path) as file:
            with errors_named(path):
                pairs, listed = _listed(file, path, settings, whole)
            height, width, channels = next(iter(pairs.values())).shape
            height, width = (settings.image_size or height, settings.image_size or width)
            shape = (len(listed.files), height, width, channels)
            check_room(folder, int(np.prod(shape)))
            target = folder / "images.npy"
            place = np.lib.format.open_memmap(target, "w+", np.uint8, shape).offset
            progress.start("reading images", shape[0], "images")
            with target.open("r+b") as to:
                to.seek(place)
                for pair in pairs.values():
                    for images_NHWC in _batches(pair, safely(path, pair.images.pieces(file, path))):
                        to.write(_resized(images_NHWC, (height, width), settings.resize).data)
                        progress.advance(len(images_NHWC))
            progress.finish()
        kept.write_about(folder)
        return listed


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The open file; errors while it is opened name it."""
    with errors_named(path):
        file = path.open("rb")
    with file:
        yield file


def _listed(
    file: IO[bytes], path: Path, settings: kept.Settings, whole: bool
) -> tuple[dict[str, _Pair], Listing]:
    """The arrays of each split, and the list of their images."""
    found = arrays(file, path)
    pairs = _pairs(path, found)
    pairs = {split: pairs[split] for split in chosen(list(pairs), whole)}
    for pair in pairs.values():
        _check_fits(path, pair)
    _check_shapes(path, pairs, settings)
    several = [name for name in NAMES if name in found]
    if len(several) > 1:
        raise InputError(f"data: {quoted(path)} has {' and '.join(several)}; keep one")
    given = found[several[0]] if several else None
    names = labels.names_of(path, given.name, given.values(file, path)) if given else None
    by_array, classes = labels.named(
        path, {pair.labels.name: pair.labels.values(file, path) for pair in pairs.values()}, names
    )
    parts = {split: Part(split, by_array[pair.labels.name]) for split, pair in pairs.items()}
    return pairs, listing(path, Path(), parts, classes, LeftOut(), whole=whole)


def _pairs(path: Path, found: Mapping[str, Array]) -> dict[str, _Pair]:
    """The arrays of each split, by split; by `""` if there are none.

    Raises:
        InputError: there are no such arrays, or one of a pair is missing.
    """
    pairs: dict[str, _Pair] = {}
    for split, names in _NAMED.items():
        for images, its_labels in names:
            have = images in found, its_labels in found
            if not any(have):
                continue
            if not all(have):
                here, missing = (images, its_labels) if have[0] else (its_labels, images)
                raise InputError(f"data: {quoted(path)} has {here} but no {missing}; save both")
            if split in pairs:
                raise InputError(
                    f"data: {quoted(path)} has {images} and {pairs[split].images.name}; keep one"
                )
            pairs[split] = _Pair(found[images], found[its_labels])
    if not pairs or ("" in pairs and len(pairs) > 1):
        held = some("array", sorted(found), "arrays") if found else "no arrays"
        raise InputError(f"data: {quoted(path)} has {held}; give it {FORMS}")
    return pairs


_NAMED = {
    "": [("images", "labels"), ("x", "y")],
    "train": [("train_images", "train_labels"), ("x_train", "y_train")],
    "val": [("val_images", "val_labels"), ("x_val", "y_val")],
    "test": [("test_images", "test_labels"), ("x_test", "y_test")],
}
"""Names of images and labels, by split: MedMNIST's, and those of Keras's mnist.npz."""


# ------------------------------------------------------------------------------------------ checks


def _check_fits(path: Path, pair: _Pair) -> None:
    """Reject images and labels of other types or shapes than those that are understood."""
    images = pair.images
    shown = f"data: {quoted(images.name)} in {quoted(path)}"
    if len(images.shape) not in (3, 4):
        raise InputError(
            f"{shown} has the shape {images.shape}; save images N×H×W or N×H×W×C, with "
            f"{images.name}.reshape(…)"
        )
    if len(images.shape) == 4 and images.shape[3] not in (1, 3):
        remedy = "save 1 or 3 channels"
        if images.shape[1] in (1, 3):
            remedy = f"put the channels last, with {images.name}.transpose(0, 2, 3, 1)"
        elif images.shape[3] == 4:
            remedy = f"leave out the transparency, with {images.name}[..., :3]"
        raise InputError(f"{shown} has {counted(images.shape[3], 'channel')}; {remedy}")
    if images.dtype != np.uint8:
        raise InputError(f"{shown} has the type {images.dtype.name}; {_to_bytes(images)}")
    labels.check(path, pair.labels.name, pair.labels.shape, pair.labels.dtype, images.shape[0])


def _to_bytes(images: Array) -> str:
    """How to convert images of another type to bytes."""
    name, kind = images.name, images.dtype.kind
    if kind == "f":
        return (
            f"for pixels from 0 to 1 save ({name} * 255).round().astype('uint8'), for 0 to 255 "
            f"{name}.round().astype('uint8')"
        )
    if kind == "b":
        return f"save {name}.astype('uint8') * 255"
    if kind in "iu":
        return (
            f"for pixels from 0 to 255 save {name}.astype('uint8'), for 0 to 65535 "
            f"({name} // 257).astype('uint8')"
        )
    return "save pixels from 0 to 255, of the type uint8"


def _check_shapes(path: Path, pairs: Mapping[str, _Pair], settings: kept.Settings) -> None:
    """Reject splits without images, with images of different forms, or of an unusable size."""
    for pair in pairs.values():
        if 0 in pair.images.shape:
            raise InputError(
                f"data: {quoted(pair.images.name)} in {quoted(path)} has no images; add some, "
                "or leave it out"
            )
        kept.check_size(pair.images.name, pair.shape[1], pair.shape[0], settings)
    first, *others = pairs.values()
    for pair in others:
        same = (
            first.shape[2:] == pair.shape[2:]
            if settings.image_size
            else first.shape == (pair.shape)
        )
        if not same:
            raise InputError(
                f"data: images differ in form: {quoted(first.images.name)} has the shape "
                f"{first.images.shape}, {quoted(pair.images.name)} {pair.images.shape}; save them "
                "alike, or give --image-size if only the sizes differ"
            )


# ------------------------------------------------------------------------------------------ pixels


def _batches(pair: _Pair, pieces: Iterator[bytes]) -> Iterator[np.ndarray]:
    """The images of a split from its bytes, many at a time: uint8 `N H W C`."""
    size = int(np.prod(pair.shape))
    wanted = max(size, _PIECE // size * size)
    content = bytearray()
    for piece in pieces:
        content += piece
        while len(content) >= wanted:
            yield np.frombuffer(bytes(content[:wanted]), np.uint8).reshape(-1, *pair.shape)
            del content[:wanted]
    if content:
        yield np.frombuffer(bytes(content), np.uint8).reshape(-1, *pair.shape)


def _resized(images_NHWC: np.ndarray, size: tuple[int, int], resize: Resize) -> np.ndarray:
    """The images at that height and width, by the rules for files."""
    count, *own, channels = images_NHWC.shape
    if tuple(own) == size:
        return np.ascontiguousarray(images_NHWC)
    resized_NHWC = np.empty((count, *size, channels), dtype=np.uint8)
    for image_HWC, place in zip(images_NHWC, resized_NHWC, strict=True):
        plain = image_HWC[..., 0] if channels == 1 else image_HWC
        place[:] = pixels_of(Image.fromarray(plain), size, resize)
    return resized_NHWC
