"""The custom ResNet of the brief: nine layers, two residual blocks, 6,573,130 parameters.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from torch import Tensor, nn

from onecycle.models import fused

BASE_CHANNELS = (64, 128, 256, 512)
"""Channels of the stages prep, layer1, layer2 and layer3 at width 1."""


class ResidualBlock(nn.Module):
    """x + Conv-BN-ReLU-Conv-BN-ReLU(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = ConvBlock(channels, channels)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        return self.second(self.first(batch_BCHW), residual_BCHW=batch_BCHW)


class ConvBlock(nn.Sequential):
    """Convolution without bias, then max pooling 2 x 2 where asked for, batch norm and ReLU.

    The convolution is padded by half of its kernel, so only its stride and the pooling make a map
    smaller. With a kernel or stride other than the default, PyTorch's own layers run.

    On a CPU everything after the convolution runs as one operation (`models.fused`), if the layers
    are exactly the default ones, none of them has a hook, and PyTorch only computes. If a layer is
    replaced, PyTorch's own layers run. The result of the one operation is in channels_last order.
    """

    conv: nn.Conv2d
    norm: nn.BatchNorm2d

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        pool: bool = False,
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
        self.add_module("conv", conv)
        if pool:
            self.add_module("pool", nn.MaxPool2d(2))
        self.add_module("norm", nn.BatchNorm2d(channels_out))
        self.add_module("relu", nn.ReLU(inplace=True))

    @property
    def pools(self) -> bool:
        """Whether there is max pooling 2 x 2."""
        return "pool" in self._modules

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, batch_BCHW: Tensor, residual_BCHW: Tensor | None = None
    ) -> Tensor:
        """The block's output, plus `residual_BCHW` if it is given."""
        kernels = fused.kernels_for(self, batch_BCHW)
        if kernels is not None:
            return fused.block(self, batch_BCHW, residual_BCHW, kernels)
        output_BCHW = super().forward(batch_BCHW)
        return output_BCHW if residual_BCHW is None else residual_BCHW + output_BCHW


class CustomResNet(nn.Module):
    """Logits for small images. The softmax is part of the loss (cross-entropy), not of the network.

    Stages at 32 x 32 pixels: prep (64 channels, 32 x 32), layer1 (128, 16 x 16, with a residual
    block), layer2 (256, 8 x 8), layer3 (512, 4 x 4, with a residual block), pool (512). The last
    pooling takes the maximum over the whole final map (kernel 4 at 32 x 32), so any image of at
    least 8 x 8 pixels works.

    Args:
        classes: K.
        channels: channels of the images.
        width: factor on the channel counts, each rounded and at least 1.
        head_scale: factor on the logits; 1 in the brief.
        dropout: probability of dropping a feature between the last pooling and the linear layer.
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
        prep, one, two, three = (max(1, round(width * base)) for base in BASE_CHANNELS)
        self.prep = ConvBlock(channels, prep)
        self.layer1 = nn.Sequential(ConvBlock(prep, one, pool=True), ResidualBlock(one))
        self.layer2 = ConvBlock(one, two, pool=True)
        self.layer3 = nn.Sequential(ConvBlock(two, three, pool=True), ResidualBlock(three))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(three, classes)
        self.head_scale = head_scale

    def forward_features(self, batch_BCHW: Tensor) -> dict[str, Tensor]:
        """The output of each stage by name, in order: prep, layer1, layer2, layer3, pool."""
        prep = self.prep(batch_BCHW)
        layer1 = self.layer1(prep)
        layer2 = self.layer2(layer1)
        layer3 = self.layer3(layer2)
        pool = self.pool(layer3).flatten(1)
        return {"prep": prep, "layer1": layer1, "layer2": layer2, "layer3": layer3, "pool": pool}

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        """Logits B K."""
        features_BC = self.forward_features(batch_BCHW)["pool"]
        return self.linear(self.dropout(features_BC)) * self.head_scale
