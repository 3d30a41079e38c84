"""TrivialAugment: one random operation of random strength for each image.

Müller and Hutter, 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation"
(arXiv:2103.10158): operations and ranges of the "Wide" search space, with 31 strengths, which are
also those of torchvision's `TrivialAugmentWide`.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from onecycle import runtime
from onecycle.config import Recipe
from onecycle.data.transforms import colour, operations, sampling
from onecycle.data.transforms.transform import Expected, Transform

STRENGTHS = 31
"""Strengths of an operation, evenly spaced; the first changes nothing."""

GEOMETRIC = ("shear x", "shear y", "translate x", "translate y", "rotate")
ENHANCING = {
    "brightness": colour.brightness,
    "colour": colour.saturation,
    "contrast": colour.contrast,
    "sharpness": operations.sharpness,
}
NAMES = (
    "identity", *GEOMETRIC, *ENHANCING, "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
"""The operations in the order of the published table; each is as likely."""

SHEAR, SHIFT, ANGLE, ENHANCEMENT = 0.99, 32.0, 135.0, 0.99
"""Largest shear, shift in pixels (no more than the image's side), angle in degrees, and change of a
factor around 1. Their direction is random."""

DROPPED_BITS = 6
"""Most bits that posterizing drops, of 8. Solarizing inverts pixels from 255 down to 0 on."""


@dataclass(frozen=True)
class TrivialAugment(Transform):
    """One of fourteen operations, drawn with its strength for each image separately.

    Interpolation is bilinear, and what comes from outside the image is the channel mean; in the
    paper it is nearest and black. Grey images have no colour, so `colour` leaves them as they are.

    Attributes:
        statistics: with which the images are normalised.
    """

    statistics: colour.Statistics

    name = "TrivialAugment"
    stream = "trivial augment"
    draws_on_host = True

    @classmethod
    def of(cls, recipe: Recipe) -> Self | None:
        return cls(colour.Statistics.of(recipe)) if recipe.trivial_augment else None

    @property
    def expected(self) -> Expected:
        return Expected(altered=1 - 1 / len(NAMES), hides=True)

    def draw(self, count: int, image_shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """int64 B 3: index in `NAMES`, strength from 0 to 30, and direction, -1 or 1."""
        uniform_B3 = torch.rand(count, 3, generator=generator, dtype=torch.float64)
        kinds = torch.tensor([len(NAMES), STRENGTHS, 2], dtype=torch.float64)
        drawn_B3 = (uniform_B3 * kinds).long()
        drawn_B3[:, 2] = 2 * drawn_B3[:, 2] - 1
        return drawn_B3

    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        """Images are grouped by operation. `drawn_B` is on the CPU."""
        images_BHWC = images_BHWC.clone()
        kind_B, share_B = drawn_B[:, 0], drawn_B[:, 1].double() / (STRENGTHS - 1)
        first, last = NAMES.index(GEOMETRIC[0]), NAMES.index(GEOMETRIC[-1])
        moved_G = ((kind_B >= first) & (kind_B <= last)).nonzero()[:, 0]
        if len(moved_G):
            self._move(images_BHWC, moved_G, kind_B[moved_G], (share_B * drawn_B[:, 2])[moved_G])
        for kind, name in enumerate(NAMES[last + 1 :], last + 1):
            group_G = (kind_B == kind).nonzero()[:, 0]
            if len(group_G):
                group = runtime.sent(group_G, images_BHWC.device)
                shown = self.statistics.shown(images_BHWC[group])
                changed = _recoloured(name, shown, share_B[group_G], drawn_B[group_G, 2])
                images_BHWC[group] = self.statistics.normalised(changed)
        return images_BHWC

    def _move(self, images_BHWC: Tensor, moved_G: Tensor, kind_G: Tensor, share_G: Tensor) -> None:
        """All that shears, shifts and turns, as one sampling."""
        height, width = images_BHWC.shape[1:3]
        matrix_G23 = sampling.rotations(torch.zeros_like(share_G), height, width)
        for name, row, column, most in (
            ("shear x", 0, 1, SHEAR),
            ("shear y", 1, 0, SHEAR),
            ("translate x", 0, 2, min(SHIFT, width)),
            ("translate y", 1, 2, min(SHIFT, height)),
        ):
            chosen_G = kind_G == NAMES.index(name)
            matrix_G23[chosen_G, row, column] = (most * share_G[chosen_G]).float()
        turned_G = kind_G == NAMES.index("rotate")
        matrix_G23[turned_G] = sampling.rotations(ANGLE * share_G[turned_G], height, width)
        moved = runtime.sent(moved_G, images_BHWC.device)
        matrices = runtime.sent(matrix_G23, images_BHWC.device)
        images_BHWC[moved] = sampling.affine(images_BHWC[moved], matrices)


def _recoloured(name: str, shown: Tensor, share_G: Tensor, direction_G: Tensor) -> Tensor:
    """Images in [0, 1] after an operation on colours, of a strength in [0, 1]."""
    if name in ENHANCING:
        factor_G = 1 + ENHANCEMENT * share_G * direction_G
        return ENHANCING[name](shown, runtime.sent(factor_G.float(), shown.device))
    if name == "posterize":
        bits_G = 8 - (DROPPED_BITS * share_G).round().long()
        return operations.posterize(shown, runtime.sent(bits_G, shown.device))
    if name == "solarize":
        return operations.solarize(shown, runtime.sent((1 - share_G).float(), shown.device))
    return operations.autocontrast(shown) if name == "autocontrast" else operations.equalize(shown)
