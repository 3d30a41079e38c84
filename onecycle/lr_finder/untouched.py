"""Leaving no trace: run what you like on a training, then have it back."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import Optimizer

from onecycle import runtime
from onecycle.lr_finder.snapshot import Depth, Snapshot

NOTHING: Mapping[str, Any] = {}


@contextmanager
def untouched(
    model: nn.Module, optimizer: Optimizer, *others: Any, seen_by: Mapping[str, Any] = NOTHING
) -> Iterator[None]:
    """Give back, also after an exception, everything that training steps change.

    Model, optimizer and `others` come back whole. Of a module: parameters, buffers (persistent or
    not, None, new, replaced or resized ones), gradients, `requires_grad`, submodules, hooks, modes,
    extra state, and attributes of its own such as counters; lazy layers are lazy again. Of an
    optimizer: groups, state and settings, and the parameters that it holds, whoever owns them. And
    every random number generator. Objects keep their identity, so a scheduler that holds the
    optimizer goes on as before, and a rate that is a tensor stays the same tensor.

    What can't be given back is named in one warning, after everything else has come back.

    Args:
        others: more that is given back whole: a loss with a state, a GradScaler, an EMA, any
            object, dict or list.
        seen_by: by name, what is searched for PyTorch's objects and generators: loaders (with
            sampler, data set and workers), functions, objects of your own. What is found comes
            back; your own variables, and what an iterator has handed out, don't.

    Costs one copy of everything that comes back, large tensors of data sets not being copied.
    """
    snapshot = Snapshot()
    with runtime.preserved_rng():
        snapshot.take("model", model, Depth.WHOLE)
        snapshot.take("optimizer", optimizer, Depth.WHOLE)
        for other in others:
            snapshot.take(_name(other), other, Depth.WHOLE)
        for name, thing in seen_by.items():
            snapshot.take(name, thing, Depth.SEARCH)
        try:
            snapshot.begin()
            yield
        finally:
            try:
                snapshot.restore()
            finally:
                _warn(snapshot.problems)


def _name(thing: Any) -> str:
    return type(thing).__name__


def _warn(problems: list[str]) -> None:
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        warnings.warn(
            f"range test: not given back as it was: {'; '.join(problems[:5])}{more}; "
            "load it again before you train",
            stacklevel=5,
        )
