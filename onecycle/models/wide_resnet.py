"""A wide residual network with 16 layers, four times as wide.

Zagoruyko and Komodakis, "Wide Residual Networks", 2016 (arXiv:1605.07146).

Shapes: B batch, C channels, H height, W width, K classes.
"""

from torch import Tensor, nn

from onecycle.models import fused, initial
from onecycle.models.arguments import scaled
from onecycle.models.residual import every

FIRST_CHANNELS, BASE_CHANNELS = 16, (64, 128, 256)
"""Channels of the first convolution, and of group1, group2 and group3 at width 1."""
BLOCKS = 2
"""Blocks of each group: 16 layers are one convolution, three groups of 2 · 2, and three more."""


class PreActivationBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))): norm and ReLU come first (He et al., 2016,
    "Identity Mappings in Deep Residual Networks").

    Where the shape changes, `shortcut`, a 1 x 1 convolution of relu(norm(x)), stands for x.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.stride = stride
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        activated_BCHW = fused.through_norm_relu(self.norm1, self.relu1, batch_BCHW)
        output_BCHW = fused.through_conv(self.conv1, activated_BCHW)
        output_BCHW = fused.through_norm_relu(self.norm2, self.relu2, output_BCHW)
        output_BCHW = fused.through_conv(self.conv2, output_BCHW)
        if self.shortcut is not None:
            batch_BCHW = self.shortcut(every(self.stride, activated_BCHW))
        return output_BCHW + batch_BCHW


class WideResNet16x4(nn.Module):
    """Wide ResNet 16-4 (Zagoruyko and Komodakis, 2016), norm and ReLU first.

    Stages: conv, group1 (side of the image), group2 (half), group3 (a quarter), norm (after the
    last norm and ReLU), pool.

    Args:
        classes: K.
        channels: channels of the images.
        width: factor on the channel counts, each rounded to a multiple of 8.
        head_scale: factor on the logits.
        dropout: probability of dropping a feature before the linear layer.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int = 3,
        width: float = 1.0,
        head_scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        first = scaled(FIRST_CHANNELS, width)
        one, two, three = (scaled(base, width) for base in BASE_CHANNELS)
        self.conv = nn.Conv2d(channels, first, 3, padding=1, bias=False)
        self.group1 = _group(first, one, stride=1)
        self.group2 = _group(one, two, stride=2)
        self.group3 = _group(two, three, stride=2)
        self.norm = nn.BatchNorm2d(three)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(three, classes)
        self.head_scale = head_scale
        initial.by_outputs(self)

    def forward_features(self, batch_BCHW: Tensor) -> dict[str, Tensor]:
        """The output of each stage by name, in order: conv, group1 to group3, norm, pool."""
        conv = fused.through_conv(self.conv, batch_BCHW)
        group1 = self.group1(conv)
        group2 = self.group2(group1)
        group3 = self.group3(group2)
        norm = fused.through_norm_relu(self.norm, self.relu, group3)
        pool = self.pool(norm).flatten(1)
        return {
            "conv": conv, "group1": group1, "group2": group2, "group3": group3, "norm": norm,
            "pool": pool,
        }  # fmt: skip

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        """Logits B K."""
        features_BC = self.forward_features(batch_BCHW)["pool"]
        return self.linear(self.dropout(features_BC)) * self.head_scale


def _group(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    rest = (PreActivationBlock(channels_out, channels_out) for _ in range(BLOCKS - 1))
    return nn.Sequential(PreActivationBlock(channels_in, channels_out, stride), *rest)
