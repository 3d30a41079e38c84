"""Networks by name. Each has its own arguments."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from onecycle import runtime
from onecycle.config import Recipe
from onecycle.config.declaring import deciding, settings
from onecycle.config.names import unknown_name
from onecycle.errors import InputError
from onecycle.models.resnet import CustomResNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {"custom-resnet": CustomResNet}
"""Every network, by its name in a recipe.

A network takes `classes` and `channels` by keyword, and its own arguments with their defaults. The
recipe sets the arguments in `SETTINGS`. `forward_features`, if there is one, gives the outputs of
the stages by name, in order. Otherwise each leaf module is a stage.
"""

SETTINGS = deciding(Recipe, "network")
"""Fields of a recipe that are arguments of networks."""


def build(
    name: str, /, *, classes: int, channels: int = 3, seed: int = 0, **arguments: Any
) -> nn.Module:
    """The network called `name`, with PyTorch's default initialization.

    The same seed gives the same weights. The global random state does not change.

    Args:
        name: a key of `NETWORKS`.
        classes: number of classes, at least 2.
        channels: channels of the images.
        seed: of the random stream `init`.
        arguments: the network's own; see its class.

    Raises:
        InputError: unknown name (with the nearest one).
    """
    check_name(name)
    with runtime.preserved_rng():
        torch.manual_seed(runtime.seed_of(seed, "init"))
        return NETWORKS[name](classes=classes, channels=channels, **arguments)


def takes(name: str) -> tuple[str, ...]:
    """The settings that the network called `name` has as arguments.

    Raises:
        InputError: unknown name (with the nearest one).
    """
    check_name(name)
    declared = inspect.signature(NETWORKS[name]).parameters
    return tuple(setting for setting in SETTINGS if setting in declared)


def arguments(recipe: Recipe) -> dict[str, Any]:
    """The arguments of the recipe's network, with the recipe's values.

    Raises:
        InputError: unknown name; or the recipe sets an argument that the network does not have.
    """
    taken = takes(recipe.model)
    for name in SETTINGS:
        value, default = getattr(recipe, name), settings(Recipe)[name].default
        if name not in taken and value != default:
            has = ", ".join(taken) or "none"
            raise InputError(
                f"{name}: {value} is given, but network '{recipe.model}' has no such argument "
                f"(it has: {has}); leave {name} at {default}"
            )
    return {name: getattr(recipe, name) for name in taken}


def check_name(name: str) -> None:
    """Check the name of a network before any longer work.

    Raises:
        InputError: there is no such network; the message has the nearest name.
    """
    if name not in NETWORKS:
        raise InputError(unknown_name("model", name, NETWORKS))
