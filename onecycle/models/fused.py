"""A convolutional block as two differentiable operations of compiled kernels.

One is the convolution, in bfloat16 on CPUs with AMX; elsewhere PyTorch's serves. The other is max
pooling, batch norm, ReLU and a residual addition: layer by layer they take a dozen passes over the
activations, forward and backward, here it is five (Ioffe and Szegedy, 2015, for the norm and its
gradient). What is computed is the same, with one rounding to bfloat16 in place of one after each
layer, and none of the gradient of the convolution's weights.

Shapes: B batch, C channels (K out of a convolution), H height, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from onecycle.kernels import Kernels, amx, find

SMALL_MAP = 64
"""Pixels of a map up to which a whole convolution is faster on AMX by kernels of our own than by
oneDNN; the gradient of the weights is at any size."""

FEW_IMAGES = 16
"""Below this many, oneDNN is faster: the tiles of our kernels go along the images."""


def kernels_for(batch_BCHW: Tensor, norm: nn.BatchNorm2d) -> Kernels | None:
    """The kernels that can serve a block on this input, or None: leave it to its layers."""
    if batch_BCHW.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    plain = norm.affine and norm.track_running_stats and norm.momentum is not None
    if not plain or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return None
    if not norm.training and torch.is_grad_enabled():
        return None  # a gradient through fixed statistics is rarely wanted, and PyTorch has it
    low = torch.is_autocast_enabled("cpu")
    found = find(torch.get_autocast_dtype("cpu") if low else batch_BCHW.dtype)
    return found if isinstance(found, Kernels) else None


def conv3x3(batch_BCHW: Tensor, conv: nn.Conv2d, kernels: Kernels) -> Tensor:
    """The convolution `conv`, in channels_last order and in the type of the kernels."""
    batch_BCHW = batch_BCHW.to(kernels.dtype).contiguous(memory_format=torch.channels_last)
    convolutions = _convolutions_for(batch_BCHW, conv)
    if convolutions is not None:
        return _Conv3x3.apply(batch_BCHW, conv.weight, convolutions)  # pyright: ignore[reportReturnType]
    with torch.autocast("cpu", enabled=False):
        output = F.conv2d(
            batch_BCHW, conv.weight.to(kernels.dtype), conv.bias, conv.stride, conv.padding
        )
    return output.contiguous(memory_format=torch.channels_last)


def norm_relu(
    batch_BCHW: Tensor,
    norm: nn.BatchNorm2d,
    kernels: Kernels,
    *,
    pool: bool = False,
    residual_BCHW: Tensor | None = None,
) -> Tensor:
    """relu(norm(batch)), max pooled 2 x 2 before if asked for, plus `residual_BCHW`.

    In training mode the norm's running statistics move as PyTorch moves them.

    Args:
        batch_BCHW: channels_last, of the type of the kernels.
        norm: affine, with running statistics.
        kernels: from `kernels_for`.
        pool: whether the 2 x 2 maximum comes first.
        residual_BCHW: added after the ReLU.
    """
    if residual_BCHW is not None:
        residual_BCHW = residual_BCHW.to(kernels.dtype)
        residual_BCHW = residual_BCHW.contiguous(memory_format=torch.channels_last)
    if norm.training:
        return _NormRelu.apply(  # pyright: ignore[reportReturnType]
            batch_BCHW, norm.weight, norm.bias, residual_BCHW, norm, kernels, pool
        )
    if pool:
        batch_BCHW, _ = kernels.max_pool(batch_BCHW)
    mean_C, variance_C = (running_C.double() for running_C in _running(norm))
    inverse_C = (variance_C + norm.eps).rsqrt()
    scale_C, shift_C = _factors(norm.weight, norm.bias, mean_C, inverse_C, kernels)
    return kernels.norm_relu(batch_BCHW, scale_C, shift_C, residual_BCHW)


def _convolutions_for(batch_BCHW: Tensor, conv: nn.Conv2d) -> amx.Convolutions | None:
    """The convolutions on AMX, if they can do some of this one's work."""
    fits = conv.in_channels % amx.TILE_CHANNELS == conv.out_channels % amx.TILE_CHANNELS == 0
    if batch_BCHW.dtype != torch.bfloat16 or conv.bias is not None or not fits:
        return None
    if len(batch_BCHW) < FEW_IMAGES:
        return None
    found = amx.find()
    return found if isinstance(found, amx.Convolutions) else None


def _factors(
    weight_C: Tensor, bias_C: Tensor, mean_C: Tensor, inverse_C: Tensor, kernels: Kernels
) -> tuple[Tensor, Tensor]:
    """Scale and shift that stand for the norm, given 1 / standard deviation."""
    scale_C = weight_C.detach().double() * inverse_C
    shift_C = bias_C.detach().double() - mean_C * scale_C
    return scale_C.to(kernels.real), shift_C.to(kernels.real)


