"""Networks by name. Each has its own arguments."""

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from onecycle import runtime
from onecycle.config import Recipe, override
from onecycle.config.declaring import deciding, settings, spelled
from onecycle.config.model_args import Argument, parsed, written
from onecycle.config.names import nearest_or_all, unknown_name
from onecycle.errors import InputError
from onecycle.models import memory_order, own, source
from onecycle.models.architecture import Architecture, Network
from onecycle.models.arguments import stem_for
from onecycle.models.convnext import SmallConvNeXt
from onecycle.models.residual import ResNet18, ResNet34
from onecycle.models.resnet import CustomResNet
from onecycle.models.room import check_room
from onecycle.models.vit import SmallViT
from onecycle.models.wide_resnet import WideResNet16x4
from onecycle.writing.names import printable

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "custom-resnet": CustomResNet,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
    "wide-resnet-16-4": WideResNet16x4,
    "small-convnext": SmallConvNeXt,
    "small-vit": SmallViT,
}
"""Every network, by its name in a recipe.

A network takes `classes` and `channels` by keyword, and its own arguments with their defaults. The
recipe sets the arguments in `SETTINGS`. `forward_features`, if there is one, gives the outputs of
the stages by name, in order. Otherwise each leaf module is a stage.
"""

DESCRIPTIONS = {
    "custom-resnet": "the brief's nine layers",
    "resnet18": "ResNet-18, named as torchvision's",
    "resnet34": "ResNet-34, named as torchvision's",
    "wide-resnet-16-4": "16 layers, four times as wide",
    "small-convnext": "a small ConvNeXt, for AdamW",
    "small-vit": "a small vision transformer, for AdamW",
}
"""What each network is, in one line."""

SETTINGS = deciding(Recipe, "network")
"""Fields of a recipe that are arguments of networks."""


def architecture(name: str, network: Network | None = None) -> Architecture:
    """The network called `name` in a recipe or a run.

    Code that is not the package's own is imported only if `network` says so, because the name may
    come from a file of someone else.

    Args:
        name: a key of `NETWORKS`, or of code: `FILE.py:FUNCTION` or `MODULE:FUNCTION`.
        network: what the user has given for it: a function or a class, or the name of the code.

    Raises:
        InputError: there is no such network (with the nearest name), it is code and no `network` is
            given, or the code can't be used.
    """
    if name in NETWORKS:
        if network is not None:
            raise InputError(f"model: the network '{name}' is built in; leave out --model")
        return Architecture(name, NETWORKS[name], built_in=True)
    if not own.is_own(name):
        if name.endswith(".py"):
            told = printable(name)
            raise InputError(f"model: '{told}' names no function in it; give {told}:FUNCTION")
        raise InputError(unknown_name("model", name, NETWORKS))
    if network is None:
        raise InputError(
            f"model: '{printable(name)}' is code, which runs only when asked for; if you trust it, "
            f"give --model {shlex.quote(printable(name))} (in Python: network=)"
        )
    if not isinstance(network, str):
        return own.given(name, network)
    if not own.is_own(network):
        raise InputError(f"model: '{printable(name)}' is code; name it, not '{printable(network)}'")
    return own.imported(name, network)


def asked(recipe: Recipe, network: Network | None) -> tuple[Recipe, Architecture]:
    """The recipe with the name of the network that is given for it, and its architecture.

    Raises:
        InputError: as `architecture`.
    """
    if isinstance(network, str) and not own.is_own(network):
        recipe, network = override(recipe, model=network), None
    elif network is not None:
        name = network if isinstance(network, str) else own.name_of(network)
        recipe = override(recipe, model=name)
    return recipe, architecture(recipe.model, network)


def build(
    network: str | Architecture, /, *, classes: int, channels: int = 3, seed: int = 0,
    **arguments: Any,
) -> nn.Module:  # fmt: skip
    """A network, with PyTorch's default initialization.

    The same seed gives the same weights. The global random state does not change.

    Args:
        network: a key of `NETWORKS`, or an architecture.
        classes: number of classes, at least 2.
        channels: channels of the images.
        seed: of the random stream `init`.
        arguments: the network's own; see its class.

    Raises:
        InputError: unknown name (with the nearest one); the weights need more than all memory; or
            the user's code fails, or makes no network.
    """
    if isinstance(network, str):
        network = architecture(network)
    make = partial(network.factory, classes=classes, channels=channels, **arguments)
    with runtime.preserved_rng():
        if network.built_in:
            check_room(make, network.name)
        torch.manual_seed(runtime.seed_of(seed, "init"))
        with network.running():
            model = make()
    if inspect.iscoroutine(model):
        model.close()  # Python warns of those that nobody waited for
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model: '{network.name}' returns {type(model).__name__}; return an nn.Module"
        )
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InputError(
                f"model: the network has lazy parameters ('{name}'); give its layers their sizes, "
                "or call it on a batch of zeros where it is made"
            )
    if network.usual_order:
        memory_order.keep_usual(model)
    return model


