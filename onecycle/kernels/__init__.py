"""Batch norm, ReLU and max pooling on the CPU in few passes: C functions called on tensors.

They are compiled on first use, by the machine's own C compiler (see `compiling`), into one library
per element type. If that fails, `find` gives the reason and PyTorch's operations are used.

Activations are tensors B C H W in channels_last order, of bfloat16, float32 or float64. `scale_C`
and the other vectors over channels are float32, or float64 for float64 activations. Each function
checks types, shapes and memory of everything that it passes to C. Autograd does not see these
functions; `operators` turns them into PyTorch operators.

Shapes: B batch, C channels, H height, W width, M = B * H * W rows of channels.
"""

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from onecycle import runtime
from onecycle.errors import KernelsUnavailable
from onecycle.kernels import amx, compiling
from onecycle.kernels.calling import call, check
from onecycle.kernels.compiling import take_notes as take_notes

SWITCH = "ONECYCLE_KERNELS"
"""Environment variable: with `off`, PyTorch's operations are used for everything."""

ELEMENTS = {torch.bfloat16: "BF16", torch.float32: "FLOAT", torch.float64: "DOUBLE"}
"""The element types with kernels, and their names in the C source."""


@cache
def find(dtype: torch.dtype | None) -> "Kernels | str":
    """The kernels for activations of `dtype`, or the reason in a few words why there are none."""
    if os.environ.get(SWITCH, "").lower() in ("off", "0"):
        return f"switched off by {SWITCH}"
    if dtype not in ELEMENTS:
        return f"none for {dtype}"
    element = f"ELEMENT_{ELEMENTS[dtype]}"
    try:
        library = compiling.library(compiling.NORMS, runtime.cpu_identity(), element)
        return Kernels(library, dtype)
    except KernelsUnavailable as reason:
        return str(reason)


@dataclass(frozen=True)
class State:
    """Whose operations a training's blocks run on.

    Attributes:
        implementation: the results' bits depend on it.
        reason: why it is PyTorch's, in a few words; empty where it isn't.
    """

    implementation: Literal["compiled", "compiled with convolutions", "pytorch"]
    reason: str = ""


def state(device: torch.device, precision: str) -> State:
    """What a training's blocks run on; convolutions are compiled in bf16 on CPUs with AMX."""
    if device.type != "cpu":
        return State("pytorch", device.type)
    found = find(torch.bfloat16 if precision == "bf16" else torch.float32)
    if isinstance(found, str):
        return State("pytorch", found)
    convolutions = precision == "bf16" and not isinstance(amx.find(), str)
    return State("compiled with convolutions" if convolutions else "compiled")