@torch.no_grad()
def _move_statistics(norm: nn.BatchNorm2d, mean_C: Tensor, variance_C: Tensor, rows: int) -> None:
    """Let the running statistics follow the batch's, the variance as an unbiased one."""
    norm.num_batches_tracked += 1  # pyright: ignore[reportOperatorIssue] - as in `_running`
    moved = (mean_C, variance_C * (rows / (rows - 1)))
    for running_C, batch_C in zip(_running(norm), moved, strict=True):
        running_C.lerp_(batch_C.to(running_C.dtype), norm.momentum)  # pyright: ignore


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The running mean and variance, which `kernels_for` has seen to be there."""
    return norm.running_mean, norm.running_var  # pyright: ignore[reportReturnType]


class _NormRelu(torch.autograd.Function):
    """Pooling if asked for, batch norm over the batch, ReLU, and a residual addition."""

    @staticmethod
    def forward(
        ctx: Any,
        x_BCHW: Tensor,
        weight_C: Tensor,
        bias_C: Tensor,
        residual_BCHW: Tensor | None,
        norm: nn.BatchNorm2d,
        kernels: Kernels,
        pool: bool,
    ) -> Tensor:
        ctx.kernels, ctx.size = kernels, tuple(x_BCHW.shape[2:])
        places_BCHW = None
        if pool:
            x_BCHW, places_BCHW = kernels.max_pool(x_BCHW)
        ctx.rows = rows = x_BCHW.numel() // x_BCHW.shape[1]
        if rows == 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size "
                f"{x_BCHW.shape}"
            )
        mean_C, variance_C = kernels.moments(x_BCHW)
        _move_statistics(norm, mean_C, variance_C, rows)
        inverse_C = (variance_C + norm.eps).rsqrt()
        scale_C, shift_C = _factors(weight_C, bias_C, mean_C, inverse_C, kernels)
        ctx.save_for_backward(x_BCHW, places_BCHW, scale_C, shift_C, mean_C, inverse_C)
        return kernels.norm_relu(x_BCHW, scale_C, shift_C, residual_BCHW)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        kernels: Kernels = ctx.kernels
        x_BCHW, places_BCHW, scale_C, shift_C, mean_C, inverse_C = ctx.saved_tensors
        gradient_BCHW = gradients[0].contiguous(memory_format=torch.channels_last)
        bias_gradient_C, weighted_C = kernels.gradient_sums(
            gradient_BCHW, x_BCHW, scale_C, shift_C, mean_C.to(kernels.real)
        )
        weight_gradient_C = weighted_C * inverse_C
        # The gradient of x is scale * (g - mean(g) - normalized x * mean(g * normalized x)), which
        # is a straight line in x on top of scale * g.
        slope_C = -scale_C * inverse_C * weight_gradient_C / ctx.rows
        offset_C = -scale_C * bias_gradient_C / ctx.rows - slope_C * mean_C
        vectors = (scale_C, shift_C, slope_C.to(kernels.real), offset_C.to(kernels.real))
        if places_BCHW is None:
            dx_BCHW = kernels.norm_relu_backward(gradient_BCHW, x_BCHW, *vectors)
        else:
            dx_BCHW = kernels.pool_norm_relu_backward(
                gradient_BCHW, x_BCHW, places_BCHW, ctx.size, *vectors
            )
        residual_gradient = gradient_BCHW if ctx.needs_input_grad[3] else None
        weight_gradient_C, bias_gradient_C = (
            each_C.to(kernels.real) for each_C in (weight_gradient_C, bias_gradient_C)
        )
        return dx_BCHW, weight_gradient_C, bias_gradient_C, residual_gradient, None, None, None


class _Conv3x3(torch.autograd.Function):
    """A 3 x 3 convolution in bfloat16 with padding 1, on AMX where that is faster."""

    @staticmethod
    def forward(
        ctx: Any, x_BCHW: Tensor, weight_KC33: Tensor, convolutions: amx.Convolutions
    ) -> Tensor:
        low_KC33 = weight_KC33.to(torch.bfloat16, memory_format=torch.channels_last)
        ctx.convolutions, ctx.dtype = convolutions, weight_KC33.dtype
        ctx.save_for_backward(x_BCHW, low_KC33)
        if _has_small_map(x_BCHW, low_KC33):
            return convolutions.convolve(x_BCHW, low_KC33)
        with torch.autocast("cpu", enabled=False):
            output = F.conv2d(x_BCHW, low_KC33, padding=1)
        return output.contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        x_BCHW, low_KC33 = ctx.saved_tensors
        gradient_BKHW = gradients[0].contiguous(memory_format=torch.channels_last)
        dx_BCHW = None
        if ctx.needs_input_grad[0] and _has_small_map(x_BCHW, low_KC33):
            dx_BCHW = ctx.convolutions.convolve(gradient_BKHW, low_KC33, mirrored=True)
        elif ctx.needs_input_grad[0]:
            dx_BCHW, _, _ = torch.ops.aten.convolution_backward(
                gradient_BKHW, x_BCHW, low_KC33, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
                [True, False, False],
            )  # fmt: skip
        weight_gradient = ctx.convolutions.weight_gradient(x_BCHW, gradient_BKHW)
        return dx_BCHW, weight_gradient.to(ctx.dtype), None


def _has_small_map(x_BCHW: Tensor, weight_KC33: Tensor) -> bool:
    _, _, height, width = x_BCHW.shape
    channels, step = weight_KC33.shape[:2], 2 * amx.TILE_CHANNELS
    return height * width <= SMALL_MAP and not any(count % step for count in channels)
