"""Folders and tables of the user's own images, decoded once into a memory-mapped cache.

The layout is `PATH/train/<class>/*` with `PATH/test/<class>/*` and optionally
`PATH/val/<class>/*`; or `PATH/<class>/*`; or a table of paths and labels. Without a test split, a
seeded fifth of each class of train becomes the test split.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onecycle.data import cache, refusals
from onecycle.data.folder import kept, listing, manifest
from onecycle.data.folder.checks import good_files, refuse_bad
from onecycle.data.folder.decoding import Resize
from onecycle.data.folder.layout import SPLITS
from onecycle.data.folder.listing import File, Listing
from onecycle.data.folder.messages import left_out_text, quoted
from onecycle.data.image_set import BadImage, ImageSet, LeftOut
from onecycle.errors import InputError
from onecycle.progress import SILENT, Progress

TEST_FRACTION = 0.2
"""Share of each class that becomes the test split if the source has none."""


class Loaded(NamedTuple):
    """The contents of a folder or a table.

    Attributes:
        train, test: the images of these splits.
        val: the images of the validation split; None if the source has none.
        left_out: the parts of the source that are in no split.
        kind: a short description of the source.
    """

    train: ImageSet
    test: ImageSet
    val: ImageSet | None
    left_out: LeftOut
    kind: str


class LoadedAsOne(NamedTuple):
    """Images to evaluate a network on: as one set, what was left out, and a short description."""

    images: ImageSet
    left_out: LeftOut
    kind: str


def load(
    path: str | Path,
    *,
    image_size: int = 0,
    resize: Resize = "crop",
    on_bad_image: str = "error",
    val_fraction: float = 0.0,
    without_test: bool = False,
    split_seed: int = 0,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Loaded:
    """The train, validation and test images under `path`, memory-mapped, and what was left out.

    Classes are the folder names in code point order; the files of a class are in the same order.
    Images keep their file names, relative to `path`. If all images are grey, they have one
    channel; otherwise all become RGB. Transparent parts become white, EXIF rotation is applied,
    and of an animation the first frame is used.

    Args:
        path: the folder, or a table of images (see `manifest.read`).
        image_size: height and width of all images; 0: their own, if all have the same.
        resize: for images that are not square: `crop` scales the short side to `image_size` and
            keeps the middle; `squash` scales both sides to it.
        on_bad_image: `error`, or `skip` to leave unreadable images out.
        val_fraction: share of train to hold out later; must be 0 if there is a val split.
        without_test: make no test split if the source has none; it is empty then.
        split_seed: seed of the test split if the source has none.
        cache_dir: where decoded images are kept; None: the user's cache.
        progress: receives progress reports, and notes on what is left out and which folders
            were taken for which splits.

    Raises:
        InputError: there is nothing at `path`, no images, a class without images, fewer than two
            classes, splits with different classes, images of different sizes, or an unreadable one.
    """
    settings = kept.Settings(image_size, resize, on_bad_image)
    listed = _listed(Path(path), listing.list_folder, manifest.read)
    check_val_fraction(path, listed, val_fraction)
    found = _decoded(listed, settings, cache_dir, progress)
    return arranged(listed, found, _form(Path(path)), split_seed, progress, without_test)


def check_val_fraction(path: str | Path, listed: Listing, val_fraction: float) -> None:
    """Reject a validation split of train where the source has its own.

    Raises:
        InputError: it has.
    """
    if val_fraction and "val" in dict(listed.named):
        raise InputError(
            f"val_fraction: {quoted(path)} has its own validation split; leave out val_fraction"
        )


def arranged(
    listed: Listing,
    found: kept.Opened,
    form: str,
    split_seed: int,
    progress: Progress,
    without_test: bool = False,
) -> Loaded:
    """The splits of decoded images; notes what is left out, and which parts became which splits.

    Args:
        listed: the list of images.
        found: the images that could be read, in that order, and the others.
        form: what the source is, in a few words.
        split_seed: seed of the test split if there is none.
        progress: receives the notes.
        without_test: make no test split if there is none; it is empty then.

    Raises:
        InputError: a class has lost all its images.
    """
    whole, splits, left_out = _labelled(listed, found, progress)
    complete = listed.has_test or without_test
    _note_splits(listed, complete, progress)
    train, val, test = _splits(whole, splits, complete, split_seed)
    return Loaded(train, test, val, left_out, _kind(form, listed, complete))


def load_labelled(
    path: str | Path,
    *,
    image_size: int = 0,
    resize: Resize = "crop",
    on_bad_image: str = "error",
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> LoadedAsOne:
    """The images under `path` to evaluate a network on, as one set; none are held out.

    With splits, the test split, else the val split, else the train split. A single class is
    enough; class folders without images are ignored. The rest is as in `load`.

    Raises:
        InputError: there is nothing at `path`, no images, images of different sizes, or an
            unreadable one.
    """
    settings = kept.Settings(image_size, resize, on_bad_image)
    listed = _listed(Path(path), listing.list_labelled, manifest.read_labelled)
    found = _decoded(listed, settings, cache_dir, progress)
    return as_one(listed, found, _form(Path(path)), progress)


def as_one(listed: Listing, found: kept.Opened, form: str, progress: Progress) -> LoadedAsOne:
    """Decoded images as one set; notes what is left out. The arguments are those of `arranged`.

    Raises:
        InputError: there are none.
    """
    whole, _, left_out = _labelled(listed, found, progress)
    return LoadedAsOne(
        whole, left_out, f"{listed.named[0][0]} split of {form}" if listed.named else form
    )


def _listed(
    path: Path,
    of_folder: Callable[[Path], Listing],
    of_table: Callable[[Path], Listing],
) -> Listing:
    """The files of a folder or of a table."""
    try:
        if path.is_dir():
            return of_folder(path)
        if path.is_file() and path.suffix.lower() == ".csv":
            return of_table(path)
    except OSError as error:
        raise InputError(
            f"data: can't read {quoted(path)}: {error.strerror}; allow reading it"
        ) from None
    raise refusals.no_images(path)


def _decoded(
    listed: Listing, settings: kept.Settings, cache_dir: Path | None, progress: Progress
) -> kept.Opened:
    """The images of a listing in its order, and the files that are missing or unreadable."""
    cache.limit_bytes()  # report an invalid limit before the work, not after
    missing = tuple(BadImage(file.name, reason) for file, reason in listed.missing)
    if settings.on_bad_image == "error":
        refuse_bad(missing)
    good_files(listed, missing)
    place = cache.cache_folder(cache_dir) / kept.key(listed, settings)
    images_NHWC, unreadable = kept.opened(place, listed) or kept.make(
        place, listed, settings, progress
    )
    return images_NHWC, missing + unreadable


def _labelled(
    listed: Listing, found: kept.Opened, progress: Progress
) -> tuple[ImageSet, list[str], LeftOut]:
    """The images of a listing in its order, the split of each, and what was left out."""
    images_NHWC, unreadable = found
    files = good_files(listed, unreadable)
    left_out = replace(listed.left_out, bad_images=unreadable)
    if left_out:
        progress.note(f"data: left out: {left_out_text(left_out)}")
    return _as_set(images_NHWC, files, listed.classes), [file.split for file in files], left_out


def _as_set(images_NHWC: np.ndarray, files: Sequence[File], classes: Sequence[str]) -> ImageSet:
    present = {file.label for file in files}
    classes = tuple(label for label in classes if label in present)
    number = {label: index for index, label in enumerate(classes)}
    labels_N = np.array([number[file.label] for file in files], dtype=np.int64)
    return ImageSet(images_NHWC, labels_N, classes, tuple(file.name for file in files))


# ------------------------------------------------------------------------------------------- words


_TABLE = "table of images"


def _form(path: Path) -> str:
    return _TABLE if path.is_file() else "class folders"


def _kind(form: str, listed: Listing, complete: bool) -> str:
    """A short description of the source, and of the origin of its splits."""
    own = ", ".join(f"{split} in {quoted(name)}" for split, name in listed.named if name != split)
    kind = f"{form}, {own}" if own else form
    if complete or (form == _TABLE and not listed.named):
        return kind
    of_train = " of train" if listed.named else ""
    return f"{kind}, {_PERCENT} % of each class{of_train} set apart to test"


_PERCENT = f"{100 * TEST_FRACTION:.0f}"


def _note_splits(listed: Listing, complete: bool, progress: Progress) -> None:
    """Note which folders were taken for which splits, and how the test split is made without one.

    Folders named exactly like splits, and classes without splits, need no note.
    """
    if own := [f"{quoted(name)} as {split}" for split, name in listed.named if name != split]:
        progress.note(f"data: using {', '.join(own)}")
    if not listed.named or complete:
        return
    names = {split: quoted(name) for split, name in listed.named}
    line = f"data: no test split, so {_PERCENT} % of each class of {names['train']} are set apart"
    if "val" in names:
        line += f"; {names['val']} is the validation split; to test on it, rename it to test"
    progress.note(line)


# ------------------------------------------------------------------------------------------ splits


def _splits(
    whole: ImageSet, splits: Sequence[str], complete: bool, split_seed: int
) -> tuple[ImageSet, ImageSet | None, ImageSet]:
    """Files are ordered train, val, test, so all splits are slices of the memory map."""
    counts = [splits.count(split) for split in SPLITS]
    if not any(counts):
        counts[0] = len(whole)
    first, second = counts[0], counts[0] + counts[1]
    train, val = _cut(whole, 0, first), _cut(whole, first, second)
    if complete:
        test = _cut(whole, second, len(whole))
    else:
        in_test = _stratified_test(train.labels_N, split_seed)
        train, test = train.take(np.flatnonzero(~in_test)), train.take(np.flatnonzero(in_test))
    return train, val if counts[1] else None, test


def _cut(images: ImageSet, start: int, stop: int) -> ImageSet:
    part = slice(start, stop)
    return replace(
        images,
        images_NHWC=images.images_NHWC[part],
        labels_N=images.labels_N[part],
        names=images.names[part],
    )


def _stratified_test(labels_N: np.ndarray, seed: int) -> np.ndarray:
    """Bool N: a seeded fifth of each class, at least one image but not all."""
    key = hashlib.sha256(f"{seed}/test split".encode()).digest()
    rank_N = np.random.PCG64(int.from_bytes(key[:16], "little")).random_raw(len(labels_N))
    in_test_N = np.zeros(len(labels_N), dtype=bool)
    for label in np.unique(labels_N):
        members = np.flatnonzero(labels_N == label)
        order = members[np.argsort(rank_N[members], kind="stable")]
        in_test_N[order[: max(1, round(TEST_FRACTION * len(members)))]] = True
    return in_test_N
