"""Run any code on a training, then restore the training."""

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
    """Restore everything that training steps change, also after an exception.

    Model, optimizer and `others` are restored completely. For a module, these are parameters,
    buffers (persistent or not, None, new, replaced or resized), gradients, `requires_grad`,
    submodules, hooks, modes, extra state, and its own attributes such as counters; lazy layers
    become lazy again. For an optimizer, these are groups, state, settings, and all its parameters,
    in whatever module they are. Every random number generator is restored, too. Objects keep their
    identity, so a scheduler with the optimizer goes on as before, and a tensor rate stays the same
    tensor.

    If something can't be restored, one warning names it after everything else is restored.

    Args:
        others: further objects to restore completely: a loss with a state, a GradScaler, an EMA,
            any object, dict or list.
        seen_by: by name, objects to search for PyTorch's objects and generators: loaders (with
            sampler, data set and workers), functions, your own objects. What is found is restored;
            your own variables, and batches taken from an iterator, are not.

    The cost is one copy of everything restored; large tensors of data sets are not copied.
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
            f"range test: could not restore {'; '.join(problems[:5])}{more}; "
            "load it again before you train",
            stacklevel=5,
        )
