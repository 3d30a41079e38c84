"""Multiply-accumulates, counted from PyTorch's own operations while a network runs.

It does not matter which modules or functions call them.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class Products(TorchDispatchMode):
    """A context that counts the multiply-accumulates of convolutions and products of matrices.

    Attributes:
        macs: how many there have been. On the device `meta` they are counted and not computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if (count := _COUNTS.get(func.overloadpacket)) is not None:
            self.macs += count(output, *args)
        return output


def _of_convolution(
    output: Tensor, batch: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any,
    dilation: Any, transposed: bool, *_: Any,
) -> int:  # fmt: skip
    """Each output takes a filter's weights; in a transposed one, each input gives to them."""
    return (batch if transposed else output).numel() * prod(weight.shape[1:])


def _of_product(output: Tensor, left: Tensor, right: Tensor, *_: Any) -> int:
    return output.numel() * left.shape[-1]


def _of_attention(output: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> int:
    """The scores, and the weighted sums of values."""
    return query.numel() * key.shape[-2] + prod(query.shape[:-1]) * value.shape[-2:].numel()


_COUNTS: dict[Any, Callable[..., int]] = {
    aten.convolution: _of_convolution,
    aten.mm: _of_product,
    aten.bmm: _of_product,
    aten.addmm: lambda output, bias, *factors: _of_product(output, *factors),
    aten._scaled_dot_product_flash_attention_for_cpu: _of_attention,
    aten.baddbmm: lambda output, bias, *factors: _of_product(output, *factors),
}
