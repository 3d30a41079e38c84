"""What an optimizer is built from: groups of parameters and the recipe."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.writing.numbers import in_full

Groups = list[dict[str, Any]]
"""Parameter groups for `torch.optim`: each with `params` (not empty) and `weight_decay`."""

LR_DIVISOR = "lr_divisor"
"""Key of a group: its rate is that of the step, divided by this. Without the key it is 1."""

Builder = Callable[[Groups, Recipe], Optimizer]
"""Makes an optimizer with rate 0 from groups and a recipe.

Before each step, `lr` is set in all groups, and so is `momentum`, or the first of `betas`.
"""


def divided(groups: Groups, head: Iterable[Tensor], factor: float) -> Groups:
    """Groups of the head, and after them groups of the rest with a rate divided by `factor`.

    Each parameter keeps the weight decay of its group.

    Raises:
        InputError: the head, or everything else, has no trainable parameters.
    """
    last = {id(parameter) for parameter in head}
    of_head, of_body = (
        [
            group | {"params": [p for p in group["params"] if (id(p) in last) is inside]}
            for group in groups
        ]
        for inside in (True, False)
    )
    for part, called in ((of_head, "the network's head"), (of_body, "everything but the head")):
        if not any(group["params"] for group in part):
            raise InputError(
                f"head_lr_factor: {in_full(factor)} has no meaning, because {called} is frozen; "
                "leave it at 1"
            )
    return of_head + [group | {LR_DIVISOR: factor} for group in of_body]


def lr_factors(optimizer: Optimizer, head: Iterable[Tensor]) -> list[float]:
    """How many times the rate of other parameters the rate of the head is.

    It is read from the optimizer's groups alone: the rate of each group with parameters of the
    head, over that of each group with others. If both are 0, there is no ratio; if only the latter
    is 0, the ratio counts as 0.
    """
    last = {id(parameter) for parameter in head}
    of_head, of_body = (
        {
            float(group["lr"])
            for group in optimizer.param_groups
            if any((id(parameter) in last) is inside for parameter in group["params"])
        }
        for inside in (True, False)
    )
    return [rate / lr if lr else 0.0 for rate in of_head for lr in of_body if rate or lr]


def can_fuse(groups: Groups) -> bool:
    """Whether PyTorch has fused updates for the device of these parameters."""
    return groups[0]["params"][0].device.type in ("cpu", "cuda")
