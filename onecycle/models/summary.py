"""The layers of a network: output shape, parameters, multiply-accumulates, receptive field."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from onecycle.models.leaves import leaves
from onecycle.models.products import Products
from onecycle.models.reach import Reaches


@dataclass(frozen=True)
class Layer:
    """One leaf module, in the order of execution.

    Attributes:
        name: dotted path of the module.
        kind: class name.
        output_shape: without the batch, (C, H, W) or (C,).
        parameters: number of trainable and frozen parameters.
        trainable: number of trainable parameters.
        macs: multiply-accumulates for one image, of convolutions and products of matrices.
        receptive_field: longer side in pixels of the input patch that one output value can see.
        jump: distance in input pixels between neighbouring outputs (cumulative stride); the larger
            one where height and width differ.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    trainable: int
    macs: int
    receptive_field: int
    jump: int


@dataclass(frozen=True)
class Summary:
    """All layers, and the network's totals for one image, forward only.

    `macs` also counts convolutions and products of matrices that no layer does.
    """

    layers: tuple[Layer, ...]
    parameters: int
    trainable_parameters: int
    macs: int


def summarize(model: nn.Module, image_shape: tuple[int, int, int] = (32, 32, 3)) -> Summary:
    """The summary of `model` for images of `image_shape` (H, W, C). The model is not changed.

    It runs on the device `meta`, without any arithmetic; code that can't do so runs on the CPU.

    Receptive field and jump follow the tensors through the network (see `reach`). Each layer in a
    row gives `r += (k - 1) * j; j *= s` (k: kernel, with dilation; s: stride; j: jump). Where
    branches meet, the receptive field covers what each of them sees. Only modules are listed. MACs
    are those of convolutions and products of matrices, attention's too (see `products`); norms,
    activations, additions and pooling count none.
    """
    try:
        layers, macs = _layers(deepcopy(model).to("meta"), image_shape, "meta")
    except Exception:  # code that needs values, or holds tensors that don't move
        layers, macs = _layers(deepcopy(model).cpu(), image_shape, "cpu")
    return Summary(tuple(layers), *_parameters(model), macs)


def _layers(
    probe: nn.Module, image_shape: tuple[int, int, int], device: str
) -> tuple[list[Layer], int]:
    """The layers in the order of execution, and all MACs, of a copy that may be changed."""
    height, width, channels = image_shape
    image_BCHW = torch.zeros(1, channels, height, width, device=device)
    layers: list[Layer] = []
    with torch.no_grad(), Products() as products, Reaches(image_BCHW) as reaches:
        for name, module in leaves(probe.eval()):
            _record(module, name, layers, products, reaches)
        probe(image_BCHW)
    return layers, products.macs


def _record(
    module: nn.Module, name: str, layers: list[Layer], products: Products, reaches: Reaches
) -> None:
    """Add a layer to `layers` at each call of the module."""
    before = 0

    def begin(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal before
        before = products.macs

    def end(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        output = next((each for each in tree_leaves(outputs) if isinstance(each, Tensor)), None)
        if output is None:
            return
        axes = reaches.of(output)
        parameters, trainable = _parameters(module)
        layers.append(
            Layer(
                name=name,
                kind=type(module).__name__,
                output_shape=tuple(output.shape[1:]),
                parameters=parameters,
                trainable=trainable,
                macs=products.macs - before,
                receptive_field=max(axis.field for axis in axes),
                jump=max(axis.jump for axis in axes),
            )
        )

    module.register_forward_pre_hook(begin)
    module.register_forward_hook(end)


def _parameters(module: nn.Module) -> tuple[int, int]:
    """The number of all parameters, and of the trainable ones."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return sum(p.numel() for p in module.parameters()), trainable
