"""Register the kernels as PyTorch operators, in `torch.ops.onecycle`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from onecycle.kernels.calling import is_plain
from onecycle.kernels.modes import active

_library = torch.library.Library("onecycle", "DEF")


def register(schema: str, compute: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    """Register an operator, and return it as a function.

    Args:
        schema: its name, arguments and results.
        compute: its implementation for tensors on the CPU.
        fake: returns tensors with the shapes and types of the results, but without values.
    """
    name = schema.split("(", 1)[0]
    _library.define(schema)
    _library.impl(name, compute, "CPU")
    torch.library.register_fake(f"onecycle::{name}", fake, lib=_library)
    return getattr(torch.ops.onecycle, name).default


def register_gradients(
    operator: Any, keep: Callable[..., None], gradients: Callable[..., Any]
) -> None:
    """Make an operator differentiable: `keep` saves what `gradients` needs (see torch.library)."""
    torch.library.register_autograd(operator, gradients, setup_context=keep, lib=_library)


def fake_activations(x_BCHW: Tensor, shape: tuple[Any, ...], dtype: torch.dtype) -> Tensor:
    """An operator's result of this shape, without values; in channels_last order if B C H W."""
    fake = x_BCHW.new_empty(shape, dtype=dtype)
    return fake.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else fake


def by_pytorch(gradient: Tensor, *kept: Tensor) -> bool:
    """Whether a backward pass must use PyTorch's operations."""
    return torch.is_grad_enabled() or active() or not all(map(is_plain, (gradient, *kept)))
