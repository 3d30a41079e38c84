"""Choosing images: a part of each class, by a seed alone."""

import hashlib

import numpy as np

from onecycle.data.image_set import ImageSet
from onecycle.errors import InputError
from onecycle.writing.numbers import counted


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


def limited(images: ImageSet, limit: int, seed: int, name: str) -> ImageSet:
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


def validation_apart(
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
