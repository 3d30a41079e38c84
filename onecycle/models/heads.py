"""Which layer of a network is its head: the last one, which turns features into logits."""

from torch import nn

from onecycle.errors import InputError


def head_of(model: nn.Module, classes: int) -> str:
    """The dotted name of the network's head; empty if the whole network is a single layer.

    It is the last layer with one output for each class. If no layer has that many, it is the last
    layer with parameters.

    Args:
        model: any network whose layers were registered in the order in which they run.
        classes: number of classes.

    Raises:
        InputError: the network has no parameters.
    """
    layers = [(name, layer) for name, layer in model.named_modules() if list(own(layer))]
    if not layers:
        raise InputError("model: the network has no parameters; there is nothing to train")
    fitting = [name for name, layer in layers if _outputs(layer) == classes]
    return (fitting or [name for name, _ in layers])[-1]


def own(layer: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module itself, without those of the modules in it."""
    return list(layer.parameters(recurse=False))


def _outputs(layer: nn.Module) -> int:
    """The number of outputs of a layer with a weight matrix or filters; 0 for any other layer."""
    weight = layer._parameters.get("weight")
    return len(weight) if weight is not None and weight.ndim >= 2 else 0
