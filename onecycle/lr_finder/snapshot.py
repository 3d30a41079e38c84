"""A snapshot of everything that a training step can change, made by following attributes.

PyTorch's own objects keep their state in plain attributes: a module its parameters, buffers,
submodules, hooks and counters; an optimizer its groups, state and defaults; a loader its sampler,
generator and workers. So the attributes are followed, and all objects reached are restored in
place: the same objects, with the same values.
"""

import re
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from enum import Enum
from functools import lru_cache, partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

from onecycle.lr_finder.containers import CONTAINERS, undo_attributes, undo_of
from onecycle.lr_finder.generators import GENERATORS, undo_draws
from onecycle.lr_finder.references import attributes, class_members, is_closed, references
from onecycle.lr_finder.tensors import TensorState

LARGEST_DATA = 1 << 20
"""Largest tensor or array of a data set to copy, in bytes: counters and weights are small."""

MOST_ENTRIES = 10_000
"""Largest list, dict or set of a data set to copy and follow, in entries."""

DEEPEST_SEARCH = 6
"""How many references to follow from a function in search of PyTorch's objects."""


class Depth(Enum):
    """How much of an object is restored."""

    WHOLE = 2
    """All of it, including tensors of any size: a model, an optimizer, a loss."""

    DATA = 1
    """Generators, counters and settings, but no large tensors: a loader and its data set."""

    SEARCH = 0
    """Not the object itself, but PyTorch's objects and generators in it: the user's own objects."""


_ATOMS = (bool, int, float, complex, str, bytes, type(None), type, ModuleType, Enum, range, slice)
_WHOLE = (nn.Module, Optimizer, LRScheduler, torch.amp.GradScaler)
_DATA = (DataLoader, Dataset, Sampler)


class Snapshot:
    """The objects recorded, and how to restore them.

    Attributes:
        undo: restoring functions by name, in calling order.
        problems: names of objects that can't be restored, with the reason.
    """

    def __init__(self) -> None:
        self.undo: list[tuple[str, Callable[[], None]]] = []
        self.problems: list[str] = []
        self._later: list[tuple[str, Callable[[], None]]] = []
        self._begin: list[Callable[[], None]] = []
        self._seen: dict[int, tuple[Depth, Any]] = {}

    def take(self, name: str, thing: Any, depth: Depth) -> None:
        """Add an object, and everything that can be reached from it."""
        waiting = deque([(name, thing, depth, 0)])
        while waiting:
            name, thing, depth, far = waiting.popleft()
            if isinstance(thing, _ATOMS) or far > DEEPEST_SEARCH:
                continue
            depth = _depth_of(thing, depth)
            known = self._seen.get(id(thing))
            if known and known[0].value >= depth.value:
                continue
            self._seen[id(thing)] = depth, thing  # kept alive, so that its id stays its own
            far = far + 1 if depth is Depth.SEARCH else 0
            waiting.extend((n, t, d, far) for n, t, d in self._one(name, thing, depth))

    def begin(self) -> None:
        """Set gradients and running workers aside, so that steps start without them."""
        for act in self._begin:
            act()

    def restore(self) -> None:
        """Restore everything; a failure is added to `problems` and does not stop the rest.

        Ctrl-C during this is raised at the end, and the interrupted object is restored once more.
        """
        stopped: BaseException | None = None
        for name, undo in (*self.undo, *self._later):
            for _ in range(2):
                try:
                    undo()
                except KeyboardInterrupt as interrupt:
                    stopped = interrupt
                    continue
                except Exception as error:  # whatever it is, the rest must be restored
                    self.problems.append(f"{readable(name)} ({_first_line(error)})")
                break
        if stopped is not None:
            raise stopped

    def _one(self, name: str, thing: Any, depth: Depth) -> Iterable[tuple[str, Any, Depth]]:
        """Record one object, and return the objects it refers to."""
        if isinstance(thing, Tensor):
            return self._tensor(name, thing, depth)
        if isinstance(thing, GENERATORS):
            return self._add(name, undo_draws(thing))
        if isinstance(thing, FunctionType):
            return [(f"{name}: {n}", t, Depth.SEARCH) for n, t in references(thing)]
        if isinstance(thing, MethodType):
            return [(name, thing.__self__, depth), (name, thing.__func__, Depth.SEARCH)]
        if isinstance(thing, partial):
            return [(name, part, depth) for part in (thing.func, thing.args, thing.keywords)]
        if isinstance(thing, np.ndarray):
            if depth is Depth.WHOLE or (depth is Depth.DATA and thing.nbytes <= LARGEST_DATA):
                self._add(name, undo_of(thing))
            return ()
        return self._holder(name, thing, depth)

    def _holder(self, name: str, thing: Any, depth: Depth) -> Iterator[tuple[str, Any, Depth]]:
        """A container, or an object with attributes."""
        if isinstance(thing, CONTAINERS):
            if depth is not Depth.WHOLE and len(thing) > MOST_ENTRIES:
                return
            if depth is not Depth.SEARCH:
                self._add(name, undo_of(thing))
            yield from ((n, t, depth) for n, t in _entries(name, thing))
            if type(thing).__module__ in ("builtins", "collections"):
                return  # an OrderedDict can have attributes, but has none
        if is_closed(type(thing)) and not isinstance(thing, _WHOLE + _DATA):
            return
        if isinstance(thing, DataLoader):
            self._workers(name, thing)
        if depth is not Depth.SEARCH:
            self._add(name, undo_attributes(thing))
        if isinstance(thing, nn.Module):
            self._module(name, thing)
            yield from ((f"{name}.{n}", t, depth) for n, t in _tensors_of_script(thing))
        yield from ((f"{name}.{n}", t, depth) for n, t in attributes(thing))
        for n, member in _members(type(thing)):
            yield f"{name}.{n}", member, Depth.SEARCH

    def _tensor(self, name: str, tensor: Tensor, depth: Depth) -> Iterable[tuple[str, Any, Depth]]:
        if depth is Depth.SEARCH:
            return ()
        if depth is Depth.DATA and tensor.nbytes > LARGEST_DATA:
            version = None if tensor.is_inference() else tensor._version
            return self._add(name, partial(_check_unchanged, tensor, version))
        state = TensorState(tensor)
        self._begin.append(state.without_gradient)
        self._add(name, state.restore)
        self._add(name, undo_of(vars(tensor)))
        return [(f"{name}.{n}", t, depth) for n, t in vars(tensor).items()]

    def _module(self, name: str, module: nn.Module) -> None:
        """The state that a module exports itself; it may be all there is outside Python."""
        if isinstance(module, torch.jit.ScriptModule):
            self._add(name, partial(setattr, module, "training", module.training))
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            try:
                state = deepcopy(module.get_extra_state())
            except Exception as error:  # the module's own code; it may still be trained
                self.problems.append(f"{readable(name)}'s extra state ({_first_line(error)})")
            else:
                self._later.append((name, partial(_restore_extra_state, module, state)))

    def _workers(self, name: str, loader: DataLoader[Any]) -> None:
        """Persistent workers keep their own state, so other workers are used meanwhile."""
        before = vars(loader).get("_iterator")
        self._begin.append(lambda: vars(loader).update(_iterator=None))
        self._add(name, lambda: stop_workers(vars(loader).get("_iterator"), unless=before))

    def _add(self, name: str, undo: Callable[[], None] | None) -> tuple[()]:
        if undo is not None:
            self.undo.append((name, undo))
        return ()


