"""The modules of a network that contain no others: those that compute."""

from collections.abc import Iterator

from torch import nn

PARAMETRIZATIONS = "parametrizations"
"""The child in which PyTorch keeps what computes a weight, as of a weight norm."""


def leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Each module without children, by its dotted path. A computed weight counts as no child."""
    for name, module in model.named_modules():
        children = {each for each, _ in module.named_children()} - {PARAMETRIZATIONS}
        if not children and PARAMETRIZATIONS not in name.split("."):
            yield name, module
