"""Optimizers, their parameter groups, and the terms of the loss.

Each optimizer is a module with a function `build` of parameter groups and the recipe.

Shapes: B batch, K classes.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from onecycle import schedule
from onecycle.config import Recipe
from onecycle.optim import adamw, sgd
from onecycle.optim.groups import LR_DIVISOR, Builder, Groups, divided, lr_factors

OPTIMIZERS: dict[str, Builder] = {"sgd": sgd.build, "adamw": adamw.build}
"""Every optimizer, by its name in a recipe."""


def weights(model: nn.Module) -> list[Tensor]:
    """Convolution and linear weights: all trainable parameters with two or more dimensions."""
    return [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]


def norms_and_biases(model: nn.Module) -> list[Tensor]:
    """Factors of norms, and biases: all trainable parameters with fewer than two dimensions."""
    return [p for p in model.parameters() if p.requires_grad and p.ndim < 2]


def build(model: nn.Module, recipe: Recipe, head: Iterable[Tensor] = ()) -> Optimizer:
    """The recipe's optimizer for `model`. Its rate is 0 until one is set.

    Two parameter groups: weights with weight decay, and norms and biases without it (with it
    under `decay_norms_and_biases`). With a `head_lr_factor`, two of the head come first, and two of
    the rest follow, whose rate is that of the step divided by the factor.

    Args:
        model: its trainable parameters are updated.
        recipe: what the optimizer is, and its settings.
        head: the parameters of the network's head.

    Raises:
        InputError: there is a `head_lr_factor`, but the head or everything else is frozen.
    """
    bare_decay = recipe.weight_decay if recipe.decay_norms_and_biases else 0.0
    groups: Groups = [
        {"params": weights(model), "weight_decay": recipe.weight_decay},
        {"params": norms_and_biases(model), "weight_decay": bare_decay},
    ]
    if recipe.head_lr_factor != 1:
        groups = divided(groups, head, recipe.head_lr_factor)
    return OPTIMIZERS[recipe.optimizer]([group for group in groups if group["params"]], recipe)


def set_rates(optimizer: Optimizer, lr: float, momentum: float) -> None:
    """Give every parameter group the step's learning rate and momentum (AdamW: its first beta).

    A group with a `lr_divisor` gets the rate divided by that. Values that are tensors are filled in
    place.
    """
    for group in optimizer.param_groups:
        schedule.set_value(group, "lr", lr / group.get(LR_DIVISOR, 1.0))
        schedule.set_momentum(group, momentum)


def applied_rates(optimizer: Optimizer) -> tuple[float, float]:
    """The step's learning rate and momentum (AdamW: first beta), as they are in the groups.

    They are those of the first group. If another group does not fit them, its value is given (the
    one that is furthest off), so that a log shows it.
    """
    groups = optimizer.param_groups
    first = float(groups[0]["lr"])
    lrs = [_of_step(float(group["lr"]), group.get(LR_DIVISOR, 1.0), first) for group in groups]
    momenta = [float(g["momentum"] if "momentum" in g else g["betas"][0]) for g in groups]
    return _odd_one(lrs), _odd_one(momenta)


def _of_step(lr: float, divisor: float, first: float) -> float:
    """The rate of the step that gives a group with this divisor its rate: `first` if that does."""
    return first if lr == first / divisor else lr * divisor


def _odd_one(values: list[float]) -> float:
    return max(values, key=lambda value: abs(value - values[0]))


def settings(optimizer: Optimizer) -> dict[str, Any]:
    """Name of an optimizer, and settings of its first group except the rate, for JSON."""
    group = optimizer.param_groups[0]
    wanted = ("momentum", "nesterov", "weight_decay", "betas", "eps", "dampening")
    return {"name": type(optimizer).__name__} | {
        key: [_plain(v) for v in group[key]]
        if isinstance(group[key], tuple)
        else _plain(group[key])
        for key in wanted
        if key in group
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def l1_norm(model: nn.Module) -> Tensor:
    """Sum of the absolute values of all convolution and linear weights: a scalar."""
    return torch.stack([weight.abs().sum() for weight in weights(model)]).sum()


def mean_loss(
    logits_BK: Tensor,
    labels_B: Tensor,
    label_smoothing: float = 0.0,
    class_weights_K: Tensor | None = None,
) -> Tensor:
    """Weighted mean of the images' cross-entropies, in nats: a scalar.

    An image's weight is that of its class, and the sum is divided by the sum of the batch's
    weights. So the loss stays a mean: about ln K before training, whatever classes a batch holds,
    and a range test can be read. Without label smoothing it equals `F.cross_entropy` with
    `weight`. With label smoothing, `F.cross_entropy` weights the classes of the smoothed target
    instead of the image.

    Args:
        logits_BK: float32.
        labels_B: int64, in [0, K).
        label_smoothing: share of the target spread evenly over the classes, in [0, 1).
        class_weights_K: float32; None: all the same.
    """
    if class_weights_K is None:
        return F.cross_entropy(logits_BK, labels_B, label_smoothing=label_smoothing)
    losses_B = F.cross_entropy(
        logits_BK, labels_B, label_smoothing=label_smoothing, reduction="none"
    )
    weights_B = class_weights_K[labels_B]
    return (weights_B * losses_B).sum() / weights_B.sum()


__all__ = [
    "LR_DIVISOR",
    "OPTIMIZERS",
    "Builder",
    "applied_rates",
    "build",
    "l1_norm",
    "lr_factors",
    "mean_loss",
    "norms_and_biases",
    "set_rates",
    "settings",
    "weights",
]