def readable(name: str) -> str:
    """`model.0.weight` for `model._modules['0']._parameters['weight']`."""
    return re.sub(r"\._(?:modules|parameters|buffers)\['([^']*)'\]", r".\1", name)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def stop_workers(iterator: Any, unless: Any = None) -> None:
    """End the worker processes of a DataLoader's iterator, if there are any."""
    stop = getattr(iterator, "_shutdown_workers", None)
    if stop is not None and iterator is not unless:
        stop()


def _depth_of(thing: Any, depth: Depth) -> Depth:
    """The depth for an object: PyTorch's are always restored, data sets never as a whole."""
    if isinstance(thing, _DATA):
        return Depth.DATA
    if isinstance(thing, _WHOLE):
        return Depth.WHOLE
    keeps_state = depth is Depth.SEARCH and all(
        callable(getattr(type(thing), name, None)) for name in ("state_dict", "load_state_dict")
    )
    return Depth.WHOLE if keeps_state else depth


def _entries(name: str, container: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(container, dict):
        for key, value in container.items():
            if isinstance(key, Tensor):  # an optimizer's state is indexed by parameter
                yield name, key
            yield f"{name}[{key!r}]" if isinstance(key, str | int) else name, value
    elif not isinstance(container, bytearray | array):
        for index, value in enumerate(container):
            yield f"{name}[{index}]", value


def _tensors_of_script(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A TorchScript module's tensors, which are not in Python attributes."""
    if isinstance(module, torch.jit.ScriptModule):
        yield from module.named_parameters()
        yield from module.named_buffers()


@lru_cache(maxsize=1024)
def _members(kind: type) -> list[tuple[str, Any]]:
    """Functions and generators of an object's own classes."""
    members = [(n, getattr(m, "__func__", m)) for n, m in class_members(kind)]
    return [(n, m) for n, m in members if isinstance(m, (FunctionType, *GENERATORS))]


def _check_unchanged(tensor: Tensor, version: int | None) -> None:
    if version is not None and tensor._version != version:
        raise ValueError(f"changed, but too large to copy ({tensor.nbytes:,} bytes)")


def _restore_extra_state(module: nn.Module, state: Any) -> None:
    """Restore the extra state, unless restoring the module's attributes has done so."""
    if not _same(module.get_extra_state(), state):
        module.set_extra_state(state)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    try:
        return bool(one == other)
    except Exception:  # can't be compared: treat it as changed
        return False
