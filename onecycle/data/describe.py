"""A description of an image source, for use before a training. No torch.

Shapes: C channels, K classes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onecycle.data import duplicates
from onecycle.data.duplicates import Duplicates
from onecycle.data.image_set import ImageSet, LeftOut, Splits
from onecycle.progress import IN_NOTEBOOKS, Progress
from onecycle.writing.numbers import counted

UNEVEN = 2.0
"""Ratio of the largest to the smallest class at which a split gets a warning."""

REMEDY = "train with --class-weights balanced"
"""The remedy for uneven classes in the train split."""


@dataclass(frozen=True)
class SplitDescription:
    """The images of one split, by class.

    Attributes:
        class_counts: images of each of the K classes.
    """

    class_counts: tuple[int, ...]

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.class_counts)

    @property
    def class_shares(self) -> tuple[float, ...]:
        """Each class's share of the images, in [0, 1]."""
        images = self.images
        return tuple(count / images for count in self.class_counts)

    @property
    def largest(self) -> int:
        """The class with the most images; the first if there are several."""
        return self.class_counts.index(max(self.class_counts))

    @property
    def smallest(self) -> int:
        """The class with the fewest images; the first if there are several."""
        return self.class_counts.index(min(self.class_counts))

    @property
    def imbalance(self) -> float | None:
        """Ratio of the largest class to the smallest, at least 1; None if a class has no images."""
        fewest = min(self.class_counts)
        return max(self.class_counts) / fewest if fewest else None

    def to_json(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """All of the above as a JSON object, with classes by name."""
        return {
            "images": self.images,
            "class_counts": list(self.class_counts),
            "class_shares": list(self.class_shares),
            "largest_class": classes[self.largest],
            "smallest_class": classes[self.smallest],
            "imbalance": self.imbalance,
        }


@dataclass(frozen=True, kw_only=True)
class DataDescription:
    """The contents of an image source.

    Attributes:
        source: its name or path, as requested.
        kind: a short description of it; empty if not known.
        fingerprint: 16 hex digits that identify the images, labels and class names.
        image_shape: (H, W, C) of every image, after decoding.
        bytes: size of all pixels of all splits.
        mean, std: of each channel of the train split, for pixels scaled to [0, 1].
        classes: names of the K classes.
        splits: by name: train, val if there is one, test.
        duplicates: equal images, see `duplicates.find`.
        left_out: files and folders of the source that are in no split.
    """

    source: str
    kind: str
    fingerprint: str
    image_shape: tuple[int, int, int]
    bytes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    splits: Mapping[str, SplitDescription]
    duplicates: Mapping[str, Duplicates]
    left_out: LeftOut

    @property
    def warnings(self) -> tuple[str, ...]:
        """A line for each problem that harms a training or its figures, with its remedy."""
        return (*self._uneven_splits(), *self._equal_images())

    def to_json(self) -> dict[str, Any]:
        """All of it, including `warnings`, as a JSON object."""
        return {
            "source": self.source,
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "image_shape": list(self.image_shape),
            "bytes": self.bytes,
            "mean": list(self.mean),
            "std": list(self.std),
            "classes": list(self.classes),
            "splits": {name: split.to_json(self.classes) for name, split in self.splits.items()},
            "duplicates": {name: found.to_json() for name, found in self.duplicates.items()},
            "left_out": self.left_out.to_json(),
            "warnings": list(self.warnings),
        }

    def _uneven_splits(self) -> Iterator[str]:
        for name, split in self.splits.items():
            ratio = split.imbalance
            if ratio is not None and ratio < UNEVEN:
                continue
            remedy = REMEDY if name == "train" else "large classes dominate its accuracy"
            yield f"{name}: {self._extremes(split)}; {remedy}"

    def _extremes(self, split: SplitDescription) -> str:
        """The largest class compared with the smallest."""
        largest, smallest = self.classes[split.largest], self.classes[split.smallest]
        most, fewest = max(split.class_counts), min(split.class_counts)
        if split.imbalance is None:
            return f"class '{largest}' has {counted(most, 'image')}, but '{smallest}' has none"
        return (
            f"class '{largest}' has {split.imbalance:,.1f} times as many images as '{smallest}' "
            f"({most:,} and {fewest:,})"
        )

    def _equal_images(self) -> Iterator[str]:
        for name, found in self.duplicates.items():
            one, _, other = name.partition("_")
            unlike = found.conflicting_labels
            if other and found.images:
                classes = f", {unlike:,} of them under another class" if unlike else ""
                images = counted(self.splits[other].images, "image")
                verb = "is" if found.images == 1 else "are"
                yield (
                    f"{other}: {found.images:,} of {images} {verb} in "
                    f"{one} too{classes}; remove the copies, or its accuracy is misleading"
                )
            elif unlike:
                images = "image repeats" if unlike == 1 else "images repeat"
                yield (
                    f"{one}: {unlike:,} {images} another one under another class; correct or "
                    "remove them"
                )


def describe_data(splits: Splits, *, progress: Progress = IN_NOTEBOOKS) -> DataDescription:
    """Describe `splits`: counts, class balance, channel statistics, and equal images.

    Images are read in pieces, so memory-mapped sets are never held in memory as a whole.

    Args:
        splits: from `load_splits`.
        progress: receives progress reports.
    """
    sets = _sets(splits)
    mean, std = splits.train.channel_statistics()
    return DataDescription(
        source=splits.source,
        kind=splits.kind,
        fingerprint=splits.fingerprint,
        image_shape=splits.train.image_shape,
        bytes=sum(images.images_NHWC.nbytes for images in sets.values()),
        mean=mean,
        std=std,
        classes=splits.train.classes,
        splits={
            name: SplitDescription(tuple(images.class_counts().tolist()))
            for name, images in sets.items()
        },
        duplicates=duplicates.find(sets, progress),
        left_out=splits.left_out,
    )


def _sets(splits: Splits) -> dict[str, ImageSet]:
    """The image sets of the splits, by name."""
    sets = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {name: images for name, images in sets.items() if images is not None}
