"""Runs kernels that were built with sanitizers, on random shapes: a program for a test.

    LD_PRELOAD=libasan.so python tests/sanitized_kernels.py FOLDER SEED ROUNDS

FOLDER holds kernels-BF16.so, kernels-FLOAT.so, kernels-DOUBLE.so and, where this CPU can run it,
convolution.so. The memory of every tensor is then watched: a read or write beyond one, or undefined
arithmetic, ends the process with a report. Results are compared with PyTorch's, too.
"""

import ctypes
import random
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from onecycle.kernels import ELEMENTS, Kernels, amx

LAST = torch.channels_last


def activations(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape).to(dtype).contiguous(memory_format=LAST)


def norms(kernels: Kernels, draw: random.Random) -> None:
    dtype, real = kernels.dtype, kernels.real
    channels = draw.choice((1, 2, 3, 7, 16, 31, 32, 33, 64, 70))
    shape = (draw.randint(1, 40), channels, draw.randint(1, 19), draw.randint(1, 19))
    x, gradient = (activations(*shape, dtype=dtype) for _ in range(2))
    vectors = [torch.rand(channels, dtype=real) for _ in range(4)]
    mean, variance = kernels.moments(x)
    exact = x.double()
    torch.testing.assert_close(mean, exact.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance, exact.var((0, 2, 3), correction=0), rtol=1e-5, atol=1e-6)
    for added in (None, gradient):
        kernels.norm_relu(x, *vectors[:2], added)
    kernels.gradient_sums(gradient, x, *vectors[:3])
    kernels.norm_relu_backward(gradient, x, *vectors)
    if min(shape[2:]) > 1:
        pooled, places = kernels.max_pool(x)
        assert torch.equal(pooled, F.max_pool2d(x, 2))
        kernels.pool_norm_relu_backward(pooled, pooled, places, shape[2:], *vectors)


def convolutions(found: amx.Convolutions, draw: random.Random) -> None:
    batch, inputs = draw.randint(1, 70), draw.choice((32, 64, 96, 160))
    outputs = draw.choice((32, 64, 160))
    height, width = draw.randint(1, 7), draw.randint(1, 7)
    x = activations(batch, inputs, height, width, dtype=torch.bfloat16)
    gradient = activations(batch, outputs, height, width, dtype=torch.bfloat16)
    weight = activations(outputs, inputs, 3, 3, dtype=torch.bfloat16)
    y = found.convolve(x, weight)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-2)
    found.convolve(gradient, weight, mirrored=True)
    narrow = activations(batch, 16 * draw.randint(1, 10), height, width, dtype=torch.bfloat16)
    found.weight_gradient(narrow, gradient)


def main() -> None:
    folder, draw, rounds = Path(sys.argv[1]), random.Random(int(sys.argv[2])), int(sys.argv[3])
    torch.manual_seed(int(sys.argv[2]))
    for dtype, name in ELEMENTS.items():
        kernels = Kernels(ctypes.CDLL(str(folder / f"kernels-{name}.so")), dtype)
        for _ in range(rounds):
            norms(kernels, draw)
    tiles = folder / "convolution.so"
    if tiles.exists():
        found = amx.Convolutions(ctypes.CDLL(str(tiles)))
        for _ in range(rounds // 4):  # tiles in plain C take their time
            convolutions(found, draw)
    print("within", "with tiles" if tiles.exists() else "without tiles")


if __name__ == "__main__":
    main()
