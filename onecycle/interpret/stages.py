"""A network's output with that of one of its stages, without a change to the network.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from onecycle.config.names import nearest_or_all
from onecycle.errors import InputError


def with_stages(model: nn.Module, batch_BCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits B K and the stages' outputs that led to them, in one graph, in eval mode.

    A network that has `forward_features` names its stages itself and must call it in `forward`. Of
    any other one, the stages are its leaf modules by their dotted paths, each at its last call.

    Raises:
        InputError: the network's `forward` does not call its `forward_features`.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    with evaluating(model), torch.enable_grad():
        recorded = _recorded_features if hasattr(model, "forward_features") else _recorded_leaves
        with recorded(model) as stages:
            logits_BK = model.forward(batch_BCHW)
    if not stages:
        raise InputError(
            "model: its forward does not call forward_features; have it do so, or rename that"
        )
    return logits_BK.float(), stages


def chosen(stages: dict[str, Tensor], name: str) -> Tensor:
    """The stage's output B C H W.

    Raises:
        InputError: there is no such stage (with the nearest name), or its output is no map.
    """
    if name not in stages:
        raise InputError(f"stage: unknown '{name}'; {nearest_or_all(name, stages)}")
    if stages[name].ndim != 4:
        maps = [key for key, output in stages.items() if output.ndim == 4]
        raise InputError(f"stage: '{name}' has no height and width; {nearest_or_all('', maps)}")
    return stages[name]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, given back as it was for every module."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _recorded_features(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What `forward_features` returns, while it stands in for itself on this very network."""
    stages: dict[str, Tensor] = {}
    original: Any = model.forward_features

    def recorder(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        found = original(*args, **kwargs)
        stages.update(found)
        return found

    vars(model)["forward_features"] = recorder  # on this very network, for a moment
    try:
        yield stages
    finally:
        del model.forward_features


@contextmanager
def _recorded_leaves(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The leaf modules' outputs, copied, lest a layer that works in place changes them."""
    stages: dict[str, Tensor] = {}

    def recorder(name: str) -> Any:
        def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if not isinstance(output, Tensor):
                return None
            stages.pop(name, None)
            stages[name] = output.clone()
            return stages[name].view_as(output)

        return record

    hooks = [
        module.register_forward_hook(recorder(name))
        for name, module in model.named_modules()
        if name and not list(module.children())
    ]
    try:
        yield stages
    finally:
        for hook in hooks:
            hook.remove()
