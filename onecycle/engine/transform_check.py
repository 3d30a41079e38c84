"""How training images were transformed, measured from their pixels alone.

Each image that the network got is compared with the original, shifted and mirrored in every way
that the recipe allows. The way that agrees in most pixels is taken as what was done. If pixels are
blank as well, a square was cut out. The code of the transforms is not used, except for the largest
shift that they allow.

Shapes: B batch, C channels, H height, W width, S shifts, P probed pixels, X ways:
the shifts of the image as it is, then those of its mirror image.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from onecycle.data.batches import Batches

MOST = 32
"""Largest number of images examined in one batch."""

NEAR = 0.04
"""Normalised pixels this close count as equal: bf16 rounds a bright pixel by half as much."""

PROBES = 256
"""Pixels compared for each way. For the best way, all pixels are compared."""

SAMPLES = 10
"""Batches of a training that are examined, evenly spread over it."""

COMPARISONS = 4_000_000
"""Values compared at a time. If images are large, fewer of them are examined."""


@dataclass(frozen=True)
class Applied:
    """Counts of the images examined.

    Attributes:
        images: examined.
        decided: images for which one way fits, and fits better than all others. The rest, such as
            images of one colour or with altered pixels, tell nothing about shifts and mirroring.
        shifted, flipped: of the decided images.
        untouched: decided images that were not shifted, flipped or cut.
        cut: images with blank pixels, of all.
        cut_pixels: blank pixels in all images together.
        unexplained: images whose pixels can't result from crop, flip and cutout.
        farthest: largest shift seen, in pixels.
        wrong_size: images whose size differs from that in the data.
    """

    images: int = 0
    decided: int = 0
    shifted: int = 0
    flipped: int = 0
    untouched: int = 0
    cut: int = 0
    cut_pixels: int = 0
    unexplained: int = 0
    farthest: int = 0
    wrong_size: int = 0

    def __add__(self, other: "Applied") -> "Applied":
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Applied(**sums | {"farthest": max(self.farthest, other.farthest)})

    @classmethod
    def from_json(cls, counts: Mapping[str, Any]) -> "Applied":
        """The counts that `to_json` gave. Other keys are ignored."""
        return cls(**{f.name: counts[f.name] for f in fields(cls) if f.name in counts})

    def to_json(self) -> dict[str, int]:
        """The attributes."""
        return asdict(self)


@dataclass(frozen=True)
class _Ways:
    """For each image, the allowed way that agrees in most pixels.

    Attributes:
        rows_B, columns_B: int64, top left corner of the crop in the padded image.
        flipped_B, decided_B: bool, whether it is mirrored, and whether no other way agrees as well.
    """

    rows_B: Tensor
    columns_B: Tensor
    flipped_B: Tensor
    decided_B: Tensor


def is_looked_at(step: int, total_steps: int) -> bool:
    """Whether the batch of `step` is one of the `SAMPLES` that are examined."""
    every = max(1, total_steps // SAMPLES)
    return step % every == 0 and step < every * SAMPLES


def applied_to(batches: Batches, step: int, batch_BCHW: Tensor) -> Applied:
    """Measure how the first images of the batch of `step` were transformed.

    Args:
        batches: gives the original images and the channel statistics.
        step: of the training, counted from 0.
        batch_BCHW: as the network gets it.
    """
    train, padding = batches.train, sum(each.expected.farthest for each in batches.transforms)
    count = min(len(batch_BCHW), images_to_look_at(train.image_shape, padding))
    indices_B = batches.indices(step)[batches.own_slice(step)][:count]
    pixels_BHWC = torch.from_numpy(train.images_NHWC[indices_B])
    mean_C, std_C = torch.tensor(batches.mean), torch.tensor(batches.std)
    originals_BHWC = (pixels_BHWC.float() / 255 - mean_C) / std_C
    return applied(originals_BHWC, batch_BCHW[:count].cpu(), padding)


def images_to_look_at(image_shape: tuple[int, int, int], padding: int) -> int:
    """How many images of (H, W, C) are compared in about a hundredth of a second."""
    height, width, channels = image_shape
    each = 2 * (2 * padding + 1) ** 2 * min(height * width, PROBES) * channels
    return min(max(2, COMPARISONS // each), MOST)


def applied(originals_BHWC: Tensor, batch_BCHW: Tensor, padding: int) -> Applied:
    """Measure how the images of a batch were transformed.

    Args:
        originals_BHWC: float32, the original images, normalised.
        batch_BCHW: the same images as the network got them, in any floating type.
        padding: the largest shift to look for, in pixels.
    """
    given_BHWC = batch_BCHW.detach().permute(0, 2, 3, 1).float()
    wrong_size = len(given_BHWC) if given_BHWC.shape != originals_BHWC.shape else 0
    framed_BHWC = _framed(originals_BHWC, given_BHWC.shape)
    padded_BHWC = F.pad(framed_BHWC, (0, 0, padding, padding, padding, padding))
    ways = _best_ways(padded_BHWC, given_BHWC, padding)
    expected_BHWC = _cropped(padded_BHWC, ways, given_BHWC.shape)
    upright_BHWC = _mirrored_back(given_BHWC, ways.flipped_B)
    cut_pixels_B, unexplained_B, fits_B = _blanked(expected_BHWC, upright_BHWC)
    moves_B = torch.stack([ways.rows_B - padding, ways.columns_B - padding]).abs().amax(0)
    untouched_B = (moves_B == 0) & ~ways.flipped_B & (cut_pixels_B == 0)
    decided_B = ways.decided_B & fits_B
    return Applied(
        images=len(given_BHWC),
        decided=int(decided_B.sum()),
        shifted=int(((moves_B > 0) & decided_B).sum()),
        flipped=int((ways.flipped_B & decided_B).sum()),
        untouched=int((untouched_B & decided_B).sum()),
        cut=int((cut_pixels_B > 0).sum()),
        cut_pixels=int(cut_pixels_B.sum()),
        unexplained=int(unexplained_B.sum()),
        farthest=int((moves_B * decided_B).max()),
        wrong_size=wrong_size,
    )


def _framed(images_BHWC: Tensor, shape: torch.Size) -> Tensor:
    """The images brought to this height and width: framed by zeros, or cut to their middle."""
    margins = []
    for axis in (2, 1):
        extra = shape[axis] - images_BHWC.shape[axis]
        margins += [extra // 2, extra - extra // 2]
    return F.pad(images_BHWC, (0, 0, *margins))  # a negative margin cuts off


def _best_ways(padded_BHWC: Tensor, given_BHWC: Tensor, padding: int) -> _Ways:
    sides = (given_BHWC, given_BHWC.flip(2))
    scores_B2S = torch.stack([_agreement(padded_BHWC, side, padding) for side in sides], 1)
    scores_BX = scores_B2S.flatten(1)
    best_B, positions = scores_BX.argmax(1), 2 * padding + 1
    return _Ways(
        rows_B=best_B % positions**2 // positions,
        columns_B=best_B % positions,
        flipped_B=best_B >= positions**2,
        decided_B=(scores_BX == scores_BX.amax(1, keepdim=True)).sum(1) == 1,
    )


def _agreement(padded_BHWC: Tensor, given_BHWC: Tensor, padding: int) -> Tensor:
    """Number of probed pixels in which each shifted image agrees with the given one: int64 B S."""
    _, height, width, _ = given_BHWC.shape
    count = height * width
    probes_P = torch.arange(0, count, max(1, count // PROBES) | 1, device=given_BHWC.device)
    rows_P, columns_P = probes_P // width, probes_P % width
    wanted_B1PC = given_BHWC[:, None, rows_P, columns_P]
    scores = []
    for down in range(2 * padding + 1):  # one row of shifts at a time, to bound the memory
        rights_S1 = torch.arange(2 * padding + 1, device=given_BHWC.device)[:, None]
        found_BSPC = padded_BHWC[:, rows_P + down, columns_P + rights_S1]
        scores.append(((found_BSPC - wanted_B1PC).abs() < NEAR).sum((2, 3)))
    return torch.cat(scores, 1)


def _cropped(padded_BHWC: Tensor, ways: _Ways, shape: torch.Size) -> Tensor:
    """Each image's crop, not mirrored."""
    each_B11 = torch.arange(shape[0], device=padded_BHWC.device)[:, None, None]
    rows_BH1 = (ways.rows_B[:, None] + torch.arange(shape[1], device=padded_BHWC.device))[..., None]
    columns_B1W = ways.columns_B[:, None] + torch.arange(shape[2], device=padded_BHWC.device)
    return padded_BHWC[each_B11, rows_BH1, columns_B1W[:, None]]


def _mirrored_back(given_BHWC: Tensor, flipped_B: Tensor) -> Tensor:
    return torch.where(flipped_B[:, None, None, None], given_BHWC.flip(2), given_BHWC)


def _blanked(expected_BHWC: Tensor, found_BHWC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each image: pixels that are blank and should not be, whether others differ, and whether
    no more than half of those do, so that the image is what was expected. If not, none is cut.
    """
    differs_BHW = ((expected_BHWC - found_BHWC).abs() >= NEAR).any(-1)
    blank_BHW = (found_BHWC.abs() < NEAR).all(-1)
    others_B = (differs_BHW & ~blank_BHW).sum((1, 2))
    fits_B = 2 * others_B <= (~blank_BHW).sum((1, 2))
    return (differs_BHW & blank_BHW).sum((1, 2)) * fits_B, others_B > 0, fits_B
