"""How the kernels become PyTorch operators: `torch.ops.onecycle`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from onecycle.kernels.calling import is_plain
from onecycle.kernels.modes import active

_library = torch.library.Library("onecycle", "DEF")


def register(schema: str, compute: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    """Make an operator, and give it: to be called as a function.

    Args:
        schema: its name, arguments and results.
        compute: what it does to tensors on the CPU.
        fake: gives tensors of the shapes and types of the results, without values.
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
    """What an operator gives, of a shape and without values: in channels_last order if B C H W."""
    fake = x_BCHW.new_empty(shape, dtype=dtype)
    return fake.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else fake


def by_pytorch(gradient: Tensor, *kept: Tensor) -> bool:
    """Whether a backward pass has to be made of PyTorch's operations."""
    return torch.is_grad_enabled() or active() or not all(map(is_plain, (gradient, *kept)))
