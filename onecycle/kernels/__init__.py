"""Batch norm, ReLU and max pooling on the CPU in few passes: C functions called on tensors.

They are compiled on first use, by the machine's own C compiler (see `compiling`), into one library
per element type. Where that fails, `find` says why and the network runs on PyTorch's operations.

Activations are tensors B C H W in channels_last order, of bfloat16, float32 or float64. `scale_C`
and the other vectors over channels are float32, or float64 for float64 activations. Nothing here is
known to autograd; `models.fused` makes differentiable operations of it.

Shapes: B batch, C channels, H height, W width, M = B * H * W rows of channels.
"""

import ctypes
import os
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from onecycle import runtime
from onecycle.errors import KernelsUnavailable
from onecycle.kernels import amx, compiling
from onecycle.kernels.calling import call
from onecycle.kernels.compiling import take_notes as take_notes

SWITCH = "ONECYCLE_KERNELS"
"""Environment variable: `off` leaves everything to PyTorch's operations."""

ELEMENTS = {torch.bfloat16: "BF16", torch.float32: "FLOAT", torch.float64: "DOUBLE"}
"""Element types there are kernels for, and their names in the C source."""


@cache
def find(dtype: torch.dtype) -> "Kernels | str":
    """The kernels for activations of `dtype`, or why there are none, in a few words."""
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


def state(device: torch.device, precision: str) -> str:
    """What a training's blocks run on: `compiled`, or `pytorch` with the reason in brackets.

    In bf16 `compiled, convolutions too` where the CPU has AMX.
    """
    if device.type != "cpu":
        return f"pytorch ({device.type})"
    found = find(torch.bfloat16 if precision == "bf16" else torch.float32)
    if isinstance(found, str):
        return f"pytorch ({found})"
    convolutions = precision == "bf16" and not isinstance(amx.find(), str)
    return "compiled, convolutions too" if convolutions else "compiled"


@dataclass(frozen=True)
class Kernels:
    """The C functions, as functions of tensors. What they compute is told in `kernels.c`."""

    library: ctypes.CDLL
    dtype: torch.dtype

    @property
    def real(self) -> torch.dtype:
        """The type of sums and of vectors over channels."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    def moments(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of each channel, float64 C."""
        rows, channels = _rows(x_BCHW)
        sums = self._sums(rows, channels)
        self._call("moments", x_BCHW, rows, channels, sums)
        first_C, second_C = sums.sum(0, dtype=torch.float64) / rows
        variance_C = (second_C - first_C.square()).clamp_(min=0)
        return first_C + x_BCHW[0, :, 0, 0].double(), variance_C

    def norm_relu(
        self, x_BCHW: Tensor, scale_C: Tensor, shift_C: Tensor, added_BCHW: Tensor | None = None
    ) -> Tensor:
        """Give relu(x * scale + shift), plus `added` where it is given."""
        y_BCHW = torch.empty_like(x_BCHW)
        self._call("norm_relu", x_BCHW, added_BCHW, y_BCHW, *_rows(x_BCHW), scale_C, shift_C)
        return y_BCHW

    def gradient_sums(
        self,
        gradient_BCHW: Tensor,
        x_BCHW: Tensor,
        scale_C: Tensor,
        shift_C: Tensor,
        mean_C: Tensor,
    ) -> Tensor:
        """Sums over the rows of g and of g * (x - mean), float64 2 C; g: gradient before ReLU."""
        rows, channels = _rows(x_BCHW)
        sums = self._sums(rows, channels)
        vectors = (scale_C, shift_C, mean_C)
        self._call("gradient_sums", gradient_BCHW, x_BCHW, rows, channels, *vectors, sums)
        return sums.sum(0, dtype=torch.float64)

    def norm_relu_backward(
        self, gradient_BCHW: Tensor, x_BCHW: Tensor, *vectors_C: Tensor
    ) -> Tensor:
        """Give scale * g + slope * x + offset; the vectors are scale, shift, slope, offset."""
        dx_BCHW = torch.empty_like(x_BCHW)
        rows = _rows(x_BCHW)
        self._call("norm_relu_backward", gradient_BCHW, x_BCHW, dx_BCHW, *rows, *vectors_C)
        return dx_BCHW

    def max_pool(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The maximum of 2 x 2 pixels, and the place of each among the four, uint8 in [0, 3]."""
        batch, channels, height, width = x_BCHW.shape
        y_BCHW = self._activations(batch, channels, height // 2, width // 2)
        places_BCHW = torch.empty_like(y_BCHW, dtype=torch.uint8)
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
        """`norm_relu_backward` carried on to the `size` (H, W) before `max_pool` gave `x_BCHW`."""
        batch, channels, _, _ = x_BCHW.shape
        height, width = size
        dx_BCHW = self._activations(batch, channels, height, width)
        if height % 2 or width % 2:
            dx_BCHW.zero_()
        tensors = (gradient_BCHW, x_BCHW, places_BCHW, dx_BCHW)
        shape = (batch, height, width, channels)
        self._call("pool_norm_relu_backward", *tensors, *shape, *vectors_C)
        return dx_BCHW

    def _activations(self, *shape_BCHW: int) -> Tensor:
        return torch.empty(shape_BCHW, dtype=self.dtype, memory_format=torch.channels_last)

    def _sums(self, rows: int, channels: int) -> Tensor:
        """Room for the sums of each block of rows."""
        blocks = -(-rows // self.library.block_rows())
        return torch.empty(blocks, 2, channels, dtype=self.real)

    def _call(self, name: str, *arguments: Tensor | int | None) -> None:
        call(self.library, name, *arguments)


def _rows(x_BCHW: Tensor) -> tuple[int, int]:
    batch, channels, height, width = x_BCHW.shape
    return batch * height * width, channels
