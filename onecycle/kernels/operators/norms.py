"""Max pooling, batch norm, ReLU and a residual addition as one operator with gradients.

Shapes: B batch, C channels, H height, W width.
"""

from typing import Any

import torch
from torch import Tensor

from onecycle.kernels import Kernels, find
from onecycle.kernels.calling import check, in_rows
from onecycle.kernels.operators.registry import (
    by_pytorch,
    fake_activations,
    register,
    register_gradients,
)


def norm_relu(
    x_BCHW: Tensor,
    weight_C: Tensor,
    bias_C: Tensor,
    residual_BCHW: Tensor | None,
    eps: float,
    pool: bool,
) -> tuple[Tensor, Tensor]:
    """relu(batch norm(x)), of the 2 x 2 maxima of x if `pool`, plus `residual`; differentiable.

    Args:
        x_BCHW: channels_last, of a type with kernels; at least two values per channel.
        weight_C, bias_C: float32, or float64 for float64 activations.
        residual_BCHW: with the type and order of x, and the shape of the result.
        eps: added to the variance, above 0.
        pool: whether to take the maximum first.

    Returns:
        The result, and float64 2 C: the batch's mean and biased variance.
    """
    arguments = (x_BCHW, weight_C, bias_C, residual_BCHW, eps, pool)
    y_BCHW, _, _, moments_2C, _ = _NORM_RELU(*arguments)
    return y_BCHW, moments_2C


def norm_relu_fixed(
    x_BCHW: Tensor,
    weight_C: Tensor,
    bias_C: Tensor,
    mean_C: Tensor,
    variance_C: Tensor,
    residual_BCHW: Tensor | None,
    eps: float,
    pool: bool,
) -> Tensor:
    """`norm_relu` with given statistics, and not differentiable."""
    arguments = (x_BCHW, weight_C, bias_C, mean_C, variance_C, residual_BCHW, eps, pool)
    return _NORM_RELU_FIXED(*arguments)


def _norm_relu(
    x_BCHW: Tensor,
    weight_C: Tensor,
    bias_C: Tensor,
    residual_BCHW: Tensor | None,
    eps: float,
    pool: bool,
) -> tuple[Tensor, ...]:
    kernels = _kernels(x_BCHW)
    if pool:
        kept_BCHW, _ = pooled = kernels.max_pool(x_BCHW)
    else:
        kept_BCHW, pooled = x_BCHW, (x_BCHW.new_empty(0), x_BCHW.new_empty(0, dtype=torch.uint8))
    moments_2C = kernels.moments(kept_BCHW)
    factors_2C = _factors(kernels, weight_C, bias_C, moments_2C, eps)
    scale_C, shift_C = factors_2C
    y_BCHW = kernels.norm_relu(kept_BCHW, scale_C, shift_C, residual_BCHW)
    return y_BCHW, *pooled, moments_2C, factors_2C


def _norm_relu_fixed(
    x_BCHW: Tensor,
    weight_C: Tensor,
    bias_C: Tensor,
    mean_C: Tensor,
    variance_C: Tensor,
    residual_BCHW: Tensor | None,
    eps: float,
    pool: bool,
) -> Tensor:
    kernels = _kernels(x_BCHW)
    if pool:
        x_BCHW, _ = kernels.max_pool(x_BCHW)
    moments_2C = torch.stack((mean_C, variance_C)).double()
    scale_C, shift_C = _factors(kernels, weight_C, bias_C, moments_2C, eps)
    return kernels.norm_relu(x_BCHW, scale_C, shift_C, residual_BCHW)


