"""Images by name or path: as splits (`load_splits`) or as one set (`load_all`)."""

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from onecycle.config import Recipe
from onecycle.data import cifar, own, refusals, shapes
from onecycle.data import folds as crossed
from onecycle.data.image_set import ImageSet, Labelled, LeftOut, Splits, fingerprint
from onecycle.data.refusals import BUILT_IN
from onecycle.errors import InputError
from onecycle.progress import IN_NOTEBOOKS, SILENT, Progress
from onecycle.writing.numbers import counted

__all__ = [
    "BUILT_IN",
    "ImageSet",
    "Labelled",
    "LeftOut",
    "Splits",
    "load_all",
    "load_splits",
    "splits_of",
]


def load_splits(
    source: str,
    *,
    label_set: str = "fine",
    image_size: int = 0,
    resize: Literal["crop", "squash"] = "crop",
    on_bad_image: Literal["error", "skip"] = "error",
    train_limit: int = 0,
    test_limit: int = 0,
    val_fraction: float = 0.0,
    folds: int = 0,
    fold: int = 0,
    split_seed: int = 0,
    cache_dir: Path | None = None,
    progress: Progress = IN_NOTEBOOKS,
) -> Splits:
    """The train and test split of `source`, and the validation split if there is one.

    Limits and the validation split are stratified: each class contributes in proportion to its
    size. They depend on `split_seed` alone, and keep the order of the images.

    Args:
        source: `shapes`; `cifar10` or `cifar100`, which are downloaded; or a path: an official
            CIFAR archive, the folder extracted from one, a folder of class folders (see
            `folder.load`), an archive of one (zip or tar), or a table of images (see
            `folder.manifest.read`).
        label_set: `fine`, or for CIFAR-100 `coarse`: its 20 groups of classes.
        image_size: height and width in pixels; 0: the source's own (shapes: 32).
        resize: for images in a folder that are not square: `crop` keeps the middle, `squash`
            changes the aspect ratio.
        on_bad_image: for unreadable images in a folder: `error`, or `skip` to leave them out.
        train_limit, test_limit: number of images to use; 0: all (shapes: 10,000 and 2,000). Shapes
            are drawn, so any number is possible.
        val_fraction: share of the training images to hold out for validation, in [0, 1); must be 0
            if the source has its own validation split.
        folds: for cross-validation, the number of parts into which the training images are cut,
            after `train_limit`; the source's own test split is not used. If it has none, all
            images are cut. 0: none.
        fold: the part that is the test split, from 0.
        split_seed: seed of the limits, the folds and the validation split.
        cache_dir: where downloads and decoded images are kept; None: the user's cache folder.
        progress: receives progress reports.

    Raises:
        InputError: the source doesn't exist or can't be used, or a split would lack a class.
    """
    official = cifar.recognise(source)
    if official is None and label_set != "fine":
        raise InputError(f"label_set: {source} has no {label_set} labels; CIFAR-100 alone has")
    if source == "shapes":
        found = _drawn(train_limit, test_limit, image_size, progress)
    elif official is not None:
        found = _official(source, official, label_set, image_size, cache_dir, progress)
    elif Path(source).exists():
        found = _own(
            source,
            image_size,
            resize,
            on_bad_image,
            val_fraction,
            folds > 0,
            split_seed,
            cache_dir,
            progress,
        )
    else:
        raise refusals.no_such(source)
    train = _limited(found.train, train_limit, split_seed, "train_limit")
    if folds:
        train, test = crossed.parted(train, folds, fold, split_seed)
        progress.note(
            f"data: fold {fold} of 0 to {folds - 1} is the test split: "
            f"{counted(len(test), 'image')}"
            + ("; the data's own is not used" if len(found.test) else "")
        )
    else:
        test = _limited(found.test, test_limit, split_seed, "test_limit")
    train, val = _validation_apart(train, val_fraction, split_seed)
    val = found.val or val
    return Splits(
        train, test, val, source, fingerprint(train, test, val), found.kind, found.left_out
    )


def load_all(
    source: str,
    *,
    label_set: str = "fine",
    image_size: int = 0,
    resize: Literal["crop", "squash"] = "crop",
    on_bad_image: Literal["error", "skip"] = "error",
    cache_dir: Path | None = None,
    progress: Progress = IN_NOTEBOOKS,
) -> Labelled:
    """The images of `source` to evaluate a network on, as one set; none are held out.

    For a folder or a table with splits, the test split, else the val split, else the train split;
    without splits, all images. For a built-in set and CIFAR's archives, the test split. A single
    class is enough.

    Args:
        source, label_set, image_size, resize, on_bad_image, cache_dir, progress: as in
            `load_splits`.

    Raises:
        InputError: the source doesn't exist or can't be used.
    """
    official = cifar.recognise(source)
    if official is None and source != "shapes":
        if label_set != "fine":
            raise InputError(f"label_set: {source} has no {label_set} labels; CIFAR-100 alone has")
        if not Path(source).exists():
            raise refusals.no_such(source)
        images, left_out, kind = own.load_labelled(
            source,
            image_size=image_size,
            resize=resize,
            on_bad_image=on_bad_image,
            cache_dir=cache_dir,
            progress=progress,
        )
    else:
        splits = load_splits(
            source,
            label_set=label_set,
            image_size=image_size,
            train_limit=len(shapes.CLASSES) if source == "shapes" else 0,  # drawn but not used
            cache_dir=cache_dir,
            progress=progress,
        )
        images, left_out, kind = splits.test, splits.left_out, f"test split of {splits.kind}"
    return Labelled(images, source, images.digest().hex()[:16], kind, left_out)


