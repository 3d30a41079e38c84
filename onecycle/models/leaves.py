"""The modules of a network that compute: its layers."""

from collections.abc import Iterator

from torch import nn

PARAMETRIZATIONS = "parametrizations"
"""The child in which PyTorch keeps what computes a weight, as of a weight norm."""


def leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Each layer, by its dotted path: a module without children, or one of PyTorch's layers.

    A convolution that a network has given a child, say for its padding, is a layer with its own
    weight, and so is PyTorch's attention; what is inside them is not listed. A computed weight
    counts as no child.
    """
    inside = None
    for name, module in model.named_modules():
        if inside is not None and name.startswith(inside):
            continue
        if _computes(module):
            inside = f"{name}." if name else ""
            yield name, module


def _computes(module: nn.Module) -> bool:
    children = {each for each, _ in module.named_children()} - {PARAMETRIZATIONS}
    if not children:
        return True
    has_own = next(module.parameters(recurse=False), None) is not None
    return has_own and any(_is_pytorchs(kind) for kind in type(module).__mro__)


def _is_pytorchs(kind: type) -> bool:
    """Whether a class is one of the layers in `torch.nn`, not the bare module or a container."""
    if not issubclass(kind, nn.Module) or kind is nn.Module:
        return False
    place = kind.__module__
    return place.startswith("torch.nn.modules.") and not place.endswith(".container")
