"""A network layer by layer: output shape, parameters, multiply-accumulates, receptive field."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """One leaf module, in the order of execution.

    Attributes:
        name: dotted path of the module.
        kind: class name.
        output_shape: without the batch, (C, H, W) or (C,).
        parameters: number of trainable and frozen parameters.
        macs: multiply-accumulates for one image, of convolutions and linear layers.
        receptive_field: side in pixels of the input patch that one output value can see.
        jump: distance in input pixels between neighbouring outputs (cumulative stride).
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    receptive_field: int
    jump: int


@dataclass(frozen=True)
class Summary:
    """All layers, and the network's totals for one image, forward only."""

    layers: tuple[Layer, ...]
    parameters: int
    macs: int


def summarize(model: nn.Module, image_shape: tuple[int, int, int] = (32, 32, 3)) -> Summary:
    """The summary of `model` for images of `image_shape` (H, W, C). The model stays untouched.

    The receptive field follows `r += (k - 1) * j; j *= s` along the order of execution (k: kernel,
    with dilation counted; s: stride; j: jump). That holds for chains of layers with residual
    additions whose longer branch is the one that runs; layers beside each other would be added
    up. Additions and other functions that are no modules are not listed and cost no MACs.
    """
    height, width, channels = image_shape
    probe = deepcopy(model).to("meta").eval()
    layers: list[Layer] = []
    hooks = [
        module.register_forward_hook(_recorder(name, layers))
        for name, module in probe.named_modules()
        if not list(module.children())
    ]
    probe(torch.empty(1, channels, height, width, device="meta"))
    for hook in hooks:
        hook.remove()
    parameters = sum(p.numel() for p in model.parameters())
    return Summary(tuple(layers), parameters, sum(layer.macs for layer in layers))


def _recorder(name: str, layers: list[Layer]) -> Any:
    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        field, jump = (layers[-1].receptive_field, layers[-1].jump) if layers else (1, 1)
        kernel, stride = _window(module, inputs[0])
        layers.append(
            Layer(
                name=name,
                kind=type(module).__name__,
                output_shape=tuple(output.shape[1:]),
                parameters=sum(p.numel() for p in module.parameters()),
                macs=_macs(module, output),
                receptive_field=field + (kernel - 1) * jump,
                jump=jump * stride,
            )
        )

    return record


def _window(module: nn.Module, batch: Tensor) -> tuple[int, int]:
    """Effective kernel and stride along the height."""
    if isinstance(module, nn.AdaptiveMaxPool2d | nn.AdaptiveAvgPool2d):
        return batch.shape[-2], batch.shape[-2]
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        kernel, stride = _height(module.kernel_size), _height(module.stride)
        return (kernel - 1) * _height(getattr(module, "dilation", 1)) + 1, stride
    return 1, 1


def _height(value: Any) -> int:
    return int(value[0]) if isinstance(value, tuple) else int(value)


def _macs(module: nn.Module, output: Tensor) -> int:
    if isinstance(module, nn.Conv2d):
        return output[0].numel() * module.weight[0].numel()
    if isinstance(module, nn.Linear):
        return output[0].numel() * module.in_features
    return 0
