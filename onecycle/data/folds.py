"""Cross-validation: the images cut into parts, each of which is the test split once."""

import hashlib

import numpy as np

from onecycle.data.image_set import ImageSet
from onecycle.errors import InputError
from onecycle.writing.numbers import counted


def fold_of_each(labels_N: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The number of each image's fold, int64 N in [0, folds); it depends on the arguments alone.

    Stratified: the parts of a class differ by one image at most, and so do the folds as a whole
    (Kohavi, 1995).
    """
    key = hashlib.sha256(f"{seed}/folds".encode()).digest()
    rank_N = np.random.PCG64(int.from_bytes(key[:16], "little")).random_raw(len(labels_N))
    dealt_N = np.lexsort((rank_N, labels_N))  # class by class, each in a random order
    fold_N = np.empty(len(labels_N), dtype=np.int64)
    fold_N[dealt_N] = np.arange(len(labels_N)) % folds
    return fold_N


def parted(images: ImageSet, folds: int, fold: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """The images to train on, and those of a fold, which are held out.

    Raises:
        InputError: a class has fewer images than there are folds.
    """
    counts_K = images.class_counts()
    least = int(np.argmin(counts_K))
    if counts_K[least] < folds:
        raise InputError(
            f"folds: class '{images.classes[least]}' has "
            f"{counted(int(counts_K[least]), 'image')}, fewer than the {folds} folds; lower folds "
            "or give more images"
        )
    held_out_N = fold_of_each(images.labels_N, folds, seed) == fold
    return images.take(np.flatnonzero(~held_out_N)), images.take(np.flatnonzero(held_out_N))
