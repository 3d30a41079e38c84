"""A small vision transformer for images of about 32 pixels.

Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021 (arXiv:2010.11929), with fixed positions
and the mean of the tokens instead of a class token: Beyer, Zhai and Kolesnikov, "Better plain ViT
baselines for ImageNet-1k", 2022 (arXiv:2205.01580).

Shapes: B batch, C channels, H height, W width, K classes. Between blocks the tokens lie as a map
B C H W, in channels_last order, so that a linear layer takes them as B H W C without a copy.
"""

import torch
from torch import Tensor, nn

from onecycle.models import initial
from onecycle.models.arguments import scaled
from onecycle.models.attention import Attention
from onecycle.models.channels import ChannelNorm, StochasticDepth, rising

PATCH = 4
"""Side of a patch in pixels."""
BASE_CHANNELS, HEADS, BLOCKS, EXPANSION = 128, 4, 6, 4
"""Channels at width 1, heads of the attention, blocks, and factor of a block's inner channels."""
PERIOD = 10_000
"""Longest wavelength of the positions, in units of 2 π tokens."""


class Patches(nn.Sequential):
    """A token for each patch of the image.

    Sides that are no multiple of the patch are padded with zeros at the right and at the bottom.
    (Padding by 3 adds a patch only where a side has a remainder.)
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.add_module("pad", nn.ZeroPad2d((0, PATCH - 1, 0, PATCH - 1)))
        self.add_module("conv", nn.Conv2d(channels_in, channels_out, PATCH, stride=PATCH))


class Positions(nn.Module):
    """Add each token's place in the map, as sines and cosines of its row and its column.

    They are computed for the map at hand, so a network works at any image size. Nothing is learned.
    """

    frequencies_C: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // 4
        exponents_C = torch.arange(quarter) / max(1, quarter - 1)
        self.register_buffer("frequencies_C", PERIOD**-exponents_C, persistent=False)

    def forward(self, map_BCHW: Tensor) -> Tensor:
        size_HW1 = (map_BCHW.shape[2], map_BCHW.shape[3], 1)  # each by itself, for traces
        ones_HW1 = map_BCHW.new_ones(size_HW1, dtype=self.frequencies_C.dtype)
        rows_HWC = (ones_HW1.cumsum(0) - 1) * self.frequencies_C
        columns_HWC = (ones_HW1.cumsum(1) - 1) * self.frequencies_C
        waves = (rows_HWC.sin(), rows_HWC.cos(), columns_HWC.sin(), columns_HWC.cos())
        return map_BCHW + torch.cat(waves, dim=2).permute(2, 0, 1).to(map_BCHW.dtype)


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, channels: int, dropped: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attention = Attention(channels, HEADS)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, EXPANSION * channels)
        self.gelu = nn.GELU()
        self.reduce = nn.Linear(EXPANSION * channels, channels)
        self.stochastic_depth = StochasticDepth(dropped)

    def forward(self, map_BCHW: Tensor) -> Tensor:
        branch_BHWC = self.attention(self.norm1(map_BCHW.permute(0, 2, 3, 1)))
        map_BCHW = map_BCHW + self.stochastic_depth(branch_BHWC.permute(0, 3, 1, 2))
        branch_BHWC = self.expand(self.norm2(map_BCHW.permute(0, 2, 3, 1)))
        branch_BHWC = self.reduce(self.gelu(branch_BHWC))
        return map_BCHW + self.stochastic_depth(branch_BHWC.permute(0, 3, 1, 2))


class SmallViT(nn.Module):
    """Small vision transformer (Dosovitskiy et al., 2021) for AdamW, patches of 4 pixels.

    Stages, as maps B C H W of tokens: patches (with positions), block1 to block6, norm; and pool.
    Images have at least 8 pixels a side; sides that are no multiple of 4 are padded with zeros.

    Args:
        classes: K.
        channels: channels of the images.
        width: factor on the channels of a token, rounded to a multiple of 8; there are 4 heads.
        head_scale: factor on the logits.
        dropout: probability of dropping a feature before the linear layer.
        stochastic_depth: probability of leaving out a branch of the last block, in [0, 1); it rises
            evenly from 0 at the first block.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int = 3,
        width: float = 1.0,
        head_scale: float = 1.0,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
    ) -> None:
        super().__init__()
        size = scaled(BASE_CHANNELS, width)
        self.patches = Patches(channels, size)
        self.positions = Positions(size)
        self.blocks = [f"block{index + 1}" for index in range(BLOCKS)]
        for name, dropped in zip(self.blocks, rising(stochastic_depth, BLOCKS), strict=True):
            self.add_module(name, TransformerBlock(size, dropped))
        self.norm = ChannelNorm(size, eps=1e-6)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(size, classes)
        self.head_scale = head_scale
        initial.narrowly(self)

    def forward_features(self, batch_BCHW: Tensor) -> dict[str, Tensor]:
        """The output of each stage by name, in order: patches, block1 to block6, norm, pool."""
        map_BCHW = self.positions(self.patches(batch_BCHW))
        stages = {"patches": map_BCHW}
        for name in (*self.blocks, "norm"):
            map_BCHW = stages[name] = getattr(self, name)(map_BCHW)
        return stages | {"pool": self.pool(map_BCHW).flatten(1)}

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        """Logits B K."""
        features_BC = self.forward_features(batch_BCHW)["pool"]
        return self.linear(self.dropout(features_BC)) * self.head_scale
