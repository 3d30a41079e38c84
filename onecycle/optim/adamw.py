"""Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

import torch
from torch.optim import Optimizer

from onecycle.config import Recipe
from onecycle.optim.groups import Groups, can_fuse


def build(groups: Groups, recipe: Recipe) -> Optimizer:
    """PyTorch's AdamW. Its first beta is the recipe's momentum."""
    return torch.optim.AdamW(
        groups,
        lr=0.0,
        betas=(recipe.momentum, 0.999),
        fused=can_fuse(groups),
    )
