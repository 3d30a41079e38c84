"""A small ConvNeXt for images of 28 to 96 pixels.

Liu et al., "A ConvNet for the 2020s", 2022 (arXiv:2201.03545), made smaller: the stem halves the
image's side instead of dividing it by four, there are three stages instead of four, and depthwise
convolutions are 3 x 3 instead of 7 x 7. At 32 pixels the maps have 16, 8 and 4 pixels a side, and
on a CPU the gradient of 7 x 7 takes ten times as long.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from onecycle.models import initial
from onecycle.models.arguments import scaled
from onecycle.models.channels import ChannelNorm, LayerScale, StochasticDepth, rising

BASE_CHANNELS = (64, 128, 256)
"""Channels of stage1, stage2 and stage3 at width 1."""
BLOCKS = (2, 2, 4)
"""Blocks of each stage."""
FIRST_SCALE = 0.1
"""Start of the layer scale, as Touvron et al. (2021) have it for up to 18 blocks."""


class ConvNeXtBlock(nn.Module):
    """x + branch(x): depthwise convolution 3 x 3, norm, 1 x 1 to four times the channels, GELU,
    1 x 1 back, layer scale, stochastic depth.
    """

    def __init__(self, channels: int, dropped: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = ChannelNorm(channels, eps=1e-6)
        self.expand = nn.Conv2d(channels, 4 * channels, 1)
        self.gelu = nn.GELU()
        self.reduce = nn.Conv2d(4 * channels, channels, 1)
        self.scale = LayerScale(channels, FIRST_SCALE)
        self.stochastic_depth = StochasticDepth(dropped)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        branch_BCHW = self.norm(self.depthwise(batch_BCHW))
        branch_BCHW = self.reduce(self.gelu(self.expand(branch_BCHW)))
        return batch_BCHW + self.stochastic_depth(self.scale(branch_BCHW))


class SmallConvNeXt(nn.Module):
    """Small ConvNeXt (Liu et al., 2022) for AdamW, 28 to 96 pixels.

    Stages: stem (half of the image's side), stage1 (half), stage2 (a quarter), stage3 (an eighth),
    pool (with its norm).

    Args:
        classes: K.
        channels: channels of the images.
        width: factor on the channel counts, each rounded to a multiple of 8.
        head_scale: factor on the logits.
        dropout: probability of dropping a feature before the linear layer.
        stochastic_depth: probability of leaving out the last block's branch, in [0, 1); it rises
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
        one, two, three = (scaled(base, width) for base in BASE_CHANNELS)
        dropped = iter(rising(stochastic_depth, sum(BLOCKS)))
        self.stem = nn.Sequential(
            nn.Conv2d(channels, one, 4, stride=2, padding=1), ChannelNorm(one, eps=1e-6)
        )
        self.stage1 = _stage(one, BLOCKS[0], dropped)
        self.stage2 = nn.Sequential(_smaller(one, two), *_stage(two, BLOCKS[1], dropped))
        self.stage3 = nn.Sequential(_smaller(two, three), *_stage(three, BLOCKS[2], dropped))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.norm = nn.LayerNorm(three, eps=1e-6)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(three, classes)
        self.head_scale = head_scale
        initial.narrowly(self)

    def forward_features(self, batch_BCHW: Tensor) -> dict[str, Tensor]:
        """The output of each stage by name, in order: stem, stage1 to stage3, pool."""
        stem = self.stem(batch_BCHW)
        stage1 = self.stage1(stem)
        stage2 = self.stage2(stage1)
        stage3 = self.stage3(stage2)
        pool = self.norm(self.pool(stage3).flatten(1))
        return {"stem": stem, "stage1": stage1, "stage2": stage2, "stage3": stage3, "pool": pool}

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        """Logits B K."""
        features_BC = self.forward_features(batch_BCHW)["pool"]
        return self.linear(self.dropout(features_BC)) * self.head_scale


def _stage(channels: int, blocks: int, dropped: Iterator[float]) -> nn.Sequential:
    return nn.Sequential(*(ConvNeXtBlock(channels, next(dropped)) for _ in range(blocks)))


def _smaller(channels_in: int, channels_out: int) -> nn.Sequential:
    """A norm, and a convolution that halves the map's side."""
    return nn.Sequential(
        ChannelNorm(channels_in, eps=1e-6),
        nn.Conv2d(channels_in, channels_out, 2, stride=2),
    )