@dataclass(frozen=True)
class Kernels:
    """The C functions, as functions of tensors. `kernels.c` describes what they compute.

    All raise ValueError if a tensor has the wrong type, shape or memory order.
    """

    library: ctypes.CDLL
    dtype: torch.dtype

    @property
    def real(self) -> torch.dtype:
        """The type of sums and of vectors over channels."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def moments(self, x_BCHW: Tensor) -> Tensor:
        """Mean and biased variance of each channel, float64 2 C."""
        rows, channels = self._rows(x_BCHW)
        if not rows:
            raise ValueError("an empty batch has no mean")
        moments_2C = torch.empty(2, channels, dtype=torch.float64, device="cpu")
        room = self._sums(rows, channels)
        self._call("moments", x_BCHW, rows, channels, room, moments_2C)
        return moments_2C

    def norm_relu(
        self, x_BCHW: Tensor, scale_C: Tensor, shift_C: Tensor, added_BCHW: Tensor | None = None
    ) -> Tensor:
        """relu(x * scale + shift), plus `added` unless it is None."""
        rows = self._rows(x_BCHW, added_BCHW)
        self._vectors(x_BCHW, scale_C, shift_C)
        y_BCHW = self._activations(*x_BCHW.shape)
        self._call("norm_relu", x_BCHW, added_BCHW, y_BCHW, *rows, scale_C, shift_C)
        return y_BCHW

    def gradient_sums(
        self,
        gradient_BCHW: Tensor,
        x_BCHW: Tensor,
        scale_C: Tensor,
        shift_C: Tensor,
        mean_C: Tensor,
    ) -> Tensor:
        """Row sums of g and of g * (x - mean), float64 2 C; g is the gradient before the ReLU."""
        rows, channels = self._rows(x_BCHW, gradient_BCHW)
        vectors = (scale_C, shift_C, mean_C)
        self._vectors(x_BCHW, *vectors)
        sums = self._sums(rows, channels)
        self._call("gradient_sums", gradient_BCHW, x_BCHW, rows, channels, *vectors, sums)
        return sums.sum(0, dtype=torch.float64)

    def norm_relu_backward(
        self,
        gradient_BCHW: Tensor,
        x_BCHW: Tensor,
        scale_C: Tensor,
        shift_C: Tensor,
        slope_C: Tensor,
        offset_C: Tensor,
    ) -> Tensor:
        """The sum scale * g + slope * x + offset, with g as above."""
        rows = self._rows(x_BCHW, gradient_BCHW)
        vectors = (scale_C, shift_C, slope_C, offset_C)
        self._vectors(x_BCHW, *vectors)
        dx_BCHW = self._activations(*x_BCHW.shape)
        self._call("norm_relu_backward", gradient_BCHW, x_BCHW, dx_BCHW, *rows, *vectors)
        return dx_BCHW

    def max_pool(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The maxima of 2 x 2 pixels, and their places among the four, uint8 in [0, 3]."""
        self._rows(x_BCHW)
        batch, channels, height, width = x_BCHW.shape
        y_BCHW = self._activations(batch, channels, height // 2, width // 2)
        places_BCHW = _activations(*y_BCHW.shape, dtype=torch.uint8)
        self._call("max_pool", x_BCHW, batch, height, width, channels, y_BCHW, places_BCHW)
        return y_BCHW, places_BCHW

    def pool_norm_relu_backward(
        self,
        gradient_BCHW: Tensor,
        x_BCHW: Tensor,
        places_BCHW: Tensor,
        size: tuple[int, int],
        *vectors_C: Tensor,
    ) -> Tensor:
        """`norm_relu_backward` followed by the backward pass of the `max_pool` that gave `x_BCHW`.

        `size` is (H, W) before pooling. The vectors are scale, shift, slope and offset.
        """
        self._rows(x_BCHW, gradient_BCHW)
        scale_C, shift_C, slope_C, offset_C = vectors_C
        self._vectors(x_BCHW, scale_C, shift_C, slope_C, offset_C)
        check(places_BCHW, torch.uint8, *x_BCHW.shape)
        batch, channels, pooled_height, pooled_width = x_BCHW.shape
        height, width = size
        if (height // 2, width // 2) != (pooled_height, pooled_width):
            raise ValueError(f"{pooled_height} x {pooled_width} is not {height} x {width} pooled")
        dx_BCHW = self._activations(batch, channels, height, width)
        if height % 2 or width % 2:
            dx_BCHW.zero_()
        tensors = (gradient_BCHW, x_BCHW, places_BCHW, dx_BCHW)
        shape = (batch, height, width, channels)
        self._call("pool_norm_relu_backward", *tensors, *shape, *vectors_C)
        return dx_BCHW

    def _rows(self, x_BCHW: Tensor, other_BCHW: Tensor | None = None) -> tuple[int, int]:
        """Rows and channels of activations, which are checked; `other` must have the same."""
        if x_BCHW.ndim != 4:
            raise ValueError(f"kernels take activations B C H W, not {tuple(x_BCHW.shape)}")
        check(x_BCHW, self.dtype, *x_BCHW.shape)
        check(other_BCHW, self.dtype, *x_BCHW.shape)
        batch, channels, height, width = x_BCHW.shape
        return batch * height * width, channels

    def _vectors(self, x_BCHW: Tensor, *vectors_C: Tensor) -> None:
        """Check vectors over the channels of `x_BCHW`."""
        for vector_C in vectors_C:
            check(vector_C, self.real, x_BCHW.shape[1])

    def _activations(self, *shape_BCHW: int) -> Tensor:
        return _activations(*shape_BCHW, dtype=self.dtype)

    def _sums(self, rows: int, channels: int) -> Tensor:
        """An empty tensor for the sums of each block of rows."""
        blocks = -(-rows // self.library.block_rows())
        return torch.empty(blocks, 2, channels, dtype=self.real, device="cpu")

    def _call(self, name: str, *arguments: Tensor | int | None) -> None:
        call(self.library, name, *arguments)


def _activations(*shape_BCHW: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape_BCHW, dtype=dtype, device="cpu", memory_format=torch.channels_last)
