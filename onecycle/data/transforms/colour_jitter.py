"""Colour jitter: brightness, contrast, saturation and hue of each image change at random."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from onecycle.config import Recipe
from onecycle.data.transforms import colour
from onecycle.data.transforms.transform import Expected, Transform
from onecycle.errors import InputError

CHANGES = {
    "brightness": colour.brightness,
    "contrast": colour.contrast,
    "saturation": colour.saturation,
    "hue": colour.hue,
}
"""The four changes, each named like its setting, in the order in which they are made."""


@dataclass(frozen=True, kw_only=True)
class ColourJitter(Transform):
    """The four changes as torchvision's `ColorJitter` defines them, one after the other.

    Each factor is uniform in [1 - reach, 1 + reach], and the shift of the hue in [-hue, hue]. They
    always come in this order; torchvision draws an order for each image. Pixels stay in [0, 1].

    Attributes:
        brightness, contrast, saturation: reach of the factor, in [0, 1].
        hue: largest shift, as a share of the colour circle, in [0, 0.5].
        statistics: with which the images are normalised.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    statistics: colour.Statistics

    name = "colour jitter"
    stream = "colour jitter"

    @classmethod
    def of(cls, recipe: Recipe) -> Self | None:
        reaches = {name: getattr(recipe, name) for name in CHANGES}
        if not any(reaches.values()):
            return None
        return cls(**reaches, statistics=colour.Statistics.of(recipe))

    @property
    def expected(self) -> Expected:
        return Expected(altered=1.0, hides=True)

    def check(self, height: int, width: int, channels: int | None = None) -> None:
        for name in ("saturation", "hue"):
            if getattr(self, name) and channels not in (None, 3):
                raise InputError(f"{name}: the images have no colours to change; set it to 0")

    def draw(self, count: int, image_shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """float32 B 4: factors of brightness, contrast and saturation, and the hue's shift.

        Four numbers are drawn, whichever of the four are on.
        """
        reach = (self.brightness, self.contrast, self.saturation, self.hue)
        uniform_B4 = torch.rand(count, 4, generator=generator, dtype=torch.float64)
        around = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
        spread = torch.tensor(reach, dtype=torch.float64)
        return (around + spread * (2 * uniform_B4 - 1)).float()

    def apply(self, images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
        images_BHWC = self.statistics.shown(images_BHWC)
        for index, (name, change) in enumerate(CHANGES.items()):
            if getattr(self, name):
                images_BHWC = change(images_BHWC, drawn_B[:, index])
        return self.statistics.normalised(images_BHWC)
