"""The batches of a range test: started on demand, split into input and target, and counted."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from onecycle.errors import InputError
from onecycle.lr_finder.snapshot import stop_workers

Batch = tuple[Tensor, Tensor]


class Supply:
    """Cycles through the batches as (input, target); ends if an iterator can't be restarted.

    Attributes:
        largest: number of targets in the largest batch so far.

    Raises:
        InputError: while iterating: there is no batch, only one, or one that is not a pair.
    """

    def __init__(self, batches: Iterable[Batch] | None) -> None:
        self.batches = batches
        self.largest = 0
        self._running: Any = None

    def __iter__(self) -> Iterator[Batch]:
        starts = 0
        while True:
            self._running, count = _started(self.batches), 0
            for batch in self._running:
                count += 1
                pair = as_pair(batch)
                self.largest = max(self.largest, _size(pair[1]))
                yield pair
            if self._running is self.batches or (starts and not count):
                return
            starts += 1
            if count < 2:
                raise InputError(
                    f"batches: {'only one' if count else 'none'}; a range test needs at least 2 "
                    "different ones, so lower the batch size or give more data"
                )

    def close(self) -> None:
        """End the worker processes and generators that were started."""
        if self._running is self.batches:
            return  # the caller's iterator, which may be used further
        stop_workers(self._running)
        if hasattr(self._running, "close"):
            self._running.close()


def _started(batches: Any) -> Iterator[Any]:
    try:
        return iter(batches)
    except TypeError:
        call = "; call it" if callable(batches) else ""
        raise InputError(
            f"batches: a {type(batches).__name__} can't be iterated over{call}; give a list or a "
            "DataLoader of (input, target) pairs, or pass step= with your own training step"
        ) from None


def as_pair(batch: Any) -> Batch:
    """Input and target of a batch.

    Raises:
        InputError: it is not a tuple or list of two; the message proposes a suitable step.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    what, taken, loss = _form(batch)
    raise InputError(
        f"batches: a batch is {what}, not an (input, target) pair; pass step= instead, e.g. "
        f"{own_step(taken, loss)}"
    )


def own_step(taken: str, loss: str) -> str:
    """A training step in one line, for messages; `it` is an iterator over the batches."""
    return (
        f"def step(i): {taken} = next(it); optimizer.zero_grad(); loss = {loss}; "
        "loss.backward(); optimizer.step(); return loss"
    )


def _form(batch: Any) -> tuple[str, str, str]:
    """What a batch is, how to take it from an iterator, and its loss."""
    if isinstance(batch, Mapping):
        return _form_of_mapping(batch)
    if isinstance(batch, tuple | list):
        names = ["x", "y", "z", "z2", "z3"][: len(batch)]
        what = f"a {type(batch).__name__} of {len(batch)}"
        if len(batch) == 1:
            return what, "(x,)", "loss_fn(model(x), x)"
        taken = ", ".join(names) if 0 < len(batch) < 6 else "x, y, *rest"
        return what, taken, "loss_fn(model(x), y)"
    if isinstance(batch, Tensor):
        shape = tuple(batch.shape)
        return f"one tensor of shape {shape}", "x", "loss_fn(model(x), x)"
    if isinstance(batch, str | bytes):
        return f"text ({batch[:20]!r})", "x, y", "loss_fn(model(x), y)"
    return f"a {type(batch).__name__}", "b", "loss_fn(model(b), b)"


def _form_of_mapping(batch: Mapping[Any, Any]) -> tuple[str, str, str]:
    keys = list(batch)
    shown = ", ".join(map(repr, keys[:4])) + (", …" if len(keys) > 4 else "")
    what = f"a {type(batch).__name__} with {shown}" if keys else f"an empty {type(batch).__name__}"
    if "labels" in keys:  # as for networks of the transformers library
        return what, "b", "model(**b).loss"
    if not keys:
        return what, "b", "loss_fn(model(b), b)"
    return what, "b", f"loss_fn(model(b[{keys[0]!r}]), b[{keys[:2][-1]!r}])"


def _size(targets: Any) -> int:
    """Number of targets in a batch; 0 if they can't be counted."""
    return len(targets) if isinstance(targets, Tensor) and targets.ndim else 0
