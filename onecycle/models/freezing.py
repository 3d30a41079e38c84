"""Frozen stages: parts of a network that are not trained.

Their parameters get no gradients, and they stay in eval mode while the rest is trained. So norms
keep their statistics and normalise by them, and nothing is dropped out.
"""

import difflib
from collections.abc import Sequence

from torch import nn

from onecycle.config.names import nearest_or_all
from onecycle.errors import InputError
from onecycle.models.heads import head_of
from onecycle.writing.names import printable

BODY = "body"
"""The name of everything but the head, unless a module is called so."""


def freeze(model: nn.Module, asked: str, classes: int) -> tuple[str, ...]:
    """Freeze stages of the network, and return the names of the modules that are frozen.

    Call `train` with them instead of `model.train()`.

    Args:
        model: its parameters in frozen modules get `requires_grad` False.
        asked: names of modules, separated by commas; `body`: everything but the head, except
            modules without parameters and statistics, such as a dropout before the head.
        classes: number of classes, by which the head is found.

    Raises:
        InputError: there is no such module, it has nothing to freeze, or nothing is left to train.
    """
    names = tuple(name.strip() for name in asked.split(",")) if asked.strip() else ()
    modules = dict(model.named_modules())
    frozen: list[str] = []
    for name in names:
        if name == BODY and BODY not in modules:
            frozen += _freeze_body(model, head_of(model, classes))
        else:
            _check(name, modules)
            modules[name].requires_grad_(False)
            frozen.append(name)
    if frozen and not any(parameter.requires_grad for parameter in model.parameters()):
        head = head_of(model, classes)
        raise InputError(f"freeze: nothing is left to train; leave out the head, '{head}'")
    return tuple(dict.fromkeys(frozen))


def train(model: nn.Module, frozen: Sequence[str]) -> None:
    """Put the network into training mode, but the frozen modules into eval mode."""
    model.train()
    for name in frozen:
        model.get_submodule(name).eval()


def asked_to_stay(model: nn.Module, asked: str, classes: int) -> list[str]:
    """The names of the parameters and buffers that freezing must leave as they are, in order.

    They follow from the names alone, not from what `freeze` did, so that this can be checked.
    """
    stages = [name.strip() for name in asked.split(",") if name.strip()]
    modules, head = dict(model.named_modules()), head_of(model, classes)
    whole_body = BODY in stages and BODY not in modules
    return [
        name
        for name in model.state_dict()
        if (whole_body and not name.startswith(f"{head}."))
        or any(name.startswith(f"{stage}.") for stage in stages)
    ]


def _freeze_body(model: nn.Module, head: str) -> list[str]:
    """Freeze all but the head. Returns the outermost modules that do not contain it."""
    kept = {id(parameter) for parameter in model.get_submodule(head).parameters()}
    for parameter in model.parameters():
        if id(parameter) not in kept:
            parameter.requires_grad_(False)
    return [
        name
        for name, module in model.named_modules()
        if name
        and not f"{head}.".startswith(f"{name}.")
        and f"{head}.".startswith(_parent(name))
        and _has_tensors(module)
    ]


def _parent(name: str) -> str:
    """The beginning of the names in the module that contains `name`: empty, or with a dot."""
    before, dot, _ = name.rpartition(".")
    return before + dot


def _check(name: str, modules: dict[str, nn.Module]) -> None:
    """Refuse a name that is no module's, or of a module that has nothing to freeze."""
    if not name or name not in modules:
        named = [each for each, module in modules.items() if each and _has_tensors(module)]
        nearest = difflib.get_close_matches(name, named, n=1)
        stages = [each for each in named if "." not in each]
        remedy = nearest_or_all(name, nearest or [BODY, *stages])
        raise InputError(f"freeze: the network has no module '{printable(name)}'; {remedy}")
    if not _has_tensors(modules[name]):
        raise InputError(
            f"freeze: '{name}' has no parameters and no statistics to freeze; leave it out"
        )


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())
