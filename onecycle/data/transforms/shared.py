"""The random stream that the three oldest transforms share, so that runs keep their bits.

Five numbers are drawn for each image, whichever of the three are on: two for the crop, one for the
flip, two for the cutout. A new transform has its own stream.
"""

import torch
from torch import Tensor

STREAM = "augment"
CROP, FLIP, CUTOUT = slice(0, 2), slice(2, 3), slice(3, 5)
"""The columns that each transform uses."""


def uniform(count: int, columns: slice, generator: torch.Generator) -> Tensor:
    """A transform's own columns for `count` images: float64 in [0, 1)."""
    return torch.rand(count, 5, generator=generator, dtype=torch.float64)[:, columns]
