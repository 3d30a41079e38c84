"""Example images of each class, for a contact sheet. No torch."""

import numpy as np

from onecycle.data.image_set import ImageSet

FEW_CLASSES, MOST_CLASSES = 20, 100
"""With at most `FEW_CLASSES`, each gets more images; at most `MOST_CLASSES` are shown."""

OF_FEW, OF_MANY = 10, 6
"""Images per class, with few classes and with many."""


def examples_of_classes(images: ImageSet) -> list[np.ndarray]:
    """Indices of example images for each class, evenly spread over the class in the set's order.

    Args:
        images: a split.

    Returns:
        int64 indices for each of the first `MOST_CLASSES` classes; a small class has fewer.
    """
    classes = min(len(images.classes), MOST_CLASSES)
    count = OF_FEW if classes <= FEW_CLASSES else OF_MANY
    return [
        spread_over(np.flatnonzero(images.labels_N == label), count) for label in range(classes)
    ]


def spread_over(members: np.ndarray, count: int) -> np.ndarray:
    """`count` of the members, each from the middle of an equal part; all if there are too few.

    Args:
        members: the elements to choose from, in order.
        count: number of elements to choose, at least 1.
    """
    if len(members) <= count:
        return members
    return members[(2 * np.arange(count) + 1) * len(members) // (2 * count)]