def splits_of(recipe: Recipe, progress: Progress = SILENT) -> Splits:
    """The recipe's images: `load_splits` with its settings.

    Raises:
        InputError: as in `load_splits`.
    """
    return load_splits(
        recipe.data,
        label_set=recipe.label_set,
        image_size=recipe.image_size,
        resize=recipe.resize,
        on_bad_image=recipe.on_bad_image,
        train_limit=recipe.train_limit,
        test_limit=recipe.test_limit,
        val_fraction=recipe.val_fraction,
        folds=recipe.folds,
        fold=recipe.fold,
        split_seed=recipe.split_seed,
        progress=progress,
    )


# ----------------------------------------------------------------------------------------- sources


class _Source(NamedTuple):
    """All images of a source, with a description of its kind. With folds, `test` may be empty."""

    kind: str
    train: ImageSet
    test: ImageSet
    val: ImageSet | None = None
    left_out: LeftOut = LeftOut()


def _drawn(train: int, test: int, image_size: int, progress: Progress) -> _Source:
    """Shapes, in the numbers requested."""
    drawn = shapes.load(
        train=train or 10_000, test=test or 2_000, size=image_size or 32, progress=progress
    )
    return _Source("drawn shapes", *drawn)


def _official(
    source: str,
    archive: cifar.Archive,
    label_set: str,
    image_size: int,
    cache_dir: Path | None,
    progress: Progress,
) -> _Source:
    """CIFAR, downloaded or from an archive."""
    train, test = cifar.load(
        source,
        archive,
        label_set=label_set,
        image_size=image_size,
        cache_dir=cache_dir,
        progress=progress,
    )
    kind = f"{archive.title}, official archive, {archive.form.capitalize()} form"
    return _Source(kind, train, test)


def _own(
    source: str,
    image_size: int,
    resize: Literal["crop", "squash"],
    on_bad_image: str,
    val_fraction: float,
    without_test: bool,
    split_seed: int,
    cache_dir: Path | None,
    progress: Progress,
) -> _Source:
    """The user's own images: a folder, a table, an archive."""
    loaded = own.load(
        source,
        image_size=image_size,
        resize=resize,
        on_bad_image=on_bad_image,
        val_fraction=val_fraction,
        without_test=without_test,
        split_seed=split_seed,
        cache_dir=cache_dir,
        progress=progress,
    )
    return _Source(loaded.kind, loaded.train, loaded.test, loaded.val, loaded.left_out)


# ----------------------------------------------------------------------------------------- choices


def stratified(labels_N: np.ndarray, fraction: float, seed: int, stream: str) -> np.ndarray:
    """A choice of about `fraction` of each class: bool N, which depends on the arguments alone.

    From a class of n images, round(fraction * n) are chosen.
    """
    key = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    bits = np.random.PCG64(int.from_bytes(key[:16], "little"))
    rank_N = bits.random_raw(len(labels_N))
    chosen_N = np.zeros(len(labels_N), dtype=bool)
    for label in np.unique(labels_N):
        members = np.flatnonzero(labels_N == label)
        order = members[np.argsort(rank_N[members], kind="stable")]
        chosen_N[order[: round(fraction * len(members))]] = True
    return chosen_N


def _limited(images: ImageSet, limit: int, seed: int, name: str) -> ImageSet:
    """`limit` images of the set, classes in proportion; all images if the limit is 0."""
    if limit == 0 or limit == len(images):
        return images
    if limit > len(images):
        raise InputError(
            f"{name}: {limit} is more than the {counted(len(images), 'image')} there are; lower it"
        )
    if limit < len(images.classes):
        raise InputError(
            f"{name}: {counted(limit, 'image')} can't hold {len(images.classes)} classes; raise it"
        )
    chosen = stratified(images.labels_N, limit / len(images), seed, name)
    return images.take(_exactly(chosen, images.labels_N, limit))


def _exactly(chosen_N: np.ndarray, labels_N: np.ndarray, count: int) -> np.ndarray:
    """Indices of exactly `count` images: those chosen, corrected where rounding missed."""
    chosen_N = chosen_N.copy()
    for label in np.setdiff1d(labels_N, labels_N[chosen_N]):  # a small class, rounded to 0
        chosen_N[np.flatnonzero(labels_N == label)[0]] = True
    while (excess := int(chosen_N.sum()) - count) != 0:
        kept = np.bincount(labels_N[chosen_N], minlength=int(labels_N.max()) + 1)
        spare = np.bincount(labels_N[~chosen_N], minlength=len(kept))
        if excess > 0:
            label = int(np.argmax(kept))
            chosen_N[np.flatnonzero(chosen_N & (labels_N == label))[-1]] = False
        else:
            label = int(np.argmin(np.where(spare > 0, kept, np.iinfo(np.int64).max)))
            chosen_N[np.flatnonzero(~chosen_N & (labels_N == label))[0]] = True
    return np.flatnonzero(chosen_N)


def _validation_apart(
    train: ImageSet, fraction: float, seed: int
) -> tuple[ImageSet, ImageSet | None]:
    """The rest of the train split, and the validation split (None if its share is 0)."""
    if fraction <= 0:
        return train, None
    chosen_N = stratified(train.labels_N, fraction, seed, "validation")
    _check_each_class(train, chosen_N, "val_fraction")
    return train.take(np.flatnonzero(~chosen_N)), train.take(np.flatnonzero(chosen_N))


def _check_each_class(train: ImageSet, chosen_N: np.ndarray, name: str) -> None:
    """Reject a split that leaves a class without images on either side."""
    classes = len(train.classes)
    for part in (chosen_N, ~chosen_N):
        counts = np.bincount(train.labels_N[part], minlength=classes)
        if counts.min() == 0:
            lacking = train.classes[int(np.argmin(counts))]
            raise InputError(
                f"{name}: leaves class '{lacking}' without images on one side; "
                "change it or give more images"
            )
