"""How large the weights of a network are."""

import torch
from torch import nn


@torch.no_grad()
def weight_norms(model: nn.Module) -> dict[str, float]:
    """The Euclidean norm of each weight matrix or kernel of `model`, by the parameter's name.

    That is every floating-point or complex parameter of two or more dimensions, in the network's
    order. Biases and the factors of norms are left out. The sums are in float64.
    """
    return {
        name: float(torch.linalg.vector_norm(parameter.cpu().abs().double()))
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and (parameter.is_floating_point() or parameter.is_complex())
    }
