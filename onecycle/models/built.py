"""Whether a block's layers are exactly those of `resnet.ConvBlock`, run by PyTorch's own code.

Only then may one operation replace them. Exact types, fields and tensors decide, because a layer
that looks like another may compute something else.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules

from onecycle.kernels.calling import is_plain

NAMES = (("conv", "norm", "relu"), ("conv", "pool", "norm", "relu"))
"""Names of the layers in the order in which they run, without and with pooling."""

_TYPES = {"conv": nn.Conv2d, "pool": nn.MaxPool2d, "norm": nn.BatchNorm2d, "relu": nn.ReLU}

_METHODS = {
    kind: frozenset(name for name in dir(kind) if callable(getattr(kind, name)))
    for kind in _TYPES.values()
}
"""Methods that an attribute of a single layer could replace."""


def _code() -> tuple[object, ...]:
    """The methods that run when a layer is called. Replacing one for all layers changes them."""
    forwards = (kind.forward for kind in _TYPES.values())
    return (nn.Module.__call__, nn.Module._call_impl, nn.Conv2d._conv_forward, *forwards)


_CODE = _code()


def is_as_built(block: nn.Module) -> bool:
    """Whether the layers of `block` are those of a `ConvBlock`, and unchanged."""
    layers = block._modules
    return (
        tuple(layers) in NAMES
        and _runs_pytorchs_code()
        and all(_is_usual(name, layer) for name, layer in layers.items())
    )


def is_usual(name: str, layer: nn.Module) -> bool:
    """Whether a layer is what a block has under this name: `conv`, `pool`, `norm` or `relu`.

    A convolution is 3 x 3 with stride, padding, dilation and groups of 1 and no bias. A norm has
    factors, running statistics and a momentum.
    """
    return _runs_pytorchs_code() and _is_usual(name, layer)


def _is_usual(name: str, layer: nn.Module | None) -> bool:
    if layer is None or type(layer) is not _TYPES[name] or not _runs_as_it_is(layer):
        return False
    return name not in _FITS or _FITS[name](layer)


def _runs_pytorchs_code() -> bool:
    """Whether a call of a layer runs PyTorch's own code, without hooks on all modules."""
    return _code() == _CODE and not _has_global_hooks()


def _runs_as_it_is(layer: nn.Module) -> bool:
    """Whether a call of the layer only calls its class's `forward`."""
    return not (
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or layer._compiled_call_impl is not None
        or layer._modules
    ) and _METHODS[type(layer)].isdisjoint(vars(layer))  # pyright: ignore[reportArgumentType]


def _has_global_hooks() -> bool:
    return bool(
        modules._global_forward_hooks
        or modules._global_forward_pre_hooks
        or modules._global_backward_hooks
        or modules._global_backward_pre_hooks
    )


def _is_the_conv(conv: Any) -> bool:
    return (
        conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and set(conv._parameters) == {"weight", "bias"}
        and conv._parameters["bias"] is None
        and _is_tensor(conv._parameters["weight"])
        and conv.weight.shape[2:] == (3, 3)
    )


def _is_the_pool(pool: Any) -> bool:
    return (
        pool.kernel_size in (2, (2, 2))
        and pool.stride in (2, (2, 2))
        and pool.padding in (0, (0, 0))
        and pool.dilation in (1, (1, 1))
        and pool.ceil_mode is False
        and pool.return_indices is False
    )


def _is_the_norm(norm: Any) -> bool:
    vectors = tuple(norm._parameters.values()) + tuple(norm._buffers.values())
    return (
        norm.track_running_stats is True
        and isinstance(norm.momentum, float)
        and isinstance(norm.eps, float)
        and norm.eps > 0
        and tuple(norm._parameters) == ("weight", "bias")
        and tuple(norm._buffers) == ("running_mean", "running_var", "num_batches_tracked")
        and all(map(_is_tensor, vectors))
        and all(vector.ndim == 1 for vector in vectors[:4])
        and norm.num_batches_tracked.dtype == torch.int64
    )


def _is_tensor(value: Tensor | None) -> bool:
    return value is not None and is_plain(value)


_FITS = {"conv": _is_the_conv, "pool": _is_the_pool, "norm": _is_the_norm}
