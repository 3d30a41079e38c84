"""How the layers of a network start."""

from torch import nn


def by_outputs(network: nn.Module) -> None:
    """Convolutions from a normal distribution by their outputs (fan-out; He et al., 2015, "Delving
    Deep into Rectifiers"), norms at 1 and 0. Linear layers keep PyTorch's initialization.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def narrowly(network: nn.Module, deviation: float = 0.02) -> None:
    """Convolutions and linear layers from a normal distribution that is cut off at two units, with
    biases of 0, as in ViT and ConvNeXt.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
