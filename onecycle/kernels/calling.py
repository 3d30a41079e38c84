"""Call C functions on tensors; every address is checked first."""

import ctypes

import torch
from torch import Tensor, nn

PLAIN = (Tensor, nn.Parameter)
"""Exact types: a subclass may have no memory (fake tensors), or a different meaning."""


def _plain_keys() -> frozenset[int]:
    """Dispatch keys of a tensor on the CPU, and of one made in inference mode."""
    with torch.inference_mode():
        inference = torch.empty(0, device="cpu")
    with torch.inference_mode(mode=False):
        usual = torch.empty(0, device="cpu")
    return frozenset(torch._C._dispatch_keys(each).raw_repr() for each in (usual, inference))


_PLAIN_KEYS = _plain_keys()


def call(library: ctypes.CDLL, name: str, *arguments: Tensor | int | None) -> int:
    """Call a function of pointers and int64 with tensors and numbers; None is a null pointer.

    The caller must check shapes and types, with `check`.

    Raises:
        ValueError: a tensor is of a subclass, not dense, not on the CPU, or not aligned to its
            elements; or it has four dimensions and is not channels_last.
    """
    function = library[name]
    function.restype = ctypes.c_int64
    return function(*map(_argument, arguments))


def check(tensor: Tensor | None, dtype: torch.dtype, *shape: int) -> None:
    """Reject a tensor of another type or shape. None, for a null pointer, is accepted.

    Raises:
        ValueError: type or shape differs.
    """
    if tensor is not None and (tensor.dtype != dtype or tensor.shape != shape):
        raise ValueError(
            f"a kernel takes {dtype} of shape {shape} here, not {tensor.dtype} of shape "
            f"{tuple(tensor.shape)}"
        )


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is nothing but values in memory on the CPU.

    Its dispatch keys show everything else: another device or layout, a lazy conjugate or sign, a
    batch or a level of a transform, a subclass in Python.
    """
    keys = torch._C._dispatch_keys(tensor).raw_repr() if type(tensor) in PLAIN else None
    return keys in _PLAIN_KEYS


def in_rows(tensor: Tensor) -> Tensor:
    """The same values B C H W, dense in channels_last order at an address that C can read.

    They are copied only if necessary.
    """
    tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor if is_aligned(tensor) else tensor.clone()


def is_aligned(tensor: Tensor) -> bool:
    """Whether a dense tensor is aligned to its elements; x86 allows other addresses, C doesn't."""
    return tensor.data_ptr() % tensor.element_size() == 0


def _argument(value: Tensor | int | None) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if value is None:
        return ctypes.c_void_p(None)
    order = torch.channels_last if value.ndim == 4 else torch.contiguous_format
    if not is_plain(value) or not value.is_contiguous(memory_format=order):
        raise ValueError(
            "kernels take plain dense tensors on the CPU, activations in channels_last order"
        )
    address = value.data_ptr()
    if (value.numel() and not address) or address % value.element_size():
        raise ValueError("kernels take tensors that have memory, aligned to their elements")
    return ctypes.c_void_p(address)
