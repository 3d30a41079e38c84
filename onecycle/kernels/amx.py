"""Convolutions 3 x 3 on AMX, the matrix unit of newer Xeons: C functions called on tensors.

PyTorch calls oneDNN, whose tiles run along the rows of an image. On small maps they stay nearly
empty, and its gradient of the weights is slower than AMX allows at any size. Here tiles run along
the images of a batch (see `convolution.c`). Autograd does not see these functions; `operators`
turns them into PyTorch operators.

Shapes: B batch, C channels in, K channels out, H height, W width.
"""

import ctypes
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from onecycle import runtime
from onecycle.errors import KernelsUnavailable
from onecycle.kernels import compiling, isa
from onecycle.kernels.calling import call, check

TILE_CHANNELS = 16
"""Input and output channels must be multiples of this for a gradient of the weights, and of twice
this for a convolution."""


@cache
def find() -> "Convolutions | str":
    """The convolutions, or the reason in a few words why they are not available."""
    if "amx_bf16" not in runtime.cpu_flags():
        return "no AMX"
    if variable := isa.without_amx():
        return f"no AMX by {variable}"
    try:
        library = compiling.library(compiling.CONVOLUTION, runtime.cpu_identity())
    except KernelsUnavailable as reason:
        return str(reason)
    return Convolutions(library) if library.allowed() else "Linux does not let AMX be used"


@dataclass(frozen=True)
class Convolutions:
    """The C functions, as functions of bfloat16 tensors in channels_last order.

    All raise ValueError if a tensor has the wrong type, shape or memory order.
    """

    library: ctypes.CDLL

    def convolve(self, x_BCHW: Tensor, weight_KC33: Tensor, *, mirrored: bool = False) -> Tensor:
        """The convolution with padding 1, rounded to bfloat16 from float32 sums.

        Args:
            x_BCHW: C (mirrored: K) channels, a multiple of 32.
            weight_KC33: K and C multiples of 32.
            mirrored: return the gradient of the input, B C H W, from the gradient of the output.

        Raises:
            MemoryError: there is no memory for a copy of 32 images per thread.
        """
        outputs, inputs = _channels(weight_KC33)
        packed = torch.empty(weight_KC33.numel(), dtype=torch.bfloat16, device="cpu")
        taken, given = (outputs, inputs) if mirrored else (inputs, outputs)
        batch, height, width = _images(x_BCHW, taken)
        call(self.library, "pack_weights", weight_KC33, outputs, inputs, int(mirrored), packed)
        y_BCHW = _empty(batch, given, height, width, dtype=torch.bfloat16)
        shape = (batch, height, width, taken, given)
        self._run("convolve", x_BCHW, packed, y_BCHW, *shape, torch.get_num_threads())
        return y_BCHW

    def weight_gradient(self, x_BCHW: Tensor, gradient_BKHW: Tensor) -> Tensor:
        """The gradient of a convolution's weights, K C 3 3 in float32.

        Args:
            x_BCHW: the convolution's input; C a multiple of 16.
            gradient_BKHW: the gradient of its output; K a multiple of 16.

        Raises:
            MemoryError: there is no memory for some packed images per thread (1 MB).
        """
        inputs, outputs = x_BCHW.shape[1], gradient_BKHW.shape[1]
        _check_multiples(TILE_CHANNELS, inputs, outputs)
        batch, height, width = _images(x_BCHW, inputs)
        check(gradient_BKHW, torch.bfloat16, batch, outputs, height, width)
        shape = (batch, height, width, inputs, outputs)
        total = _empty(outputs, inputs, 3, 3, dtype=torch.float32)
        slabs = call(self.library, "slabs", *shape)
        partial = total
        if slabs > 1:
            partial = torch.empty(slabs * total.numel(), dtype=torch.float32, device="cpu")
        self._run("weight_gradient", x_BCHW, gradient_BKHW, *shape, partial, total)
        return total

    def _run(self, name: str, *arguments: Tensor | int) -> None:
        if call(self.library, name, *arguments):
            raise MemoryError(f"no memory for a convolution ({name})")


def _channels(weight_KC33: Tensor) -> tuple[int, int]:
    """Output and input channels of the weights, which are checked."""
    outputs, inputs = weight_KC33.shape[:2]
    check(weight_KC33, torch.bfloat16, outputs, inputs, 3, 3)
    _check_multiples(2 * TILE_CHANNELS, outputs, inputs)
    return outputs, inputs


def _check_multiples(step: int, *channels: int) -> None:
    if any(count == 0 or count % step for count in channels):
        raise ValueError(f"{channels} channels are not multiples of {step}")


def _images(x_BCHW: Tensor, channels: int) -> tuple[int, int, int]:
    """Number, height and width of the images, which are checked and have at least one pixel."""
    if x_BCHW.ndim != 4 or not x_BCHW.numel():
        raise ValueError(f"a convolution takes images B C H W, not {tuple(x_BCHW.shape)}")
    batch, _, height, width = x_BCHW.shape
    check(x_BCHW, torch.bfloat16, batch, channels, height, width)
    return batch, height, width


def _empty(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="cpu", memory_format=torch.channels_last)
