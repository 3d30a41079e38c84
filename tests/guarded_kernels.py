"""Runs the compiled kernels on tensors between pages that can't be touched: a program for a test.

    python tests/guarded_kernels.py within|too-far before|behind

The tensors lie directly behind the page before them, or directly before the one behind, and so do
those that the kernels' wrappers make. A single byte too far ends the process.
"""

import ctypes
import mmap
import sys
from unittest.mock import patch

import torch
from torch import Tensor

from onecycle.kernels import Kernels, amx, find

PAGE = mmap.PAGESIZE
NO_ACCESS = 0  # of mprotect(2)
LAST = torch.channels_last

kept: list[mmap.mmap] = []
"""Never unmapped, as tensors lie in them."""


class Memory:
    """Makes tensors next to a page that can't be touched."""

    def __init__(self, side: str) -> None:
        self.behind = side == "behind"

    def empty(
        self,
        *shape: int | tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Tensor:
        sizes = torch.Size(shape[0] if isinstance(shape[0], tuple) else shape)
        flat = self.flat(sizes.numel(), dtype)
        if memory_format is LAST:
            batch, channels, height, width = sizes
            return flat.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return flat.view(sizes)

    def flat(self, count: int, dtype: torch.dtype) -> Tensor:
        size = count * dtype.itemsize
        pages = -(-size // PAGE)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        kept.append(memory)
        start = PAGE + (pages * PAGE - size if self.behind else 0)
        tensor = torch.frombuffer(memory, dtype=dtype, count=count, offset=start)
        first = tensor.data_ptr() - start
        for page in (0, pages + 1):
            address = ctypes.c_void_p(first + page * PAGE)
            assert ctypes.CDLL(None).mprotect(address, ctypes.c_size_t(PAGE), NO_ACCESS) == 0
        return tensor

    def activations(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return self.empty(*shape, dtype=dtype, memory_format=LAST).copy_(torch.randn(shape))

    def vector(self, channels: int, dtype: torch.dtype) -> Tensor:
        return self.empty(channels, dtype=dtype).copy_(torch.rand(channels))


def norms(memory: Memory) -> None:
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        kernels = find(dtype)
        assert isinstance(kernels, Kernels)
        for shape in ((1, 1, 2, 2), (3, 5, 7, 4), (2, 33, 16, 17), (70, 16, 3, 3)):
            x, gradient = (memory.activations(*shape, dtype=dtype) for _ in range(2))
            vectors = [memory.vector(shape[1], kernels.real) for _ in range(4)]
            kernels.moments(x)
            kernels.norm_relu(x, *vectors[:2], gradient)
            kernels.gradient_sums(gradient, x, *vectors[:3])
            kernels.norm_relu_backward(gradient, x, *vectors)
            pooled, places = kernels.max_pool(x)
            size = (shape[2], shape[3])
            kernels.pool_norm_relu_backward(pooled, pooled, places, size, *vectors)


def convolutions(memory: Memory) -> None:
    found = amx.find()
    if isinstance(found, str):
        return  # this CPU has none
    for batch, inputs, outputs, height, width in (
        (1, 32, 32, 1, 1), (5, 32, 64, 4, 4), (33, 160, 32, 2, 3), (40, 32, 288, 8, 8),
        (17, 32, 32, 20, 3), (31, 64, 32, 3, 40),
    ):  # fmt: skip
        x = memory.activations(batch, inputs, height, width, dtype=torch.bfloat16)
        gradient = memory.activations(batch, outputs, height, width, dtype=torch.bfloat16)
        weight = memory.activations(outputs, inputs, 3, 3, dtype=torch.bfloat16)
        found.convolve(x, weight)
        found.convolve(gradient, weight, mirrored=True)
        found.weight_gradient(x, gradient)


def too_far(memory: Memory) -> None:
    x = memory.activations(2, 3, 4, 4, dtype=torch.float32)
    ctypes.string_at(x.data_ptr() + (x.nbytes if memory.behind else -1), 1)


def main() -> None:
    _, where, side = sys.argv
    memory = Memory(side)
    with patch.object(torch, "empty", memory.empty):
        if where == "too-far":
            too_far(memory)
        norms(memory)
        convolutions(memory)
    print("within")


if __name__ == "__main__":
    main()
