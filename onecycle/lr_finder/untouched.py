"""Leaving no trace: run what you like on a model and its optimizer, then have them back."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from onecycle import runtime


@contextmanager
def untouched(model: nn.Module, optimizer: Optimizer, *others: Any) -> Iterator[None]:
    """Give back, also after an exception, everything that training steps change.

    Covered: parameters, buffers (persistent or not), gradients, train/eval mode of each module,
    the optimizer's groups and state, the state of `others` (anything with `state_dict`, such as
    a GradScaler), and every random number generator. Objects keep their identity, so a
    scheduler that holds the optimizer goes on as before.

    Costs one copy of the model and of the optimizer's state in memory.
    """
    tensors = _tensors(model)
    gradients = [(p, p.grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    groups = [dict(group) for group in optimizer.param_groups]
    group_values = [_copied({k: v for k, v in g.items() if k != "params"}) for g in groups]
    state = {p: _copied(dict(values)) for p, values in optimizer.state.items()}
    other_states = [deepcopy(other.state_dict()) for other in others]
    was_called = getattr(optimizer, "_opt_called", None)  # a scheduler's order check reads it
    try:
        with runtime.preserved_rng():
            for parameter, _ in gradients:
                parameter.grad = None
            yield
    finally:
        _restore(tensors)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, mode in modes:
            module.training = mode
        for group, original, values in zip(
            optimizer.param_groups, groups, group_values, strict=True
        ):
            group.clear()
            group.update({"params": original["params"], **values})
        optimizer.state.clear()
        optimizer.state.update(state)
        for other, saved in zip(others, other_states, strict=True):
            other.load_state_dict(saved)
        if was_called is not None:
            optimizer._opt_called = was_called  # type: ignore[attr-defined]


def _tensors(model: nn.Module) -> list[tuple[dict[str, Any], str, Tensor, Tensor]]:
    """Every parameter and buffer: where it hangs, the tensor itself, and a copy of its values."""
    return [
        (table, name, tensor, tensor.detach().clone())
        for module in model.modules()
        for table in (module._parameters, module._buffers)
        for name, tensor in table.items()
        if tensor is not None
    ]


@torch.no_grad()
def _restore(tensors: list[tuple[dict[str, Any], str, Tensor, Tensor]]) -> None:
    for table, name, tensor, values in tensors:
        tensor.copy_(values)
        table[name] = tensor


def _copied(values: dict[str, Any]) -> dict[str, Any]:
    """A copy in which tensors have memory of their own."""
    return {
        key: value.detach().clone() if isinstance(value, Tensor) else deepcopy(value)
        for key, value in values.items()
    }
