"""What an optimizer is built from: groups of parameters and the recipe."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from onecycle.config import Recipe

Groups = list[dict[str, Any]]
"""As `torch.optim` takes them: each with its `params`, at least one, and its `weight_decay`."""

Builder = Callable[[Groups, Recipe], Optimizer]
"""Makes an optimizer of groups and a recipe, at rate 0.

Before each step the groups' `lr` is set, and their `momentum` or the first of their `betas`.
"""


def can_fuse(groups: Groups) -> bool:
    """Whether PyTorch has fused updates for the device of these parameters."""
    return groups[0]["params"][0].device.type in ("cpu", "cuda")
