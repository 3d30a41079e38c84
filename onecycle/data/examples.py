"""Which images stand for their classes on a contact sheet. No torch."""

import numpy as np

from onecycle.data.image_set import ImageSet

FEW_CLASSES, MOST_CLASSES = 20, 100
"""Up to the first of these, a class has more room; more than the second are not shown."""

OF_FEW, OF_MANY = 10, 6
"""Images of a class, where classes are few and where they are many."""


def examples_of_classes(images: ImageSet) -> list[np.ndarray]:
    """Indices of images of each class, evenly spread over the class in the set's order.

    Args:
        images: a split.

    Returns:
        int64, for each of the first `MOST_CLASSES` classes; fewer where a class has fewer.
    """
    classes = min(len(images.classes), MOST_CLASSES)
    count = OF_FEW if classes <= FEW_CLASSES else OF_MANY
    return [
        spread_over(np.flatnonzero(images.labels_N == label), count) for label in range(classes)
    ]


def spread_over(members: np.ndarray, count: int) -> np.ndarray:
    """`count` of the members, each from the middle of an equal part of them; all if they are few.

    Args:
        members: what to choose from, in order.
        count: how many, at least 1.
    """
    if len(members) <= count:
        return members
    return members[(2 * np.arange(count) + 1) * len(members) // (2 * count)]
