"""The objects that an object, a function or a class refers to, and which classes to search."""

import sys
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

from onecycle.lr_finder.containers import slots_of

_LOOKED_INTO = (
    "torch.nn.",
    "torch.optim.",
    "torch.utils.data.",
    "torch.amp.",
    "torch.cuda.amp.",
    "torch.ao.",
    "torch.quasirandom",
)
_CLOSED = (sys.stdlib_module_names - {"collections", "types"}) | {"torch", "numpy"}


def is_closed(kind: type) -> bool:
    """Whether to skip objects of this class: those of Python itself, and PyTorch's internal ones.

    Locks, threads, files, streams and compiler caches contain nothing that a training changes.
    """
    module = str(kind.__module__)
    if f"{module}.".startswith(_LOOKED_INTO):
        return False
    return module.partition(".")[0] in _CLOSED


def attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of every attribute of the object itself."""
    if isinstance(getattr(holder, "__dict__", None), dict):
        yield from list(vars(holder).items())
    for name, slot in slots_of(type(holder)).items():
        try:
            yield name, slot.__get__(holder)
        except AttributeError:
            continue


def class_members(kind: type) -> Iterator[tuple[str, Any]]:
    """Attributes of an object's classes, and what these refer to; the user's own classes only."""
    for base in kind.__mro__:
        if not is_closed(base) and not str(base.__module__).startswith("torch."):
            yield from vars(base).items()


def references(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Global variables, closure and defaults of a function, if its code uses their names."""
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    for name, cell in cells:
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield "default", value


def _names(code: CodeType) -> set[str]:
    """Names in a function's code and in that of the functions inside it."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*map(_names, inner))
