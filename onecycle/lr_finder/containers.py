"""Restore containers and attributes: the same objects in the same places."""

import array
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

Undo = Callable[[], None]
CONTAINERS = (dict, list, tuple, set, frozenset, deque, bytearray, array.array)
_ABSENT = object()


def undo_of(container: Any) -> Undo | None:
    """A function that restores a mutable container's own entries; None for other objects.

    The entries themselves are not copied. Unchanged entries are not written to.
    """
    for kind, undo in _KINDS.items():
        if isinstance(container, kind):
            return undo(container)
    return None


def undo_attributes(holder: Any) -> Undo | None:
    """A function that restores an object's attributes and class; None if it has no attributes."""
    undo: list[Undo] = []
    if isinstance(getattr(holder, "__dict__", None), dict):
        undo.append(_of_dict(vars(holder)))
    undo += [_of_slot(slot, holder) for slot in slots_of(type(holder)).values()]
    kind = type(holder)

    def restore() -> None:
        if type(holder) is not kind:  # a lazy or parametrized module changes its class
            holder.__class__ = kind
        for each in undo:
            each()

    return restore if undo else None


@lru_cache(maxsize=1024)
def slots_of(kind: type) -> dict[str, Any]:
    """The descriptors of the attributes that a class keeps in `__slots__`, by name."""
    found = {}
    for base in kind.__mro__:
        names = vars(base).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if hasattr(vars(base).get(name), "__set__"):
                found.setdefault(name, vars(base)[name])
    return found


def _of_dict(mapping: dict[Any, Any]) -> Undo:
    base: Any = OrderedDict if isinstance(mapping, OrderedDict) else dict
    before = list(base.items(mapping))

    def restore() -> None:
        now = list(base.items(mapping))
        if _identical([key for key, _ in now], [key for key, _ in before]):
            changed = [b for (_, value), b in zip(now, before, strict=True) if value is not b[1]]
        else:
            base.clear(mapping)
            changed = before
        for key, value in changed:
            base.__setitem__(mapping, key, value)

    return restore


def _of_list(values: list[Any]) -> Undo:
    before = list(values)

    def restore() -> None:
        if not _identical(values, before):
            list.__setitem__(values, slice(None), before)

    return restore


def _of_set(values: set[Any]) -> Undo:
    before = set(values)

    def restore() -> None:
        if set(map(id, values)) != set(map(id, before)):
            set.clear(values)
            set.update(values, before)

    return restore


def _of_deque(values: deque[Any]) -> Undo:
    before = list(values)

    def restore() -> None:
        if not _identical(values, before):
            deque.clear(values)
            deque.extend(values, before)

    return restore


def _of_bytes(values: Any) -> Undo:
    before = values[:]

    def restore() -> None:
        if values != before:
            values[:] = before

    return restore


def _of_ndarray(values: np.ndarray) -> Undo:
    before = values.copy()

    def restore() -> None:
        if values.shape != before.shape:
            raise ValueError(f"its shape became {values.shape}")
        if values.flags.writeable:  # else it can't have changed
            values[...] = before

    return restore


def _of_slot(slot: Any, holder: Any) -> Undo:
    def now() -> Any:
        try:
            return slot.__get__(holder)
        except AttributeError:
            return _ABSENT

    before = now()

    def restore() -> None:
        if now() is before:
            return
        if before is _ABSENT:
            slot.__delete__(holder)
        else:
            slot.__set__(holder, before)

    return restore


def _identical(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


_KINDS: dict[Any, Callable[[Any], Undo]] = {
    dict: _of_dict,
    list: _of_list,
    set: _of_set,
    deque: _of_deque,
    (bytearray, array.array): _of_bytes,
    np.ndarray: _of_ndarray,
}