def _norm_relu_backward(
    gradient_BCHW: Tensor,
    x_BCHW: Tensor,
    places_BCHW: Tensor | None,
    moments_2C: Tensor,
    factors_2C: Tensor,
    eps: float,
    size: tuple[int, int],
    wants_dx: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias. That of x is empty, and not computed, if not wanted.

    The other two are sums that it needs.
    """
    kernels = _kernels(x_BCHW)
    (mean_C, variance_C), (scale_C, shift_C) = moments_2C, factors_2C
    rows = x_BCHW.numel() // x_BCHW.shape[1]
    dbias_C, weighted_C = kernels.gradient_sums(
        gradient_BCHW, x_BCHW, scale_C, shift_C, mean_C.to(kernels.real)
    )
    inverse_C = (variance_C + eps).rsqrt()
    dweight_C = weighted_C * inverse_C
    if not wants_dx:
        return x_BCHW.new_empty(0), dweight_C.to(kernels.real), dbias_C.to(kernels.real)
    # The gradient of x is scale * (g - mean(g) - normalized x * mean(g * normalized x)): scale * g
    # plus a linear function of x.
    slope_C = -scale_C * inverse_C * dweight_C / rows
    offset_C = -scale_C * dbias_C / rows - slope_C * mean_C
    vectors = (scale_C, shift_C, slope_C.to(kernels.real), offset_C.to(kernels.real))
    if places_BCHW is None:
        dx_BCHW = kernels.norm_relu_backward(gradient_BCHW, x_BCHW, *vectors)
    else:
        dx_BCHW = kernels.pool_norm_relu_backward(
            gradient_BCHW, x_BCHW, places_BCHW, (size[0], size[1]), *vectors
        )
    return dx_BCHW, dweight_C.to(kernels.real), dbias_C.to(kernels.real)


def _kernels(x_BCHW: Tensor) -> Kernels:
    found = find(x_BCHW.dtype)
    if isinstance(found, str):
        raise NotImplementedError(f"no kernels: {found}")
    return found


def _factors(
    kernels: Kernels, weight_C: Tensor, bias_C: Tensor, moments_2C: Tensor, eps: float
) -> Tensor:
    """Scale and shift that are equivalent to the norm, 2 C."""
    for vector_C in (weight_C, bias_C):  # another length could be broadcast
        check(vector_C, kernels.real, moments_2C.shape[1])
    mean_C, variance_C = moments_2C
    scale_C = weight_C.double() * (variance_C + eps).rsqrt()
    shift_C = bias_C.double() - mean_C * scale_C
    return torch.stack((scale_C, shift_C)).to(kernels.real)


def _pooled_size(x_BCHW: Tensor, pool: bool) -> tuple[Any, ...]:
    batch, channels, height, width = x_BCHW.shape
    return (batch, channels, height // 2, width // 2) if pool else (batch, channels, height, width)


def _real(x_BCHW: Tensor) -> torch.dtype:
    return torch.float64 if x_BCHW.dtype == torch.float64 else torch.float32


def _fake_norm_relu(
    x_BCHW: Tensor,
    weight_C: Tensor,
    bias_C: Tensor,
    residual_BCHW: Tensor | None,
    eps: float,
    pool: bool,
) -> tuple[Tensor, ...]:
    shape, channels = _pooled_size(x_BCHW, pool), x_BCHW.shape[1]
    kept = shape if pool else (0,)
    return (
        fake_activations(x_BCHW, shape, x_BCHW.dtype),
        fake_activations(x_BCHW, kept, x_BCHW.dtype),
        fake_activations(x_BCHW, kept, torch.uint8),
        x_BCHW.new_empty((2, channels), dtype=torch.float64),
        x_BCHW.new_empty((2, channels), dtype=_real(x_BCHW)),
    )


def _fake_norm_relu_fixed(x_BCHW: Tensor, *rest: Any) -> Tensor:
    return fake_activations(x_BCHW, _pooled_size(x_BCHW, rest[-1]), x_BCHW.dtype)


def _fake_norm_relu_backward(
    gradient_BCHW: Tensor,
    x_BCHW: Tensor,
    places_BCHW: Tensor | None,
    moments_2C: Tensor,
    factors_2C: Tensor,
    eps: float,
    size: tuple[int, int],
    wants_dx: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels = x_BCHW.shape[:2]
    shape = (batch, channels, *size) if wants_dx else (0,)
    dx_BCHW = fake_activations(x_BCHW, shape, x_BCHW.dtype)
    vector_C = x_BCHW.new_empty(channels, dtype=_real(x_BCHW))
    return dx_BCHW, vector_C, torch.empty_like(vector_C)


def _keep_for_norm_relu(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x_BCHW, weight_C, _, _, ctx.eps, ctx.pool = inputs
    _, pooled_BCHW, places_BCHW, moments_2C, factors_2C = output
    ctx.size = tuple(x_BCHW.shape[2:])
    ctx.set_materialize_grads(False)
    # The maxima are an output with a gradient, so that a second derivative can pass through them
    # to x, which is not kept.
    ctx.mark_non_differentiable(
        places_BCHW, moments_2C, factors_2C, *(() if ctx.pool else (pooled_BCHW,))
    )
    # The weight is kept as in PyTorch's norm, so that a change in between is detected.
    kept_BCHW = pooled_BCHW if ctx.pool else x_BCHW
    ctx.save_for_backward(kept_BCHW, weight_C, places_BCHW, moments_2C, factors_2C)


def _norm_relu_gradients(
    ctx: Any, gradient_BCHW: Tensor | None, pooled_gradient_BCHW: Tensor | None, *_: None
) -> tuple[Tensor | None, ...]:
    x_BCHW, weight_C, places_BCHW, moments_2C, factors_2C = ctx.saved_tensors
    wants_dx, *wants_sums = ctx.needs_input_grad[:3]
    dx_BCHW = dweight_C = dbias_C = None
    if gradient_BCHW is not None and (wants_dx or any(wants_sums)):
        if by_pytorch(gradient_BCHW, x_BCHW):
            dx_BCHW, dweight_C, dbias_C = _differentiable_gradients(
                gradient_BCHW, x_BCHW, weight_C, factors_2C, ctx.eps
            )
            if ctx.pool:
                dx_BCHW = _unpooled(dx_BCHW, places_BCHW, ctx.size)
        else:
            dx_BCHW, dweight_C, dbias_C = _NORM_RELU_BACKWARD(
                in_rows(gradient_BCHW.to(x_BCHW.dtype)),
                in_rows(x_BCHW),
                in_rows(places_BCHW) if ctx.pool else None,
                moments_2C.contiguous(),
                factors_2C.contiguous(),
                ctx.eps,
                ctx.size,
                wants_dx,
            )
            dx_BCHW = dx_BCHW if wants_dx else None
    if pooled_gradient_BCHW is not None:
        more_BCHW = _unpooled(pooled_gradient_BCHW, places_BCHW, ctx.size)
        dx_BCHW = more_BCHW if dx_BCHW is None else dx_BCHW + more_BCHW
    residual_gradient = gradient_BCHW if ctx.needs_input_grad[3] else None
    return dx_BCHW, dweight_C, dbias_C, residual_gradient, None, None


def _differentiable_gradients(
    gradient_BCHW: Tensor, x_BCHW: Tensor, weight_C: Tensor, factors_2C: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias, by operations that have gradients themselves."""
    real, dtype = factors_2C.dtype, x_BCHW.dtype
    over, rows = (0, 2, 3), x_BCHW.numel() // x_BCHW.shape[1]
    x_BCHW, gradient_BCHW = x_BCHW.to(real), gradient_BCHW.to(real)
    scale_C11, shift_C11 = factors_2C.unsqueeze(-1).unsqueeze(-1)
    passed_BCHW = gradient_BCHW * (x_BCHW.detach() * scale_C11 + shift_C11 > 0)
    distance_BCHW = x_BCHW - x_BCHW.mean(over, keepdim=True)
    inverse_C11 = (distance_BCHW.square().mean(over, keepdim=True) + eps).rsqrt()
    normal_BCHW = distance_BCHW * inverse_C11
    dbias_C = passed_BCHW.sum(over)
    dweight_C = (passed_BCHW * normal_BCHW).sum(over)
    line_BCHW = (dbias_C[:, None, None] + normal_BCHW * dweight_C[:, None, None]) / rows
    dx_BCHW = weight_C[:, None, None] * inverse_C11 * (passed_BCHW - line_BCHW)
    return dx_BCHW.to(dtype), dweight_C, dbias_C


def _unpooled(pooled_BCHW: Tensor, places_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value at its place among 2 x 2 pixels, with zeros elsewhere; differentiable."""
    height, width = pooled_BCHW.shape[2:]
    device = pooled_BCHW.device
    rows_H1 = 2 * torch.arange(height, device=device).unsqueeze(1)
    columns_W = 2 * torch.arange(width, device=device)
    places_BCHW = places_BCHW.long()
    flat_BCHW = (rows_H1 + places_BCHW // 2) * size[1] + columns_W + places_BCHW % 2
    batch, channels = pooled_BCHW.shape[:2]
    zeros_BCN = pooled_BCHW.new_zeros(batch, channels, size[0] * size[1])
    values_BCN = pooled_BCHW.reshape(batch, channels, -1)  # supports batched gradients
    filled_BCN = zeros_BCN.scatter(2, flat_BCHW.reshape(batch, channels, -1), values_BCN)
    return filled_BCN.reshape(batch, channels, *size)


_NORM_RELU = register(
    "norm_relu(Tensor x, Tensor weight, Tensor bias, Tensor? residual, float eps, bool pool)"
    " -> (Tensor y, Tensor pooled, Tensor places, Tensor moments, Tensor factors)",
    _norm_relu,
    _fake_norm_relu,
)
_NORM_RELU_BACKWARD = register(
    "norm_relu_backward(Tensor gradient, Tensor x, Tensor? places, Tensor moments,"
    " Tensor factors, float eps, SymInt[2] size, bool wants_dx)"
    " -> (Tensor dx, Tensor dweight, Tensor dbias)",
    _norm_relu_backward,
    _fake_norm_relu_backward,
)
_NORM_RELU_FIXED = register(
    "norm_relu_fixed(Tensor x, Tensor weight, Tensor bias, Tensor mean, Tensor variance,"
    " Tensor? residual, float eps, bool pool) -> Tensor",
    _norm_relu_fixed,
    _fake_norm_relu_fixed,
)
register_gradients(_NORM_RELU, _keep_for_norm_relu, _norm_relu_gradients)
