"""Images with their labels, classes and names. No torch.

Shapes: N images, H height, W width, C channels, K classes.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

CHUNK_BYTES = 32 * 2**20
"""Pixels are read in pieces of this size, so a memory-mapped set is never in memory as a whole."""

MOST_NAMED = 100
"""Most bad images named in JSON; all are counted."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one split. Two sets are equal if they are the same object.

    Attributes:
        images_NHWC: uint8; in RAM or memory-mapped.
        labels_N: int64, in [0, K).
        classes: names of the K classes.
        names: the origin of each image: a relative file name, or `shapes/train/000123`.
    """

    images_NHWC: np.ndarray
    labels_N: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images_NHWC.dtype != np.uint8 or self.images_NHWC.ndim != 4:
            raise TypeError("images_NHWC must be uint8 with four axes")
        if not len(self.images_NHWC) == len(self.labels_N) == len(self.names):
            raise ValueError("images, labels and names must have the same length")

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        _, height, width, channels = self.images_NHWC.shape
        return height, width, channels

    def take(self, indices: np.ndarray) -> "ImageSet":
        """A set of the images at `indices`, in that order, in RAM."""
        return replace(
            self,
            images_NHWC=np.asarray(self.images_NHWC[indices]),
            labels_N=self.labels_N[indices],
            names=tuple(self.names[index] for index in indices),
        )

    def class_counts(self) -> np.ndarray:
        """Images per class, int64 K."""
        return np.bincount(self.labels_N, minlength=len(self.classes))

    def balanced_weights(self) -> np.ndarray:
        """A weight for each class, float64 K, that makes every class count the same in a sum.

        N / (K * images of the class), so the mean over all images is 1. These are scikit-learn's
        `class_weight="balanced"`, after King and Zeng (2001). 0 for a class without images.
        """
        counts_K = self.class_counts()
        present_K = counts_K > 0
        weights_K = np.zeros(len(counts_K))
        weights_K[present_K] = len(self) / (present_K.sum() * counts_K[present_K])
        return weights_K

    def chunks(self) -> Iterator[np.ndarray]:
        """The images in order, in pieces of about `CHUNK_BYTES`."""
        per_image = int(np.prod(self.image_shape))
        count = max(1, CHUNK_BYTES // per_image)
        for start in range(0, len(self), count):
            yield self.images_NHWC[start : start + count]

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, for pixels scaled to [0, 1].

        Both are computed from the counts of the 256 pixel values, so they are exact up to the last
        rounding.
        """
        channels = self.image_shape[2]
        counts_CV = np.zeros((channels, 256), dtype=np.int64)
        for chunk in self.chunks():
            for channel in range(channels):
                counts_CV[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
        values_V = np.arange(256) / 255
        shares_CV = counts_CV / counts_CV.sum(axis=1, keepdims=True)
        means = shares_CV @ values_V
        variances = [
            float(share_V @ (values_V - mean) ** 2)
            for share_V, mean in zip(shares_CV, means, strict=True)
        ]
        return tuple(map(float, means)), tuple(variance**0.5 for variance in variances)

    def digest(self) -> bytes:
        """SHA-256 of the pixels, labels, class names and image size, but not of image names."""
        sha = hashlib.sha256()
        sha.update(repr((self.images_NHWC.shape, self.classes)).encode())
        sha.update(np.ascontiguousarray(self.labels_N, dtype="<i8").tobytes())
        for chunk in self.chunks():
            sha.update(np.ascontiguousarray(chunk).data)
        return sha.digest()


@dataclass(frozen=True)
class BadImage:
    """An image that can't be used: its name, and the reason in a few printable words."""

    name: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """The parts of a source of images that are in no split.

    Attributes:
        hidden_files: number of files and folders whose names begin with a dot.
        hidden_folders: number of folders among these.
        hidden_folder_names: their names, five at most.
        system_entries: number of folders and files that systems create, such as `@eaDir`.
        system_names: their names, the most frequent first, five at most.
        run_folders: number of folders of runs, of trials and of sweeps, and of such folders.
        run_folder_names: their names, five at most.
        other_files: number of files without an image's extension, and of pipes and the like.
        other_endings: their extensions, the most frequent first, five at most.
        dead_links: number of broken links.
        links: number of links, devices and the like in an archive, which are never followed.
        repeated_folders: number of links to a folder of the same class that was visited already.
        stray_images: number of images outside the class folders.
        other_folders: number of folders next to those of the splits.
        other_folder_names: their names, five at most.
        unlabelled_folders: names of split folders that have images but no class folders.
        bad_images: the unreadable images, in order; only if they are skipped.
    """

    hidden_files: int = 0
    hidden_folders: int = 0
    hidden_folder_names: tuple[str, ...] = ()
    system_entries: int = 0
    system_names: tuple[str, ...] = ()
    run_folders: int = 0
    run_folder_names: tuple[str, ...] = ()
    other_files: int = 0
    other_endings: tuple[str, ...] = ()
    dead_links: int = 0
    links: int = 0
    repeated_folders: int = 0
    stray_images: int = 0
    other_folders: int = 0
    other_folder_names: tuple[str, ...] = ()
    unlabelled_folders: tuple[str, ...] = ()
    bad_images: tuple[BadImage, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything was left out."""
        return self != LeftOut()

    def to_json(self) -> dict[str, Any]:
        """The attributes as a JSON object; bad images as a count and the first `MOST_NAMED`."""
        named = [asdict(image) for image in self.bad_images[:MOST_NAMED]]
        lists = {name: list(each) for name, each in vars(self).items() if isinstance(each, tuple)}
        return (
            asdict(self)
            | lists
            | {
                "bad_images": named,
                "bad_image_count": len(self.bad_images),
            }
        )


@dataclass(frozen=True)
class Splits:
    """The splits of one source.

    Attributes:
        train, test: always present.
        val: split off train, or the source's own; None if there is none.
        source: its name or path, as requested.
        fingerprint: 16 hex digits that identify the images, labels and class names.
        kind: a short description of the source; empty if not known.
        left_out: the parts of the source that are in no split.
    """

    train: ImageSet
    test: ImageSet
    val: ImageSet | None
    source: str
    fingerprint: str
    kind: str = ""
    left_out: LeftOut = LeftOut()


@dataclass(frozen=True)
class Labelled:
    """The images of one source to evaluate a network on, as one set.

    Attributes:
        images: the images; `classes` are those that occur, which may be a single one.
        source: its name or path, as requested.
        fingerprint: 16 hex digits that identify the images, labels and class names.
        kind: a short description, such as `class folders`, or `test split of class folders`.
        left_out: the other parts of the source.
    """

    images: ImageSet
    source: str
    fingerprint: str
    kind: str
    left_out: LeftOut = LeftOut()


def fingerprint(train: ImageSet, test: ImageSet, val: ImageSet | None) -> str:
    """The first 16 hex digits of a SHA-256 over all splits."""
    sha = hashlib.sha256(train.digest() + test.digest())
    if val is not None:
        sha.update(val.digest())
    return sha.hexdigest()[:16]
