"""Optimizers, their parameter groups, and the terms of the loss.

Each optimizer is a module with a function `build` of parameter groups and the recipe.

Shapes: B batch, K classes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from onecycle import schedule
from onecycle.config import Recipe
from onecycle.optim import adamw, sgd
from onecycle.optim.groups import Builder, Groups

OPTIMIZERS: dict[str, Builder] = {"sgd": sgd.build, "adamw": adamw.build}
"""Every optimizer, by its name in a recipe."""


def weights(model: nn.Module) -> list[Tensor]:
    """Convolution and linear weights: all trainable parameters with two or more dimensions."""
    return [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]


def norms_and_biases(model: nn.Module) -> list[Tensor]:
    """Factors of norms, and biases: all trainable parameters with fewer than two dimensions."""
    return [p for p in model.parameters() if p.requires_grad and p.ndim < 2]


def build(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimizer for `model`. Its rate is 0 until one is set.

    Two parameter groups: weights with weight decay, and norms and biases without it (with it
    under `decay_norms_and_biases`).
    """
    bare_decay = recipe.weight_decay if recipe.decay_norms_and_biases else 0.0
    groups: Groups = [
        {"params": weights(model), "weight_decay": recipe.weight_decay},
        {"params": norms_and_biases(model), "weight_decay": bare_decay},
    ]
    return OPTIMIZERS[recipe.optimizer]([group for group in groups if group["params"]], recipe)


def set_rates(optimizer: Optimizer, lr: float, momentum: float) -> None:
    """Give every parameter group this learning rate and momentum (AdamW: its first beta).

    Values that are tensors are filled in place.
    """
    for group in optimizer.param_groups:
        schedule.set_value(group, "lr", lr)
        schedule.set_momentum(group, momentum)


def applied_rates(optimizer: Optimizer) -> tuple[float, float]:
    """The learning rate and momentum (AdamW: first beta) in the groups.

    If groups differ, the value furthest from the first group's, so that a log shows it.
    """
    groups = optimizer.param_groups
    lrs = [float(group["lr"]) for group in groups]
    momenta = [float(g["momentum"] if "momentum" in g else g["betas"][0]) for g in groups]
    return _odd_one(lrs), _odd_one(momenta)


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
