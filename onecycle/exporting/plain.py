"""A network written as plain PyTorch: a class with its layers, and a forward pass line by line.

It is generated from the layers that a trace passes through, so every network whose layers are
PyTorch's own can be written.
"""

import inspect
import keyword
import operator
import re

from torch import Tensor, fx, nn

from onecycle.errors import TrainingError
from onecycle.exporting.deployed import Deployable

SOURCE = '''"""The network {name} in plain PyTorch, written by onecycle {version}.

It takes uint8 images N H W C, and gives logits and probabilities N K.
"""

import torch
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
{layers}

{forward}
'''


def written(deployable: Deployable) -> tuple[str, dict[str, Tensor]]:
    """The source of a module with a class `Network`, and its tensors by name.

    Raises:
        TrainingError: the network has a layer of its own, or can't be traced.
    """
    flat, graph = _flattened(deployable.network)
    layers = [_layer(name, layer) for name, layer in flat.named_children()]
    layers += [_parameter(name, each) for name, each in flat.named_parameters(recurse=False)]
    layers += [_buffer(name, tensor) for name, tensor in flat.named_buffers(recurse=False)]
    source = SOURCE.format(
        name=deployable.about.name,
        version=deployable.facts.onecycle_version,
        layers="\n".join(f"        {line}" for line in layers),
        forward="\n".join(f"    {line}".rstrip() for line in _forward(graph)),
    )
    return source, {name: tensor.contiguous() for name, tensor in flat.state_dict().items()}


class _Tracer(fx.Tracer):
    """Keeps what is computed from buffers as it is written."""

    proxy_buffer_attributes = True


def _flattened(network: nn.Module) -> tuple[nn.Module, fx.Graph]:
    """The layers that a trace passes through, side by side, and the trace, which calls them so."""
    try:
        graph = _Tracer().trace(network)
    except Exception as error:  # a network may do anything with the values in its forward pass
        raise TrainingError(
            f"export: the network can't be traced ({error}); use --format onnx"
        ) from None
    flat, taken = nn.Module(), dict[str, str]()
    for node in graph.nodes:
        if node.op not in ("call_module", "get_attr"):
            continue
        part = operator.attrgetter(node.target)(network)
        node.target = _attribute(node.target, taken)
        if node.op == "call_module":
            flat.add_module(node.target, part)
        elif isinstance(part, nn.Parameter):
            flat.register_parameter(node.target, part)
        else:
            flat.register_buffer(node.target, part.detach())
    return flat, graph


def _attribute(path: str, taken: dict[str, str]) -> str:
    """The attribute for what is at a path; no two have the same.

    `taken`: the path of each attribute so far; this one is added.
    """
    name = path.removeprefix("network.").replace(".", "_")
    if not name.isidentifier() or keyword.iskeyword(name):  # such as the `0` of an nn.Sequential
        name = f"layer_{name}"
    while taken.setdefault(name, path) != path:
        name += "_"
    return name


def _parameter(name: str, tensor: Tensor) -> str:
    """The line that makes room for a parameter which is not that of one of PyTorch's layers."""
    return f"self.{name} = nn.Parameter({_room(tensor)})"


def _buffer(name: str, tensor: Tensor) -> str:
    """The line that makes room for another tensor which is not a layer's."""
    return f'self.register_buffer("{name}", {_room(tensor)})'


def _room(tensor: Tensor) -> str:
    return f"torch.empty({tuple(tensor.shape)}, dtype={tensor.dtype})"


def _layer(called: str, layer: nn.Module) -> str:
    """The line that makes a layer, with the arguments that are not the default ones.

    `repr` would name all of them, also those that another version of PyTorch does not have.

    Raises:
        TrainingError: it is not one of PyTorch's own, or does not keep its arguments.
    """
    kind = type(layer)
    parameters = inspect.signature(kind).parameters
    names = [name for name in parameters if name not in ("args", "device", "dtype", "kwargs")]
    if getattr(nn, kind.__name__, None) is not kind or not all(hasattr(layer, n) for n in names):
        raise TrainingError(f"export: layer '{called}' can't be written; use --format onnx")
    words = []
    for name in names:
        value, default = getattr(layer, name), parameters[name].default
        value = value is not None if name == "bias" else value
        if value not in (default, (default, default)):
            words.append(f"{name}={value!r}")
    return f"self.{called} = nn.{kind.__name__}({', '.join(words)})"


def _forward(graph: fx.Graph) -> list[str]:
    """The lines of the forward pass, without those that only free memory."""
    source = graph.python_code("self").src.replace("torch._C._nn.", "nn.functional.")
    lines = source.strip().splitlines()
    return [re.sub(r";  [\w = ]+ = None$", "", line) for line in lines]
