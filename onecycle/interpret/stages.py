"""A network's logits and the outputs of its stages, without a change to the network.

Shapes: B batch, C channels, H height, W width, K classes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from onecycle import runtime
from onecycle.config.names import nearest_or_all
from onecycle.errors import InputError
from onecycle.evaluate import evaluating
from onecycle.models.leaves import leaves


def with_stages(model: nn.Module, batch_BCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits B K and the outputs of the stages, in one graph, in eval mode.

    A network whose `forward_features` gives its stages by name, and is called in `forward`, names
    its stages itself. The stages of any other network are its leaf modules by their dotted paths,
    each at its last call.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    order = torch.preserve_format
    if getattr(model, runtime.USUAL_ORDER, False):
        order = torch.contiguous_format
    with evaluating(model), torch.enable_grad():
        if hasattr(model, "forward_features"):
            with _recorded_features(model) as stages:
                logits_BK = model.forward(batch_BCHW.clone(memory_format=order))
            if stages:
                return logits_BK.float(), stages
        with _recorded_leaves(model, len(batch_BCHW)) as stages:
            logits_BK = model.forward(batch_BCHW.clone(memory_format=order))
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
    """The outputs of `forward_features`, if they have names, recorded by a wrapper."""
    stages: dict[str, Tensor] = {}
    original: Any = model.forward_features

    def recorder(*args: Any, **kwargs: Any) -> Any:
        outputs = original(*args, **kwargs)
        if isinstance(outputs, Mapping):  # timm's gives the last map alone
            tensors = {str(k): each for k, each in outputs.items() if isinstance(each, Tensor)}
            stages.update(tensors)
        return outputs

    vars(model)["forward_features"] = recorder  # on this network alone, until the block ends
    try:
        yield stages
    finally:
        del model.forward_features


@contextmanager
def _recorded_leaves(model: nn.Module, images: int) -> Iterator[dict[str, Tensor]]:
    """The leaf modules' outputs, copied so that a layer that works in place can't change them.

    What is not one for each of the images, such as a position embedding, is left out.
    """
    stages: dict[str, Tensor] = {}

    def recorder(name: str) -> Any:
        def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if not isinstance(output, Tensor) or not output.ndim or len(output) != images:
                return None
            stages.pop(name, None)
            stages[name] = output.clone()
            return stages[name].view_as(output)

        return record

    hooks = [module.register_forward_hook(recorder(name)) for name, module in leaves(model) if name]
    try:
        yield stages
    finally:
        for hook in hooks:
            hook.remove()
