"""A 3 x 3 convolution in bfloat16 on AMX, as an operator with gradients.

Shapes: B batch, C channels in, K channels out, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from onecycle.kernels import amx
from onecycle.kernels.calling import in_rows
from onecycle.kernels.operators.registry import (
    by_pytorch,
    fake_activations,
    register,
    register_gradients,
)

SMALL_MAP = 64
"""Up to this many pixels per map, our own AMX kernels are faster than oneDNN at a whole
convolution. At the gradient of the weights they are faster at any size."""


def conv3x3(x_BCHW: Tensor, weight_KC33: Tensor) -> Tensor:
    """The convolution with padding 1 in bfloat16, on AMX if that is faster; differentiable.

    If the weights are float32, so is their gradient, which is more precise than PyTorch's.

    Args:
        x_BCHW: bfloat16, channels_last; C a multiple of 16, as K is.
        weight_KC33: float32 or bfloat16.

    Raises:
        ValueError: the weights are not 3 x 3, or for another number of channels.
    """
    if weight_KC33.shape[1:] != (x_BCHW.shape[1], 3, 3):
        raise ValueError(
            f"weights of shape {tuple(weight_KC33.shape)} are not 3 x 3 for the channels of "
            f"activations of shape {tuple(x_BCHW.shape)}"
        )
    low_KC33 = weight_KC33.to(torch.bfloat16, memory_format=torch.channels_last)
    return _CONV3X3(x_BCHW, weight_KC33, low_KC33)


def _conv3x3(x_BCHW: Tensor, weight_KC33: Tensor, low_KC33: Tensor) -> Tensor:
    if _has_small_map(x_BCHW, low_KC33):
        return _convolutions().convolve(x_BCHW, low_KC33)
    with torch.autocast("cpu", enabled=False):
        output_BKHW = F.conv2d(x_BCHW, low_KC33, padding=1)
    return output_BKHW.contiguous(memory_format=torch.channels_last)


def _conv3x3_backward(
    gradient_BKHW: Tensor, x_BCHW: Tensor, low_KC33: Tensor, wants_dx: bool, wants_dweight: bool
) -> tuple[Tensor, Tensor]:
    """The gradients that are wanted. The others are empty, and not computed."""
    dx_BCHW, dweight_KC33 = x_BCHW.new_empty(0), x_BCHW.new_empty(0, dtype=torch.float32)
    if wants_dx and _has_small_map(x_BCHW, low_KC33):
        dx_BCHW = _convolutions().convolve(gradient_BKHW, low_KC33, mirrored=True)
    elif wants_dx:
        dx_BCHW, _ = _pytorchs_gradients(gradient_BKHW, x_BCHW, low_KC33, [True, False])
        dx_BCHW = dx_BCHW.contiguous(memory_format=torch.channels_last)
    if wants_dweight:
        dweight_KC33 = _convolutions().weight_gradient(x_BCHW, gradient_BKHW)
    return dx_BCHW, dweight_KC33


def _convolutions() -> amx.Convolutions:
    found = amx.find()
    if isinstance(found, str):
        raise NotImplementedError(f"no convolutions: {found}")
    return found


def _has_small_map(x_BCHW: Tensor, weight_KC33: Tensor) -> bool:
    _, _, height, width = x_BCHW.shape
    channels, step = weight_KC33.shape[:2], 2 * amx.TILE_CHANNELS
    return height * width <= SMALL_MAP and not any(count % step for count in channels)


def _pytorchs_gradients(
    gradient_BKHW: Tensor, x_BCHW: Tensor, weight_KC33: Tensor, wanted: list[bool]
) -> tuple[Tensor, Tensor]:
    """Gradients of x and the weights, if needed."""
    dx_BCHW, dweight_KC33, _ = torch.ops.aten.convolution_backward(
        gradient_BKHW, x_BCHW, weight_KC33, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
        [*wanted, False],
    )  # fmt: skip
    return dx_BCHW, dweight_KC33


def _fake_conv3x3(x_BCHW: Tensor, weight_KC33: Tensor, low_KC33: Tensor) -> Tensor:
    batch, _, height, width = x_BCHW.shape
    return fake_activations(x_BCHW, (batch, weight_KC33.shape[0], height, width), x_BCHW.dtype)


def _fake_conv3x3_backward(
    gradient_BKHW: Tensor, x_BCHW: Tensor, low_KC33: Tensor, wants_dx: bool, wants_dweight: bool
) -> tuple[Tensor, Tensor]:
    dx_shape = tuple(x_BCHW.shape) if wants_dx else (0,)
    dweight_shape = tuple(low_KC33.shape) if wants_dweight else (0,)
    return (
        fake_activations(x_BCHW, dx_shape, x_BCHW.dtype),
        fake_activations(low_KC33, dweight_shape, torch.float32),
    )


def _keep_for_conv3x3(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    x_BCHW, weight_KC33, low_KC33 = inputs
    ctx.set_materialize_grads(False)
    # Under autocast PyTorch keeps only the weights' copy; else the weights, and detects changes.
    same = weight_KC33.dtype == low_KC33.dtype
    ctx.save_for_backward(x_BCHW, low_KC33, weight_KC33 if same else None)


def _conv3x3_gradients(ctx: Any, gradient_BKHW: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gradients of x and the weights; if PyTorch's operations must be used, of their copy."""
    x_BCHW, low_KC33, _ = ctx.saved_tensors
    if gradient_BKHW is None:
        return None, None, None
    wants_dx, wants_dweight, wants_dlow = ctx.needs_input_grad
    if by_pytorch(gradient_BKHW, x_BCHW, low_KC33):
        dx_BCHW, dlow_KC33 = _pytorchs_gradients(
            gradient_BKHW, x_BCHW, low_KC33, [wants_dx, wants_dlow]
        )
        return dx_BCHW, None, dlow_KC33
    tensors = (in_rows(gradient_BKHW), in_rows(x_BCHW), in_rows(low_KC33))
    dx_BCHW, dweight_KC33 = _CONV3X3_BACKWARD(*tensors, wants_dx, wants_dweight)
    return dx_BCHW if wants_dx else None, dweight_KC33 if wants_dweight else None, None


_CONV3X3 = register(
    "conv3x3(Tensor x, Tensor weight, Tensor low) -> Tensor", _conv3x3, _fake_conv3x3
)
_CONV3X3_BACKWARD = register(
    "conv3x3_backward(Tensor gradient, Tensor x, Tensor low, bool wants_dx, bool wants_dweight)"
    " -> (Tensor dx, Tensor dweight)",
    _conv3x3_backward,
    _fake_conv3x3_backward,
)
register_gradients(_CONV3X3, _keep_for_conv3x3, _conv3x3_gradients)
