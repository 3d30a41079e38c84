"""Calling a C function on tensors."""

import ctypes

import torch
from torch import Tensor


def call(library: ctypes.CDLL, name: str, *arguments: Tensor | int | None) -> int:
    """Call a function of pointers and int64 with tensors and numbers; None is a null pointer.

    Raises:
        ValueError: a tensor is not dense or not on the CPU; of four dimensions, not channels_last.
    """
    function = library[name]
    function.restype = ctypes.c_int64
    return function(*map(_argument, arguments))


def _argument(value: Tensor | int | None) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if value is None:
        return ctypes.c_void_p(None)
    order = torch.channels_last if value.ndim == 4 else torch.contiguous_format
    if value.device.type != "cpu" or not value.is_contiguous(memory_format=order):
        raise ValueError(
            "kernels take dense tensors on the CPU, activations in channels_last order"
        )
    return ctypes.c_void_p(value.data_ptr())
