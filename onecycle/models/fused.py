"""A convolutional block as two differentiable operations of compiled kernels.

One is the convolution, in bfloat16 on CPUs with AMX; elsewhere PyTorch's own is used. The other
is max pooling, batch norm, ReLU and a residual addition. Layer by layer they take a dozen passes
over the activations, forward and backward; here they take five (Ioffe and Szegedy, 2015, for the
norm and its gradient). The result is the same, except that it is rounded to bfloat16 once instead
of after each layer, and that the gradient of the convolution's weights is not rounded.

The kernels are used for an unchanged block on plain tensors, while PyTorch only computes:
`kernels_for` decides. In all other cases the layers run. The parts of a block, `conv3x3` and
`norm_relu`, can also be used by themselves. Each checks whether it can replace the given layers,
and calls the layers if not.

Shapes: B batch, C channels (K out of a convolution), H height, W width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onecycle.kernels import Kernels, amx, find, operators
from onecycle.kernels.calling import in_rows, is_plain
from onecycle.kernels.modes import active
from onecycle.models.built import is_as_built, is_usual

FEW_IMAGES = 16
"""For fewer images, oneDNN is faster, because the tiles of our kernels lie along the images."""


def kernels_for(block: nn.Module, batch_BCHW: Tensor) -> Kernels | None:
    """The kernels for a `ConvBlock` on this input, or None if its layers have to run."""
    if not _is_computing_plainly(batch_BCHW) or not is_as_built(block):
        return None
    conv, norm = layers = _layers(block)
    if not _is_differentiable(norm, batch_BCHW, conv.weight):
        return None
    if not _shapes_fit(batch_BCHW, *layers, pool="pool" in block._modules):
        return None
    found = find(_computing_type(batch_BCHW, conv))
    return found if isinstance(found, Kernels) and _types_fit(found, norm) else None


def block(
    layers: nn.Module, batch_BCHW: Tensor, residual_BCHW: Tensor | None, kernels: Kernels
) -> Tensor:
    """The output of a `ConvBlock`, by the kernels that `kernels_for` gave for this batch."""
    conv, norm = _layers(layers)
    output_BKHW = _conv3x3(batch_BCHW, conv, kernels)
    return _norm_relu(output_BKHW, norm, kernels, "pool" in layers._modules, residual_BCHW)


def conv3x3(batch_BCHW: Tensor, conv: nn.Conv2d, kernels: Kernels) -> Tensor:
    """The output of the convolution `conv`, by a kernel if there is one for it.

    A kernel's result is in channels_last order and in the type of the kernels.
    """
    serves = (
        _is_computing_plainly(batch_BCHW)
        and is_usual("conv", conv)
        and batch_BCHW.shape[1] == conv.weight.shape[1] > 0 < len(conv.weight)
        and _computing_type(batch_BCHW, conv) == kernels.dtype
    )
    return _conv3x3(batch_BCHW, conv, kernels) if serves else conv(batch_BCHW)


def norm_relu(
    batch_BCHW: Tensor,
    norm: nn.BatchNorm2d,
    kernels: Kernels,
    *,
    pool: bool = False,
    residual_BCHW: Tensor | None = None,
) -> Tensor:
    """relu(norm(batch)), max pooled 2 x 2 before if asked for, plus `residual_BCHW`.

    This is one operation if the norm and the batch allow it. In training mode the norm's running
    statistics are updated as PyTorch updates them.
    """
    serves = (
        _is_computing_plainly(batch_BCHW)
        and batch_BCHW.dtype == kernels.dtype
        and is_usual("norm", norm)
        and _is_differentiable(norm, batch_BCHW)
        and _vectors_fit(batch_BCHW.shape, norm, pool=pool)
        and _types_fit(kernels, norm)
    )
    if serves:
        return _norm_relu(in_rows(batch_BCHW), norm, kernels, pool, residual_BCHW)
    output_BCHW = F.relu(norm(F.max_pool2d(batch_BCHW, 2) if pool else batch_BCHW))
    return output_BCHW if residual_BCHW is None else residual_BCHW + output_BCHW


def through_conv(conv: nn.Conv2d, batch_BCHW: Tensor) -> Tensor:
    """`conv(batch)`, on AMX where that can do part of the work. See `conv3x3`."""
    if not _is_computing_plainly(batch_BCHW) or not is_usual("conv", conv):
        return conv(batch_BCHW)
    found = find(_computing_type(batch_BCHW, conv))
    if isinstance(found, str) or not _amx_serves(batch_BCHW, conv.weight, found.dtype):
        return conv(batch_BCHW)
    return conv3x3(batch_BCHW, conv, found)


def through_norm_relu(norm: nn.BatchNorm2d, relu: nn.ReLU, batch_BCHW: Tensor) -> Tensor:
    """`relu(norm(batch))`, as one operation if norm, ReLU and batch allow it. See `norm_relu`.

    For networks whose layers have other names and another order than those of a `ConvBlock`.
    """
    found = find(batch_BCHW.dtype) if _is_computing_plainly(batch_BCHW) else ""
    if isinstance(found, str) or not is_usual("relu", relu) or not is_usual("norm", norm):
        return relu(norm(batch_BCHW))
    return norm_relu(batch_BCHW, norm, found)


def _conv3x3(batch_BCHW: Tensor, conv: nn.Conv2d, kernels: Kernels) -> Tensor:
    batch_BCHW = in_rows(batch_BCHW.to(kernels.dtype))
    if _amx_serves(batch_BCHW, conv.weight, kernels.dtype):
        return operators.conv3x3(batch_BCHW, conv.weight)
    with torch.autocast("cpu", enabled=False):
        output_BKHW = F.conv2d(batch_BCHW, conv.weight.to(kernels.dtype), padding=1)
    return output_BKHW.contiguous(memory_format=torch.channels_last)


def _norm_relu(
    batch_BCHW: Tensor,
    norm: nn.BatchNorm2d,
    kernels: Kernels,
    pool: bool,
    residual_BCHW: Tensor | None,
) -> Tensor:
    """A residual of another shape or type, or with a gradient of its own, is added by PyTorch."""
    if residual_BCHW is not None and (
        not _can_be_added(residual_BCHW, batch_BCHW, pool=pool)
        or not _is_differentiable(norm, residual_BCHW)
    ):
        return residual_BCHW + _norm_relu(batch_BCHW, norm, kernels, pool, None)
    if residual_BCHW is not None:
        residual_BCHW = in_rows(residual_BCHW)
    if not norm.training:
        statistics = (norm.weight, norm.bias, *_running(norm))
        return operators.norm_relu_fixed(batch_BCHW, *statistics, residual_BCHW, norm.eps, pool)
    output_BCHW, moments_2C = operators.norm_relu(
        batch_BCHW, norm.weight, norm.bias, residual_BCHW, norm.eps, pool
    )
    _move_statistics(norm, moments_2C, output_BCHW.numel() // output_BCHW.shape[1])
    return output_BCHW


def _layers(layers: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return layers._modules["conv"], layers._modules["norm"]  # pyright: ignore[reportReturnType]


def _is_computing_plainly(batch_BCHW: Tensor) -> bool:
    """Whether PyTorch only computes (no modes, no tracing), on plain tensors."""
    return not active() and is_plain(batch_BCHW) and batch_BCHW.ndim == 4


def _is_differentiable(norm: nn.BatchNorm2d, *inputs: Tensor) -> bool:
    """Whether the kernels have the gradients that will be wanted.

    A gradient through fixed statistics is rarely wanted, and PyTorch has it. None is wanted if
    neither the inputs nor the norm's factors need one, as in a frozen stage on the images.
    """
    return norm.training or not _is_recorded(*inputs, norm.weight, norm.bias)


def _is_recorded(*tensors: Tensor) -> bool:
    """Whether PyTorch records gradients for one of these."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _shapes_fit(batch_BCHW: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, *, pool: bool) -> bool:
    """Whether channels agree and there are enough values. If not, PyTorch reports what is wrong."""
    batch, channels, height, width = batch_BCHW.shape
    outputs, inputs = conv.weight.shape[:2]
    fits = _vectors_fit((batch, outputs, height, width), norm, pool=pool)
    return channels == inputs > 0 and fits