def understood(
    network: Architecture, shape: tuple[int, int, int], classes: int, arguments: Mapping[str, Any]
) -> Architecture:
    """The architecture with what is known of its code once images are: the order that it takes.

    Args:
        network: of the user's own; one that is built in is returned as it is.
        shape: height, width and channels of the images.
        classes: number of classes.
        arguments: the network's own.
    """
    if network.built_in:
        return network

    def make() -> nn.Module:
        return build(network, classes=classes, channels=shape[2], **arguments)

    with network.running():
        return replace(network, usual_order=memory_order.needs_usual(make, shape))


def with_source(network: Architecture, model: nn.Module) -> Architecture:
    """The architecture with the hash of the source of `model`, unless it is built in."""
    if network.built_in:
        return network
    return replace(network, source_sha256=source.sha256(network.factory, model))


def takes(network: str | Architecture) -> tuple[str, ...]:
    """The settings that a network has as arguments: one that is built in, or an architecture.

    Raises:
        InputError: unknown name (with the nearest one).
    """
    if isinstance(network, str):
        network = architecture(network)
    return tuple(setting for setting in SETTINGS if setting in network.names)


def arguments(recipe: Recipe, network: Architecture | None = None) -> dict[str, Any]:
    """The arguments of the recipe's network, with the recipe's values.

    Args:
        recipe: has the values.
        network: the recipe's network; None: it is built in.

    Raises:
        InputError: unknown name; or the recipe sets an argument that the network does not have, or
            leaves out one that it needs.
    """
    network = network or architecture(recipe.model)
    taken = takes(network)
    for name in SETTINGS:
        value, default = getattr(recipe, name), settings(Recipe)[name].default
        if name not in taken and value != default:
            has = ", ".join(taken) or "none"
            raise InputError(
                f"{name}: {value} is given, but network '{recipe.model}' has no such argument "
                f"(it has: {has}); leave {name} at {default}"
            )
    return {name: getattr(recipe, name) for name in taken} | _further(recipe, network)


def for_size(recipe: Recipe, network: Architecture, height: int, width: int) -> Recipe:
    """The recipe with what is `auto` of its network resolved for images of this size in pixels."""
    if recipe.stem != "auto" or "stem" not in takes(network):
        return recipe
    return override(recipe, stem=stem_for(height, width))


def _further(recipe: Recipe, network: Architecture) -> dict[str, Argument]:
    """The arguments in `model_args`.

    Raises:
        InputError: one is a setting of its own or unknown, or one that is needed is missing; or the
            network can't be called with `classes` and `channels`.
    """
    found = parsed(recipe.model_args)
    reserved = ("classes", "channels")
    for name in reserved:
        if name not in network.names and not network.takes_any:
            raise InputError(
                f"model: '{network.name}' takes no argument '{name}'; declare it as a function of "
                "classes, channels and its further arguments"
            )
    own_names = [each for each in network.names if each not in (*reserved, *SETTINGS)]
    for name in found:
        if name in SETTINGS:
            raise InputError(f"model_args: '{name}' is a setting of its own; give {spelled(name)}")
        if name in reserved:
            raise InputError(f"model_args: '{name}' follows from the images; leave it out")
        if name not in own_names and not network.takes_any:
            remedy = nearest_or_all(name, own_names) if own_names else "it has none; leave it out"
            raise InputError(f"model_args: '{network.name}' has no argument '{name}'; {remedy}")
        if network.built_in:
            _refuse_type(name, found[name], network.declared[name].default)
    for name in network.required:
        if name not in (*reserved, *SETTINGS, *found):
            raise InputError(
                f"model_args: '{network.name}' needs the argument '{name}'; give {name}=VALUE"
            )
    return found


def _refuse_type(name: str, value: Argument, default: Argument) -> None:
    """Refuse a value of a built-in network's argument that is not of its default's type.

    Raises:
        InputError: it is of another type. A whole number stands for a number, too.
    """
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    kind = type(default)
    if type(value) is not kind and (kind, type(value)) != (float, int):
        told = written({name: value})
        raise InputError(f"model_args: {told} is not {kinds[kind]}; give {kinds[kind]}")
