"""ResNet-18 and ResNet-34, with the layers' names of torchvision.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2016 (arXiv:1512.03385).

Shapes: B batch, C channels, H height, W width, K classes.
"""

from typing import ClassVar

from torch import Tensor, nn

from onecycle.models import fused, initial
from onecycle.models.arguments import scaled, stem_checked

BASE_CHANNELS = (64, 128, 256, 512)
"""Channels of layer1, layer2, layer3 and layer4 at width 1."""


class BasicBlock(nn.Module):
    """relu(norm(conv(relu(norm(conv(x))))) + x); the first convolution may have a stride.

    Where the shape changes, x goes through `downsample`: a 1 x 1 convolution and a norm, of every
    pixel or every second one.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.stride = stride
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        residual_BCHW = batch_BCHW
        if self.downsample is not None:
            residual_BCHW = self.downsample(every(self.stride, batch_BCHW))
        output_BCHW = fused.through_conv(self.conv1, batch_BCHW)
        output_BCHW = fused.through_norm_relu(self.bn1, self.relu, output_BCHW)
        output_BCHW = self.bn2(fused.through_conv(self.conv2, output_BCHW))
        return self.relu(output_BCHW + residual_BCHW)


class ResNet(nn.Module):
    """Logits. Stages: conv1 (with its norm and ReLU), layer1 to layer4, avgpool.

    Parameters and buffers have the names of torchvision's networks, and with the large stem and
    three channels their shapes too. Convolutions start as He et al. (2015) do, by the outputs
    (fan-out); norms start at 1 and 0.

    Args:
        classes: K.
        channels: channels of the images.
        width: factor on the channel counts, each rounded to a multiple of 8.
        head_scale: factor on the logits.
        dropout: probability of dropping a feature before the linear layer.
        stem: `large`: convolution 7 x 7 of stride 2 and max pooling, as in the paper, so that
            layer1 has a quarter of the image's side; `small`: convolution 3 x 3 without pooling.

    Raises:
        InputError: there is no such stem.
    """

    BLOCKS: ClassVar[tuple[int, ...]]
    """Blocks of each layer."""

    def __init__(
        self,
        *,
        classes: int,
        channels: int = 3,
        width: float = 1.0,
        head_scale: float = 1.0,
        dropout: float = 0.0,
        stem: str = "large",
    ) -> None:
        super().__init__()
        self.is_large = stem_checked(stem) == "large"
        sizes = [scaled(base, width) for base in BASE_CHANNELS]
        kernel, stride, padding = (7, 2, 3) if self.is_large else (3, 1, 1)
        self.conv1 = nn.Conv2d(channels, sizes[0], kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(sizes[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if self.is_large else nn.Identity()
        self.layer1 = _layer(sizes[0], sizes[0], self.BLOCKS[0], stride=1)
        self.layer2 = _layer(sizes[0], sizes[1], self.BLOCKS[1], stride=2)
        self.layer3 = _layer(sizes[1], sizes[2], self.BLOCKS[2], stride=2)
        self.layer4 = _layer(sizes[2], sizes[3], self.BLOCKS[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(sizes[3], classes)
        self.head_scale = head_scale
        initial.by_outputs(self)

    def forward_features(self, batch_BCHW: Tensor) -> dict[str, Tensor]:
        """The output of each stage by name, in order: conv1, layer1 to layer4, avgpool."""
        conv1 = fused.through_conv(self.conv1, batch_BCHW)
        conv1 = fused.through_norm_relu(self.bn1, self.relu, conv1)
        stages = {"conv1": conv1}
        output_BCHW = self.maxpool(conv1)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            output_BCHW = stages[name] = getattr(self, name)(output_BCHW)
        return stages | {"avgpool": self.avgpool(output_BCHW).flatten(1)}

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        """Logits B K."""
        features_BC = self.forward_features(batch_BCHW)["avgpool"]
        return self.fc(self.dropout(features_BC)) * self.head_scale


class ResNet18(ResNet):
    """ResNet-18 (He et al., 2016), parameters named as torchvision's."""

    BLOCKS = (2, 2, 2, 2)


class ResNet34(ResNet):
    """ResNet-34 (He et al., 2016), parameters named as torchvision's."""

    BLOCKS = (3, 4, 6, 3)


def every(stride: int, batch_BCHW: Tensor) -> Tensor:
    """Every `stride`-th row and column, which a 1 x 1 convolution of that stride would take.

    oneDNN 3.12, in PyTorch 2.13, writes beyond its memory in the backward pass of such a
    convolution in float32 (AVX-512, 8 channels to 16, maps of 64 x 64).
    """
    return batch_BCHW if stride == 1 else batch_BCHW[:, :, ::stride, ::stride]


def _layer(channels_in: int, channels_out: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (BasicBlock(channels_out, channels_out) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(channels_in, channels_out, stride), *rest)
