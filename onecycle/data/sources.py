"""Where images come from: drawn shapes, CIFAR, and the user's own."""

from pathlib import Path
from typing import Literal, NamedTuple

from onecycle.data import cifar, own, shapes
from onecycle.data.image_set import ImageSet, LeftOut
from onecycle.progress import Progress


class Source(NamedTuple):
    """All images of a source, with a description of its kind. With folds, `test` may be empty."""

    kind: str
    train: ImageSet
    test: ImageSet
    val: ImageSet | None = None
    left_out: LeftOut = LeftOut()


def drawn(train: int, test: int, image_size: int, progress: Progress) -> Source:
    """Shapes, in the numbers requested."""
    images = shapes.load(
        train=train or 10_000, test=test or 2_000, size=image_size or 32, progress=progress
    )
    return Source("drawn shapes", *images)


def official(
    source: str,
    archive: cifar.Archive,
    label_set: str,
    image_size: int,
    cache_dir: Path | None,
    progress: Progress,
) -> Source:
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
    return Source(kind, train, test)


def own_images(
    source: str,
    image_size: int,
    resize: Literal["crop", "squash"],
    on_bad_image: str,
    val_fraction: float,
    without_test: bool,
    split_seed: int,
    cache_dir: Path | None,
    progress: Progress,
) -> Source:
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
    return Source(loaded.kind, loaded.train, loaded.test, loaded.val, loaded.left_out)
