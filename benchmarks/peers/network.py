"""The custom ResNet as a textbook writes it, without anything of onecycle.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from torch import Tensor, nn


def conv_block(channels_in: int, channels_out: int, pool: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


class PlainResNet(nn.Module):
    """The brief's network for images of 32 x 32 pixels: logits B K from B C H W."""

    def __init__(self, classes: int = 10, channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        one, two, four, eight = (round(width * each) for each in (64, 128, 256, 512))
        self.prep = conv_block(channels, one)
        self.layer1 = conv_block(one, two, pool=True)
        self.block1 = nn.Sequential(conv_block(two, two), conv_block(two, two))
        self.layer2 = conv_block(two, four, pool=True)
        self.layer3 = conv_block(four, eight, pool=True)
        self.block3 = nn.Sequential(conv_block(eight, eight), conv_block(eight, eight))
        self.pool = nn.MaxPool2d(4)
        self.linear = nn.Linear(eight, classes)

    def forward(self, batch_BCHW: Tensor) -> Tensor:
        x = self.layer1(self.prep(batch_BCHW))
        x = x + self.block1(x)
        x = self.layer3(self.layer2(x))
        x = x + self.block3(x)
        return self.linear(self.pool(x).flatten(1))
