"""Effective receptive fields: how far a unit sees, as measured.

Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
2016 (arXiv:1701.04128). `models.summary` has the theoretical ones.

Shapes: B batch, C channels, H height, W width.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from onecycle.interpret.stages import with_stages

SHARE = 1 - 0.9545
"""Pixels with more than this share of the largest influence count as seen, as in Luo et al."""


MOST_STAGES = 16
"""Stages that a network may name itself; one with more is taken apart into all of its layers."""


@dataclass(frozen=True)
class EffectiveField:
    """What the middle unit of a stage sees of the images.

    Attributes:
        influence_HW: float64 of the images' size, scaled to a maximum of 1: how much a change of
            each pixel changes the unit, averaged over images.
        side: side of the square that has as many pixels as the unit sees (see `SHARE`).
    """

    influence_HW: np.ndarray
    side: float


def effective_receptive_fields(model: nn.Module, batch_BCHW: Tensor) -> dict[str, EffectiveField]:
    """The effective receptive field of each stage that has a height and a width.

    Of more than `MOST_STAGES`, only the last one of each size counts. A stage that does not depend
    on the images has none.

    The stage's middle unit is summed over its channels and differentiated with respect to the
    pixels. The gradient's absolute value is averaged over images and summed over the pixels'
    channels. If a side of the stage is even, the unit after the middle is taken.

    Args:
        model: any network; its stages are those of `forward_features`, or else its leaf modules.
        batch_BCHW: images as the network takes them; 32 give a smooth picture.
    """
    batch_BCHW = batch_BCHW.detach().requires_grad_()
    _, stages = with_stages(model, batch_BCHW)
    maps = {name: output for name, output in stages.items() if output.ndim == 4}
    if len(maps) > MOST_STAGES:
        kept = {output.shape[2:]: name for name, output in maps.items()}
        maps = {name: maps[name] for name in kept.values()}
    fields = {name: _field(output, batch_BCHW) for name, output in maps.items()}
    return {name: field for name, field in fields.items() if field is not None}


def _field(output_BCHW: Tensor, batch_BCHW: Tensor) -> EffectiveField | None:
    """The field of a stage; None if it does not depend on the images."""
    if not output_BCHW.requires_grad:
        return None
    height, width = output_BCHW.shape[2:]
    middle = output_BCHW[:, :, height // 2, width // 2].sum()
    (gradient,) = torch.autograd.grad(middle, batch_BCHW, retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    influence_HW = gradient.abs().mean(0).sum(0).double().cpu().numpy()
    influence_HW /= max(influence_HW.max(), np.finfo(float).tiny)
    return EffectiveField(influence_HW, math.sqrt(int((influence_HW > SHARE).sum())))
