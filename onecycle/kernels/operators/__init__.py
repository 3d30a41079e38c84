"""The kernels as PyTorch operators, with their gradients.

PyTorch's modes, transforms and profilers see each kernel as one operator with shapes and types. C
code is called only below them, with tensors that have memory. `models.fused` decides which blocks
of a network run on these operators.

Gradients of gradients come from PyTorch's operations: a backward pass uses them if it must be
differentiable itself, or runs under a mode or a transform.
"""

from onecycle.kernels.operators.convolutions import conv3x3
from onecycle.kernels.operators.norms import norm_relu, norm_relu_fixed

__all__ = ["conv3x3", "norm_relu", "norm_relu_fixed"]
