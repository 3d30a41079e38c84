"""A few training images made again from what was drawn for them, and compared with the batch.

If images are turned, enlarged or recoloured, `transform_check` can't read from their pixels what
was done to each. Here the numbers drawn are applied once more, by code of its own, one image at a
time. If the images that the network got are the same, the numbers drawn tell what was done.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from torch import Tensor

from onecycle.data.batches import Batches
from onecycle.data.transforms import (
    ColourJitter,
    Crop,
    Cutout,
    Flip,
    ResizedCrop,
    Rotation,
    Transform,
    TrivialAugment,
)
from onecycle.engine.plain_transforms import PLAIN, transformed

MOST = 16
"""Largest number of images made again in one batch."""

PIXELS = 200_000
"""Pixels made again in one batch, for images so large that fewer of them are examined."""

LEVEL = 1.0
"""Values from 0 to 255 this close count as equal."""

EQUAL = 0.98
"""Share of equal values in an image that was made as drawn. A value on the edge between two levels
may be rounded to either before it is posterized or equalized."""


@dataclass(frozen=True)
class Replayed:
    """Counts of the images made again.

    Attributes:
        images: examined.
        agree: of them, the images that the network got as they were drawn.
        shifted, mirrored: of them, those for which a shift or a mirror image was drawn.
        cut: of them, those that the network got with a blank square where it was drawn.
        lowest, highest: by name, the least and the largest number drawn for a transform.
    """

    images: int = 0
    agree: int = 0
    shifted: int = 0
    mirrored: int = 0
    cut: int = 0
    lowest: dict[str, float] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: "Replayed") -> "Replayed":
        ends = {}
        for name, end in (("lowest", min), ("highest", max)):
            one, two = getattr(self, name), getattr(other, name)
            ends[name] = one | {k: end(one.get(k, value), value) for k, value in two.items()}
        counts = ("images", "agree", "shifted", "mirrored", "cut")
        sums = {name: getattr(self, name) + getattr(other, name) for name in counts}
        return Replayed(**sums, **ends)

    @classmethod
    def from_json(cls, counts: Mapping[str, Any]) -> "Replayed":
        """The counts that `to_json` gave. Other keys are ignored."""
        return cls(**{f.name: counts[f.name] for f in fields(cls) if f.name in counts})

    def to_json(self) -> dict[str, Any]:
        """The attributes."""
        return asdict(self)


def is_replayed(transforms: tuple[Transform, ...]) -> bool:
    """Whether some transform hides what was done to the images, and all can be done again."""
    return any(each.expected.hides for each in transforms) and all(
        type(each) in PLAIN for each in transforms
    )


def replayed(batches: Batches, step: int, batch_BCHW: Tensor) -> Replayed:
    """Make the first images of the batch of `step` again.

    Args:
        batches: gives the original images, and what was drawn for them.
        step: of the training, counted from 0.
        batch_BCHW: as the network gets it.
    """
    height, width, _ = batches.train.image_shape
    count = min(len(batch_BCHW), MOST, max(2, PIXELS // (height * width)))
    mean_C, std_C = 255 * np.array(batches.mean), 255 * np.array(batches.std)
    given_BHWC = batch_BCHW[:count].detach().permute(0, 2, 3, 1).float().cpu().numpy()
    mine = batches.own_slice(step)
    draws = [drawn_B[mine][:count].numpy() for drawn_B in batches.draws(step)]
    agree = 0
    for row, index in enumerate(batches.indices(step)[mine][:count]):
        image_HWC = batches.train.images_NHWC[index].astype(np.float64)
        for each, drawn_B in zip(batches.transforms, draws, strict=True):
            image_HWC = transformed(image_HWC, each, drawn_B[row].tolist(), mean_C)
        agree += _are_equal(given_BHWC[row] * std_C + mean_C, image_HWC)
    found = Replayed(images=count, agree=agree)
    for each, drawn_B in zip(batches.transforms, draws, strict=True):
        found += _told(each, drawn_B, height, width)
        if isinstance(each, Cutout):
            found += Replayed(cut=_cut(each.side, drawn_B, given_BHWC))
    return found


def _cut(side: int, corners_B2: np.ndarray, given_BHWC: np.ndarray) -> int:
    """Number of images whose square at the drawn corner is blank: 0, as images are normalised."""
    pairs = zip(given_BHWC, corners_B2, strict=True)
    return sum(not image_HWC[y : y + side, x : x + side].any() for image_HWC, (y, x) in pairs)


def _are_equal(given_HWC: np.ndarray, again_HWC: np.ndarray) -> bool:
    if given_HWC.shape != again_HWC.shape:
        return False
    return bool((np.abs(given_HWC - again_HWC) < LEVEL).mean() >= EQUAL)


def _told(each: Transform, drawn_B: np.ndarray, height: int, width: int) -> Replayed:
    """What the numbers drawn for a transform say, without counting the images again."""
    match each:
        case Crop(padding=padding):
            moves_B = np.abs(drawn_B - padding).max(1)
            return Replayed(shifted=int((moves_B > 0).sum())) + _ends("shift", moves_B)
        case Flip():
            return Replayed(mirrored=int(drawn_B.sum()))
        case Cutout(side=side):
            return _ends("cutout", np.array([side]))
        case Rotation():
            return _ends("rotation", drawn_B)
        case ResizedCrop():
            return _ends("resized_crop", drawn_B[:, 2] * drawn_B[:, 3] / (height * width))
        case ColourJitter():
            names = ("brightness", "contrast", "saturation", "hue")
            return sum((_ends(n, drawn_B[:, i]) for i, n in enumerate(names)), Replayed())
        case TrivialAugment():
            return _ends("operation", drawn_B[:, 0]) + _ends("strength", drawn_B[:, 1])
    return Replayed()


def _ends(name: str, numbers_B: np.ndarray) -> Replayed:
    low, high = float(numbers_B.min()), float(numbers_B.max())
    return Replayed(lowest={name: low}, highest={name: high})
