"""Restore a tensor: its memory, its values, its flags and its gradient."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


class TensorState:
    """A tensor's state, with a copy of its values, to restore in the same tensor.

    The memory is kept, too: a tensor whose `data` was replaced, or that was resized, moved or
    converted, returns to its own memory, so that views and tied tensors share it as before. A lazy
    parameter that has received its shape becomes lazy again.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._kind = type(tensor)
        self._leaf, self._trained = tensor.is_leaf, tensor.requires_grad
        self._gradient = tensor.grad if self._leaf else None
        self._memory = tensor.data
        self._inference = not is_lazy(tensor) and tensor.is_inference()
        has_values = not is_lazy(tensor) and not tensor.is_meta
        self._values = _each_place_once(self._memory).clone() if has_values else None
        self._version = tensor._version if has_values and not self._inference else None

    def without_gradient(self) -> None:
        """Remove the gradient for now; `restore` sets the very same tensor again."""
        if self._gradient is not None:
            self.tensor.grad = None

    def restore(self) -> None:
        """Restore everything."""
        with torch.no_grad(), torch.inference_mode() if self._inference else nullcontext():
            if type(self.tensor) is not self._kind:
                self.tensor.__class__ = self._kind  # pyright: ignore[reportAttributeAccessIssue]
            if _place(self.tensor) != _place(self._memory):
                self.tensor.data = self._memory
            if self._leaf and not self.tensor.is_leaf:
                self.tensor.detach_()
            if self._values is not None:
                self._restore_values(self._values)
            if self._leaf and self.tensor.requires_grad != self._trained:
                self.tensor.requires_grad_(self._trained)
            if self._leaf and self.tensor.grad is not self._gradient:
                self.tensor.grad = self._gradient

    def _restore_values(self, values: Tensor) -> None:
        """Write only values that have changed: the memory may be a file opened read-only."""
        _take_up_memory(self._memory)
        target = _each_place_once(self.tensor)
        written = self._version is None or self.tensor._version != self._version
        if written or not _equal(target, values):
            target.copy_(values)


def _has_memory(tensor: Tensor) -> bool:
    """Whether the tensor has strided memory of its own."""
    return (
        not is_lazy(tensor)
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and not is_traceable_wrapper_subclass(tensor)
    )


def _each_place_once(tensor: Tensor) -> Tensor:
    """The tensor without its expanded dimensions, which can't be written to."""
    if _has_memory(tensor):
        for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
            if stride == 0 and size > 1:
                tensor = tensor.narrow(dim, 0, 1)
    return tensor


def _place(tensor: Tensor) -> Any:
    """The address and layout of the values; None if they can't be determined."""
    if not _has_memory(tensor):
        return None
    layout = tuple(tensor.shape), tensor.stride(), tensor.storage_offset()
    return tensor.data_ptr(), layout, tensor.dtype, tensor.device


def _take_up_memory(memory: Tensor) -> None:
    """Allocate storage again that was resized to 0 bytes, as offloading does."""
    if not _has_memory(memory) or not memory.numel():
        return
    reach = sum((n - 1) * stride for n, stride in zip(memory.shape, memory.stride(), strict=True))
    size = (memory.storage_offset() + reach + 1) * memory.element_size()
    if memory.untyped_storage().nbytes() < size:
        memory.untyped_storage().resize_(int(size))


def _equal(one: Tensor, other: Tensor) -> bool:
    try:
        return torch.equal(one, other)
    except (RuntimeError, NotImplementedError):  # this layout can't be compared
        return False
