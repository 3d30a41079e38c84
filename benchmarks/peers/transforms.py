"""The brief's transforms one image at a time: as textbooks have them, and written for speed.

What is drawn and what is done are apart, so that a test can give both the draws of onecycle's
batched transforms. No torch is imported before a tensor is asked for: Keras on JAX needs none.

Shapes: N images, C channels, H height, W width.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from benchmarks.peers.work import CUTOUT, FLIP, PADDING, Images


class Draw(NamedTuple):
    """Corner of the crop in the padded image, mirrored or not, corner of the cut square."""

    top: int
    left: int
    mirrored: bool
    cut_top: int
    cut_left: int


def draw(height: int, width: int) -> Draw:
    """Independent draws for one image, from Python's generator as textbooks do."""
    return Draw(
        random.randint(0, 2 * PADDING),
        random.randint(0, 2 * PADDING),
        random.random() < FLIP,
        random.randint(0, height - CUTOUT),
        random.randint(0, width - CUTOUT),
    )


def mean_colour(images: Images) -> tuple[int, ...]:
    """What the border is filled with: zero once normalised, but for rounding."""
    return tuple(round(255 * mean) for mean in images.mean)


Transform = Callable[[int, Draw], np.ndarray]
"""float32 H W C image from an index into the set and what was drawn for it."""


def textbook(images: Images) -> Transform:
    """Pad, crop and mirror with Pillow, then scale, normalise and cut out."""
    fill = mean_colour(images)
    mean_C, std_C = statistics(images)
    height, width = images.images_NHWC.shape[1:3]

    def transform(index: int, drawn: Draw) -> np.ndarray:
        image = ImageOps.expand(Image.fromarray(images.images_NHWC[index]), PADDING, fill)
        image = image.crop((drawn.left, drawn.top, drawn.left + width, drawn.top + height))
        if drawn.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image_HWC = (np.asarray(image, dtype=np.float32) / 255 - mean_C) / std_C
        return cut_out(image_HWC, drawn)

    return transform


def quick(images: Images) -> Transform:
    """Slices of images that were padded once, normalised in place."""
    height, width = images.images_NHWC.shape[1:3]
    padded_NHWC = np.empty(
        (len(images.images_NHWC), height + 2 * PADDING, width + 2 * PADDING, len(images.mean)),
        dtype=np.uint8,
    )
    padded_NHWC[:] = mean_colour(images)
    padded_NHWC[:, PADDING:-PADDING, PADDING:-PADDING] = images.images_NHWC
    mean_C, std_C = statistics(images)
    scale_C, shift_C = 1 / (255 * std_C), mean_C / std_C

    def transform(index: int, drawn: Draw) -> np.ndarray:
        image_HWC = padded_NHWC[
            index, drawn.top : drawn.top + height, drawn.left : drawn.left + width
        ]
        if drawn.mirrored:
            image_HWC = image_HWC[:, ::-1]
        normalised_HWC = image_HWC * scale_C
        normalised_HWC -= shift_C
        return cut_out(normalised_HWC, drawn)

    return transform


def statistics(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the channels, float32."""
    return np.array(images.mean, dtype=np.float32), np.array(images.std, dtype=np.float32)


def cut_out(image_HWC: np.ndarray, drawn: Draw) -> np.ndarray:
    """The image itself, a square of it set to zero."""
    rows = slice(drawn.cut_top, drawn.cut_top + CUTOUT)
    image_HWC[rows, drawn.cut_left : drawn.cut_left + CUTOUT] = 0
    return image_HWC


TRANSFORMS = {"pil": textbook, "numpy": quick}


class AugmentedImages:
    """A data set in PyTorch's sense: `len`, and by index an augmented image C H W and its label.

    It is `length` long: index i is image i modulo the number of images.
    """

    def __init__(self, images: Images, transforms: str, length: int) -> None:
        self._labels = images.labels_N.tolist()
        self._transform = TRANSFORMS[transforms](images)
        self._size = images.images_NHWC.shape[1:3]
        self._length = length

    def __len__(self) -> int:
        return self._length

    def augmented(self, index: int) -> tuple[np.ndarray, int]:
        """Image H W C and label."""
        index %= len(self._labels)
        return self._transform(index, draw(*self._size)), self._labels[index]

    def __getitem__(self, index: int) -> tuple[object, int]:
        import torch

        image_HWC, label = self.augmented(index)
        return torch.from_numpy(image_HWC).permute(2, 0, 1), label
