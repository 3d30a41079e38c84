"""Images by name or path: as splits (`load_splits`) or as one set (`load_all`)."""

from pathlib import Path
from typing import Literal

from onecycle.config import Recipe
from onecycle.data import cifar, own, refusals, shapes, sources
from onecycle.data import folds as crossed
from onecycle.data.choices import limited, stratified, validation_apart
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
    "stratified",
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
        found = sources.drawn(train_limit, test_limit, image_size, progress)
    elif official is not None:
        found = sources.official(source, official, label_set, image_size, cache_dir, progress)
    elif Path(source).exists():
        found = sources.own_images(
            source, image_size, resize, on_bad_image,
            val_fraction, folds > 0, split_seed, cache_dir, progress,
        )  # fmt: skip
    else:
        raise refusals.no_such(source)
    train = limited(found.train, train_limit, split_seed, "train_limit")
    if folds:
        train, test = crossed.parted(train, folds, fold, split_seed)
        _note_fold(test, found, folds, fold, progress)
    else:
        test = limited(found.test, test_limit, split_seed, "test_limit")
    train, val = validation_apart(train, val_fraction, split_seed)
    val = found.val or val
    return Splits(
        train, test, val, source, fingerprint(train, test, val), found.kind, found.left_out
    )


def _note_fold(
    test: ImageSet, found: sources.Source, folds: int, fold: int, progress: Progress
) -> None:
    progress.note(
        f"data: fold {fold} of 0 to {folds - 1} is the test split: {counted(len(test), 'image')}"
        + ("; the data's own is not used" if len(found.test) else "")
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
