"""The source of a network's code, as a hash, so that a change of it is noticed."""

import functools
import hashlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

import onecycle

_PACKAGES = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
_LEFT_OUT = [os.path.dirname(each.__file__ or "") for each in (torch, onecycle)]
_STANDARD = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]


def sha256(factory: Any, model: nn.Module) -> str:
    """SHA-256 in hex of the source that makes `model`; empty if some of it can't be found.

    It covers every file outside PyTorch, this package and the standard library that defines the
    factory or a class of one of the network's modules, and the files beside the factory's that
    these import. Where the files lie does not matter. Of a function in a notebook it covers the
    text of the function, and of the methods of the network's classes.

    Args:
        factory: the function or class that made it.
        model: the network.
    """
    plain, arguments = _unwrapped(factory)
    classes = sorted({type(each) for each in model.modules()}, key=lambda each: each.__qualname__)
    pieces: set[str] = set()
    folder = _folder_of(file_of(plain))
    waiting, seen = [plain, *classes], set()
    while waiting:
        each = waiting.pop()
        found = list(_definitions(each))
        if not found and not _is_left_out(_file_of_module(each)):
            return ""
        for path, names, text in found:
            if path in seen or _is_left_out(path):
                continue
            if not os.path.isfile(path):
                pieces.add(_digest(text))
                continue
            seen.add(path)
            pieces.add(_digest(Path(path).read_bytes()))
            if folder and path.startswith(folder):
                waiting += [value for value in names.values() if _is_beside(value, folder, names)]
    name = getattr(plain, "__qualname__", type(plain).__qualname__)
    return _digest("\n".join([name, *arguments, *sorted(pieces)]))


def file_of(factory: Any) -> str:
    """The path of the file that defines a function or a class; empty if there is none."""
    plain, _ = _unwrapped(factory)
    path = next((path for path, _, _ in _definitions(plain)), "")
    return path if os.path.isfile(path) else ""


def _unwrapped(factory: Any) -> tuple[Any, list[str]]:
    """The function under decorators and `functools.partial`, and the arguments bound by these."""
    arguments: list[str] = []
    while isinstance(factory, functools.partial):
        bound = [*factory.args, *sorted(factory.keywords.items())]
        arguments += [repr(each) for each in bound if not hasattr(each, "__dict__")]
        factory = factory.func
    plain = inspect.unwrap(factory)
    if not isinstance(plain, type) and not hasattr(plain, "__code__"):
        plain = getattr(plain, "__func__", type(plain))
    return plain, arguments


def _definitions(each: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The files that define a function, a class or a module: path, names there, text of the part.

    The text is needed where there is no file, as in a notebook.
    """
    if isinstance(each, ModuleType):
        yield os.path.abspath(each.__file__ or ""), vars(each), ""
        return
    functions = [each] if hasattr(each, "__code__") else list(_methods(each))
    for function in functions:
        path = function.__code__.co_filename
        try:
            text = "" if os.path.isfile(path) else inspect.getsource(function)
        except (OSError, TypeError):
            continue
        yield os.path.abspath(path), function.__globals__, text
    module = sys.modules.get(getattr(each, "__module__", ""))
    if not functions and module is not None and getattr(module, "__file__", None):
        yield os.path.abspath(module.__file__ or ""), vars(module), ""


def _methods(kind: Any) -> Iterator[FunctionType]:
    """The functions that a class defines; those that were made for it, as by dataclasses, aside."""
    for value in vars(kind).values() if isinstance(kind, type) else ():
        plain = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", None) or value))
        if isinstance(plain, FunctionType) and not plain.__code__.co_filename.startswith("<str"):
            yield plain


def _is_beside(value: Any, folder: str, names: dict[str, Any]) -> bool:
    """Whether a name of a module leads to another file below the folder.

    What a package's own `__init__` has as its submodules depends on what was imported before.
    """
    if isinstance(value, ModuleType):
        is_submodule = value.__name__.startswith(f"{names.get('__name__')}.")
        return not is_submodule and _file_of_module(value).startswith(folder)
    if isinstance(value, FunctionType):
        return value.__code__.co_filename.startswith(folder)
    return isinstance(value, type) and any(
        each.__code__.co_filename.startswith(folder) for each in _methods(value)
    )


def _folder_of(path: str) -> str:
    """The folder of a user's file, with a separator; empty for an installed package."""
    installed = any(path.startswith(each + os.sep) for each in _PACKAGES)
    return "" if installed or not path else os.path.dirname(path) + os.sep


def _file_of_module(each: Any) -> str:
    module = each if isinstance(each, ModuleType) else sys.modules.get(each.__module__)
    return os.path.abspath(getattr(module, "__file__", None) or "") if module else ""


def _is_left_out(path: str) -> bool:
    """Whether a file is PyTorch's, this package's or the standard library's."""
    if any(path.startswith(each + os.sep) for each in _LEFT_OUT):
        return True
    if any(path.startswith(each + os.sep) for each in _PACKAGES):
        return False
    return any(path.startswith(each + os.sep) for each in _STANDARD)


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
