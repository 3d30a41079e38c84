"""Stochastic gradient descent with momentum, optionally Nesterov's."""

import torch
from torch.optim import Optimizer

from onecycle.config import Recipe
from onecycle.optim.groups import Groups, can_fuse


def build(groups: Groups, recipe: Recipe) -> Optimizer:
    """PyTorch's SGD, which adds `weight_decay * w` to the gradient."""
    return torch.optim.SGD(
        groups,
        lr=0.0,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        fused=can_fuse(groups),
    )