def _vectors_fit(shape_BCHW: Sequence[int], norm: nn.BatchNorm2d, *, pool: bool) -> bool:
    """Whether the norm has as many channels, and there are enough values for its statistics."""
    batch, channels, height, width = shape_BCHW
    rows = batch * (height // 2) * (width // 2) if pool else batch * height * width
    vectors = (norm.weight, norm.bias, *_running(norm))
    return (
        rows > (1 if norm.training else 0)
        and channels > 0
        and all(len(vector_C) == channels for vector_C in vectors)
    )


def _computing_type(batch_BCHW: Tensor, conv: nn.Conv2d) -> torch.dtype | None:
    """The type in which all layers would compute; None if they would use several."""
    types = {batch_BCHW.dtype, conv.weight.dtype}
    if torch.is_autocast_enabled("cpu"):
        casts = types <= {torch.float32, torch.bfloat16}  # it leaves float64 alone
        return torch.get_autocast_dtype("cpu") if casts else None
    return batch_BCHW.dtype if len(types) == 1 else None


def _types_fit(kernels: Kernels, norm: nn.BatchNorm2d) -> bool:
    vectors = (norm.weight, norm.bias, *_running(norm))
    return all(vector_C.dtype == kernels.real for vector_C in vectors)


def _can_be_added(residual_BCHW: Tensor, output_BKHW: Tensor, *, pool: bool) -> bool:
    """Whether a residual has the type and shape of the block's output."""
    batch, outputs, height, width = output_BKHW.shape
    shape = (batch, outputs, height // 2, width // 2) if pool else output_BKHW.shape
    return (
        is_plain(residual_BCHW)
        and residual_BCHW.dtype == output_BKHW.dtype
        and residual_BCHW.shape == shape
    )


def _amx_serves(batch_BCHW: Tensor, weight_KC33: Tensor, dtype: torch.dtype) -> bool:
    """Whether the convolutions on AMX can do part of this one's work, computed in `dtype`."""
    outputs, inputs = weight_KC33.shape[:2]
    fits = outputs % amx.TILE_CHANNELS == inputs % amx.TILE_CHANNELS == 0
    if dtype != torch.bfloat16 or not fits or len(batch_BCHW) < FEW_IMAGES:
        return False
    return isinstance(amx.find(), amx.Convolutions)


@torch.no_grad()
def _move_statistics(norm: nn.BatchNorm2d, moments_2C: Tensor, rows: int) -> None:
    """Update the running statistics by the batch's, with the unbiased variance."""
    norm.num_batches_tracked += 1  # pyright: ignore[reportOperatorIssue] - as in `_running`
    mean_C, variance_C = moments_2C
    moved = (mean_C, variance_C * (rows / (rows - 1)))
    for running_C, batch_C in zip(_running(norm), moved, strict=True):
        running_C.lerp_(batch_C.to(running_C.dtype), norm.momentum)  # pyright: ignore


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The running mean and variance. `kernels_for` has checked that they exist."""
    return norm.running_mean, norm.running_var  # pyright: ignore[reportReturnType]
