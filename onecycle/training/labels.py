"""Labels of other images, matched to a run's classes by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from unicodedata import normalize

import numpy as np

from onecycle.data import ImageSet
from onecycle.data.folder.messages import printable, quoted, some
from onecycle.errors import InputError
from onecycle.writing.numbers import counted

MOST_NAMED = 3
"""Largest number of classes that a message names. If there are more, it gives their number."""


def by_name(images: ImageSet, classes: tuple[str, ...]) -> tuple[ImageSet, dict[str, int]]:
    """The images whose class is in `classes`, with its labels; and the number of others, by class.

    Names must be equal, also in case. The order of the images' own classes does not matter.
    """
    number = {name: index for index, name in enumerate(classes)}
    label_of_K = np.array([number.get(name, -1) for name in images.classes], dtype=np.int64)
    labels_N = label_of_K[images.labels_N]
    counts = zip(images.classes, label_of_K, images.class_counts(), strict=True)
    unknown = {name: int(count) for name, label, count in counts if label < 0 and count}
    if unknown:
        images = images.take(np.flatnonzero(labels_N >= 0))
        labels_N = labels_N[labels_N >= 0]
    return replace(images, labels_N=labels_N, classes=classes), unknown


def known_to(
    classes: Sequence[str], unknown: Mapping[str, int], data: str, *, ignore: bool, left: int
) -> None:
    """Refuse images of classes that a run doesn't know, unless they are to be ignored.

    Args:
        classes: the run's classes.
        unknown: number of images of each class that is not among them.
        data: where the images are, for the message.
        ignore: whether such images are to be left out.
        left: number of images that are left without them.

    Raises:
        InputError: names the classes, similar classes of the run, and the remedy.
    """
    if not unknown or (ignore and left):
        return
    remedy = "rename the classes, or leave such images out with --ignore-unknown-classes"
    if ignore:
        remedy = "rename the classes, since without such images none are left"
    images = counted(sum(unknown.values()), "image")
    named = some("class", list(unknown), "classes")
    raise InputError(
        f"data: {quoted(data)} has {images} of {named} unknown to the run, which knows "
        f"{_few(classes)}{_alike(classes, unknown)}; {remedy}"
    )


def _few(classes: Sequence[str]) -> str:
    """`'ant', 'bee'`, or `'ant', 'bee', 'cat' and 7 more`."""
    named = ", ".join(quoted(name) for name in classes[:MOST_NAMED])
    more = len(classes) - MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named


def _alike(classes: Sequence[str], unknown: Mapping[str, int]) -> str:
    """The first pair of names that differ only in case, spaces or the encoding of accents."""
    plain = {_plain(name): name for name in classes}
    for name in unknown:
        if near := plain.get(_plain(name)):
            return f" ({_told(near, name)} there, {_told(name, near)} here)"
    return ""


def _told(name: str, other: str) -> str:
    """A name, escaped if it would look like the other one."""
    differ = normalize("NFKC", name) != normalize("NFKC", other)
    return f"'{printable(name)}'" if differ else ascii(name)


def _plain(name: str) -> str:
    """A name without case, spaces and the encoding of accents."""
    return normalize("NFKC", name).casefold().strip()
