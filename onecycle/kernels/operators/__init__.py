"""The kernels as PyTorch operators, with their gradients.

PyTorch's modes, transforms and profilers see each as one operator with shapes and types, and C is
entered only below them, with tensors that have memory. Which blocks of a network run on these
operators is decided in `models.fused`.

Gradients of gradients come from PyTorch's operations: a backward pass that is itself to be
differentiated, or that runs under a mode or a transform, is made of them.
"""

from onecycle.kernels.operators.convolutions import conv3x3
from onecycle.kernels.operators.norms import norm_relu, norm_relu_fixed

__all__ = ["conv3x3", "norm_relu", "norm_relu_fixed"]
