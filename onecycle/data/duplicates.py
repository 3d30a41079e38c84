"""Images with identical pixels, between splits and within them. No torch.

Images are compared by a hash of their decoded pixels. So file names and lossless formats don't
matter, but resized or recompressed copies are not detected.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np

from onecycle.data.image_set import ImageSet
from onecycle.progress import SILENT, Progress

EXAMPLES = 5
"""Most equal images to name, of each kind."""

HASH_BYTES = 16
"""Bytes kept of a SHA-256. Among a billion images, a chance collision has probability 1e-21."""


@dataclass(frozen=True)
class EqualImages:
    """Two images with the same pixels.

    Attributes:
        first, second: their names. The second is the copy: it is in the later split, or later in
            the same split.
        first_class, second_class: their labels.
    """

    first: str
    second: str
    first_class: str
    second_class: str


@dataclass(frozen=True)
class Duplicates:
    """The images of a split that repeat one of another split, or an earlier one of the same split.

    Attributes:
        images: number of such images.
        conflicting_labels: number of those that repeat an image of another class.
        examples: a few of them, those with conflicting labels first.
    """

    images: int
    conflicting_labels: int
    examples: tuple[EqualImages, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The attributes as a JSON object."""
        return asdict(self) | {"examples": [asdict(example) for example in self.examples]}


def find(sets: Mapping[str, ImageSet], progress: Progress = SILENT) -> dict[str, Duplicates]:
    """Equal images between every two splits, and within each split.

    Every image is read once, and 16 bytes are kept for it.

    Args:
        sets: the splits by name; of two equal images, the one in the earlier split is the first.
        progress: receives progress reports.

    Returns:
        Under `train_test`, the images of test that are also in train; under `train`, those that
        repeat an earlier image of train; likewise for all names.
    """
    groups = _groups(sets, progress)
    found = {}
    for one, other in combinations(sets, 2):
        first, second = _Labelled(sets[one], groups[one]), _Labelled(sets[other], groups[other])
        found[f"{one}_{other}"] = _collected(_between(first, second), first, second)
    for name, images in sets.items():
        labelled = _Labelled(images, groups[name])
        found[name] = _collected(_within(labelled), labelled, labelled)
    return found


@dataclass(frozen=True)
class _Labelled:
    """An image set, and for each image the number of its group of equal images."""

    images: ImageSet
    groups_N: np.ndarray

    def only(self, groups: np.ndarray) -> Iterator[tuple[int, int, int]]:
        """(index, group, label) of the images of these groups, in order."""
        chosen = np.flatnonzero(np.isin(self.groups_N, groups))
        picked = (chosen, self.groups_N[chosen], self.images.labels_N[chosen])
        yield from zip(*(numbers.tolist() for numbers in picked), strict=True)


_Repeat = tuple[
    int, int, bool
]  # index of the first image, of the second, whether their classes differ


def _groups(sets: Mapping[str, ImageSet], progress: Progress) -> dict[str, np.ndarray]:
    """int64 N for each set: equal numbers for equal pixels, across all sets."""
    progress.start("looking for equal images", sum(map(len, sets.values())), "images")
    hashes = b"".join(_hashes(images, progress) for images in sets.values())
    progress.finish()
    halves_N2 = np.frombuffer(hashes, dtype="<u8").reshape(-1, 2)
    groups_N = np.unique(halves_N2, axis=0, return_inverse=True)[1].ravel()
    borders = np.cumsum([len(images) for images in sets.values()])[:-1]
    return dict(zip(sets, np.split(groups_N, borders), strict=True))


def _hashes(images: ImageSet, progress: Progress) -> bytes:
    """`HASH_BYTES` for each image."""
    hashes = bytearray()
    for chunk in images.chunks():
        for image_HWC in np.ascontiguousarray(chunk):
            hashes += hashlib.sha256(image_HWC).digest()[:HASH_BYTES]
        progress.advance(len(chunk))
    return bytes(hashes)


def _between(first: _Labelled, second: _Labelled) -> Iterator[_Repeat]:
    """The images of `second` that are also in `first`."""
    common = np.intersect1d(first.groups_N, second.groups_N)
    known: dict[int, dict[int, int]] = {}  # for each group: the first image of each label
    for index, group, label in first.only(common):
        known.setdefault(group, {}).setdefault(label, index)
    for index, group, label in second.only(common):
        yield _repeat(known[group], index, label)


def _within(labelled: _Labelled) -> Iterator[_Repeat]:
    """The images that repeat an earlier one of their set."""
    groups, counts = np.unique(labelled.groups_N, return_counts=True)
    known: dict[int, dict[int, int]] = {}
    for index, group, label in labelled.only(groups[counts > 1]):
        if earlier := known.get(group):
            yield _repeat(earlier, index, label)
        known.setdefault(group, {}).setdefault(label, index)


def _repeat(known: Mapping[int, int], index: int, label: int) -> _Repeat:
    """The image that image `index` repeats: one of another class if there is one."""
    unlike = next((first for other, first in known.items() if other != label), None)
    return (known[label], index, False) if unlike is None else (unlike, index, True)


def _collected(repeats: Iterator[_Repeat], first: _Labelled, second: _Labelled) -> Duplicates:
    """Count the repeats and name a few."""
    found = list(repeats)
    unlike = [repeat for repeat in found if repeat[2]]
    alike = (repeat for repeat in found if not repeat[2])
    named: Sequence[_Repeat] = [*unlike[:EXAMPLES], *islice(alike, EXAMPLES)][:EXAMPLES]
    examples = tuple(
        EqualImages(
            first.images.names[one],
            second.images.names[other],
            first.images.classes[first.images.labels_N[one]],
            second.images.classes[second.images.labels_N[other]],
        )
        for one, other, _ in named
    )
    return Duplicates(len(found), len(unlike), examples)
