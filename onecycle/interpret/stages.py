"""A network's logits and the outputs of its stages, without a change to the network.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from onecycle.config.names import nearest_or_all
from onecycle.errors import InputError
from onecycle.evaluate import evaluating


def with_stages(model: nn.Module, batch_BCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits B K and the outputs of the stages, in one graph, in eval mode.

    A network with `forward_features` names its stages itself, and must call that in `forward`. The
    stages of any other network are its leaf modules by their dotted paths, each at its last call.

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
            "model: forward does not call forward_features; call it there, or rename it"
        )
    return logits_BK.float(), stages


def chosen(stages: dict[str, Tensor], name: str) -> Tensor:
    """The stage's output B C H W.

    Raises:
        InputError: the stage does not exist (names the nearest one), or its output is not a map.
    """
    if name not in stages:
        raise InputError(f"stage: unknown '{name}'; {nearest_or_all(name, stages)}")
    if stages[name].ndim != 4:
        maps = [key for key, output in stages.items() if output.ndim == 4]
        raise InputError(f"stage: '{name}' has no height and width; {nearest_or_all('', maps)}")
    return stages[name]


@contextmanager
def _recorded_features(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The outputs of `forward_features`, recorded by a wrapper on this network alone."""
    stages: dict[str, Tensor] = {}
    original: Any = model.forward_features

    def recorder(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        outputs = original(*args, **kwargs)
        stages.update(outputs)
        return outputs

    vars(model)["forward_features"] = recorder  # on this network alone, until the block ends
    try:
        yield stages
    finally:
        del model.forward_features


@contextmanager
def _recorded_leaves(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The leaf modules' outputs, copied so that a layer that works in place can't change them."""
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
