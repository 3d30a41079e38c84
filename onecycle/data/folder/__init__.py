"""Folders and tables of one's own images, decoded once into a memory-mapped cache.

`PATH/train/<class>/*` with `PATH/test/<class>/*`; or `PATH/<class>/*`, or a table of paths and
labels, of which a seeded fifth of each class becomes the test split.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from onecycle.data import cache
from onecycle.data.folder import kept, manifest
from onecycle.data.folder.decoding import Resize
from onecycle.data.folder.listing import File, Listing, good_files, list_folder, refuse_bad
from onecycle.data.folder.words import in_words, quoted
from onecycle.data.image_set import BadImage, ImageSet, LeftOut
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress

TEST_FRACTION = 0.2
"""Share of each class that becomes the test split where none is given."""


def load(
    path: str | Path,
    *,
    image_size: int = 0,
    resize: Resize = "crop",
    on_bad_image: str = "error",
    split_seed: int = 0,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[ImageSet, ImageSet, LeftOut]:
    """The train and test images under `path`, memory-mapped, and what was left out.

    Classes are the folder names in code point order, and so are the files of a class. Images keep
    their file names, relative to `path`. All grey images give one channel; otherwise all become
    RGB, transparent parts on white; EXIF rotation is applied; of an animation the first frame
    counts.

    Args:
        path: the folder, or a table of images (see `manifest.read`).
        image_size: height and width of all images; 0: their own, if all have the same.
        resize: of images that are not square: `crop` scales the short side to `image_size` and
            keeps the middle; `squash` scales both sides to it.
        on_bad_image: `error`, or `skip`: leave images out that can't be read.
        split_seed: of the test split where none is given.
        cache_dir: where decoded images are kept; None: the user's cache.
        progress: listens; it is told what is left out.

    Raises:
        InputError: nothing there, no images, a class without images, fewer than two classes, train
            and test classes that differ, images of different sizes, or an unreadable one.
    """
    listing = _listed(Path(path))
    cache.limit_bytes()  # a wrong limit is told before the work, not after
    settings = kept.Settings(image_size, resize, on_bad_image)
    missing = tuple(BadImage(file.name, reason) for file, reason in listing.missing)
    if on_bad_image == "error":
        refuse_bad(missing)
    good_files(listing, missing)
    place = cache.cache_folder(cache_dir) / kept.key(listing, settings)
    images_NHWC, unreadable = kept.opened(place, listing) or kept.make(
        place, listing, settings, progress
    )
    files = good_files(listing, missing + unreadable)
    left_out = replace(listing.left_out, bad_images=missing + unreadable)
    if left_out:
        progress.note(in_words(left_out))
    return *_splits(images_NHWC, files, listing.classes, split_seed), left_out


def _listed(path: Path) -> Listing:
    """The files of a folder or of a table."""
    try:
        if path.is_dir():
            return list_folder(path)
        if path.is_file() and path.suffix.lower() == ".csv":
            return manifest.read(path)
    except OSError as error:
        raise InputError(
            f"data: can't read {quoted(path)}: {error.strerror}; allow reading it"
        ) from None
    raise InputError(
        f"data: {quoted(path)} is neither a folder nor a table of images (.csv); give a folder of "
        "class folders"
    )


# ------------------------------------------------------------------------------------------ splits


def _splits(
    images_NHWC: np.ndarray, files: Sequence[File], classes: tuple[str, ...], split_seed: int
) -> tuple[ImageSet, ImageSet]:
    """Files are ordered train before test, so that both are slices of the map."""
    number = {label: index for index, label in enumerate(classes)}
    labels_N = np.array([number[file.label] for file in files], dtype=np.int64)
    names = tuple(file.name for file in files)
    whole = ImageSet(images_NHWC, labels_N, classes, names)
    in_test = np.array([file.split == "test" for file in files])
    if in_test.any():
        border = int((~in_test).sum())
        return _cut(whole, 0, border), _cut(whole, border, len(files))
    in_test = _stratified_test(labels_N, split_seed)
    return whole.take(np.flatnonzero(~in_test)), whole.take(np.flatnonzero(in_test))


def _cut(images: ImageSet, start: int, stop: int) -> ImageSet:
    part = slice(start, stop)
    return ImageSet(
        images.images_NHWC[part], images.labels_N[part], images.classes, images.names[part]
    )


def _stratified_test(labels_N: np.ndarray, seed: int) -> np.ndarray:
    """Bool N: a seeded fifth of each class, at least one image and not all."""
    key = hashlib.sha256(f"{seed}/test split".encode()).digest()
    rank_N = np.random.PCG64(int.from_bytes(key[:16], "little")).random_raw(len(labels_N))
    in_test_N = np.zeros(len(labels_N), dtype=bool)
    for label in np.unique(labels_N):
        members = np.flatnonzero(labels_N == label)
        order = members[np.argsort(rank_N[members], kind="stable")]
        in_test_N[order[: max(1, round(TEST_FRACTION * len(members)))]] = True
    return in_test_N
