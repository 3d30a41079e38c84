"""What an optimizer is built from: groups of parameters and the recipe."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from onecycle.config import Recipe

Groups = list[dict[str, Any]]
"""Parameter groups for `torch.optim`: each with `params` (not empty) and `weight_decay`."""

Builder = Callable[[Groups, Recipe], Optimizer]
"""Makes an optimizer with rate 0 from groups and a recipe.

Before each step, `lr` is set in all groups, and so is `momentum`, or the first of `betas`.
"""


def can_fuse(groups: Groups) -> bool:
    """Whether PyTorch has fused updates for the device of these parameters."""
    return groups[0]["params"][0].device.type in ("cpu", "cuda")
