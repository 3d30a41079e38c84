"""Layers of networks that are trained like transformers: norm over channels, layer scale,
stochastic depth.

Shapes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor, nn

from onecycle.errors import InputError


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel (Ba, Kiros and Hinton, 2016) of a map B C H W."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    """A learned factor for each channel of a map B C H W (Touvron et al., 2021, "Going Deeper with
    Image Transformers").

    Args:
        channels: C.
        start: first value of the factors.
    """

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), start))

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        return batch_BCHW * self.weight[:, None, None]


class StochasticDepth(nn.Module):
    """Leave a branch out for some images while training (Huang et al., 2016, "Deep Networks with
    Stochastic Depth"). What is kept is divided by its probability, so that the mean stays.

    The draws come from PyTorch's global generator, like those of dropout. In eval mode, or with
    probability 0, nothing is drawn.

    Args:
        probability: of leaving out an image's branch, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch_BCHW: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return branch_BCHW
        kept = 1 - self.probability
        shape = (len(branch_BCHW), 1, 1, 1)
        kept_B111 = torch.rand(shape, device=branch_BCHW.device) < kept
        return branch_BCHW * (kept_B111 / kept).to(branch_BCHW.dtype)


def rising(probability: float, blocks: int) -> list[float]:
    """Probabilities of stochastic depth: from 0 at the first block evenly to the last's.

    Raises:
        InputError: `probability`, the last block's, is not in [0, 1).
    """
    if not 0 <= probability < 1:
        raise InputError(
            f"stochastic_depth: {probability} is out of range; give a number at least 0 and less "
            "than 1"
        )
    return [probability * index / max(1, blocks - 1) for index in range(blocks)]
