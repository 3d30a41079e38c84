"""Code of the user's own that makes a network: found by its name, imported, and called.

Nothing here is called with a name that was read from a file. Only what the user has typed, or
given in Python, is imported.
"""

import functools
import importlib
import importlib.util
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from torch import nn

from onecycle.config.names import nearest_or_all
from onecycle.errors import InputError, Interrupted
from onecycle.models import source
from onecycle.models.architecture import Architecture
from onecycle.writing.names import printable

_COUNT = itertools.count(1)

_BROUGHT: set[str] = set()
"""Names of the modules that files of the user's own have brought into `sys.modules`."""


class _Fresh(SourceFileLoader):
    """Compiles the file as it is now; a compiled copy beside it is neither read nor written."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def is_own(name: str) -> bool:
    """Whether a network's name is that of code: `FILE.py:FUNCTION` or `MODULE:FUNCTION`."""
    return ":" in name


def name_of(network: Callable[..., nn.Module]) -> str:
    """The name under which a function or class is recorded: `MODULE:QUALNAME`."""
    plain = unwrapped(network)
    module = getattr(plain, "__module__", None) or type(plain).__module__
    qualname = getattr(plain, "__qualname__", None) or type(plain).__qualname__
    return f"{module}:{qualname}"


def unwrapped(network: Any) -> Any:
    """The function under any number of `functools.partial`."""
    while isinstance(network, functools.partial):
        network = network.func
    return network


def given(name: str, network: Any) -> Architecture:
    """The architecture of a function or class that was given in Python.

    Raises:
        InputError: it is a network, or nothing that can be called.
    """
    if isinstance(network, nn.Module):
        raise InputError("network: is a network; give the function or the class that makes it")
    if not callable(network):
        raise InputError(f"network: '{network}' can't be called; give a function or a class")
    folder = os.path.dirname(source.file_of(network))
    return Architecture(name, network, built_in=False, running=_running(name, folder))


def imported(called: str, network: str) -> Architecture:
    """The architecture of code that is named `FILE.py:FUNCTION` or `MODULE:FUNCTION`.

    Args:
        called: the name under which it is recorded.
        network: the name of the code, which is imported.

    Raises:
        InputError: there is no such file or function, or importing it fails.
    """
    source, _, attribute = network.rpartition(":")
    if not source or not attribute:
        raise InputError(
            f"model: '{printable(network)}' is not FILE.py:FUNCTION or MODULE:FUNCTION; name both"
        )
    is_file = source.endswith(".py") or os.sep in source
    folder = os.path.dirname(os.path.abspath(source)) if is_file else os.getcwd()
    running = _running(network, folder)
    with running():
        module = _file(source) if is_file else _module(source)
        factory = _attribute(module, attribute, source)
    if not callable(factory) or isinstance(factory, nn.Module):
        raise InputError(
            f"model: '{printable(network)}' is of type {type(factory).__name__}; name a function "
            "or a class that makes the network"
        )
    return Architecture(called, factory, built_in=False, running=running)


def _attribute(module: ModuleType, path: str, source: str) -> Any:
    """What is called `path` in a module; a class's own after a dot.

    Raises:
        InputError: there is no such name; the message has the nearest function or class.
    """
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            defined = [key for key, each in vars(module).items() if _defined_in(each, module)]
            near = nearest_or_all(name, defined) if defined else "it defines no function"
            raise InputError(f"model: '{printable(source)}' has no '{printable(name)}'; {near}")
        found = getattr(found, name)
    return found


def _defined_in(each: Any, module: ModuleType) -> bool:
    return callable(each) and getattr(each, "__module__", None) == module.__name__


def _file(source: str) -> ModuleType:
    """The module of a file, run anew under a name of its own."""
    path = os.path.abspath(source)
    if not os.path.isfile(path):
        raise InputError(f"model: there is no file '{printable(source)}'; check the path")
    _forget_brought()
    name = f"{Path(path).stem}_own_{next(_COUNT)}"
    spec = importlib.util.spec_from_loader(name, _Fresh(name, path))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module  # dataclasses and pickle look for it there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        new = set(sys.modules) - before - {name}
        folder = os.path.dirname(path) + os.sep
        _BROUGHT.update(each for each in new if _file_of(each).startswith(folder))
    return module


def _forget_brought() -> None:
    """Let modules beside a file be imported anew: those of another folder may have their names."""
    for name in _BROUGHT:
        sys.modules.pop(name, None)
    _BROUGHT.clear()


def _file_of(module: str) -> str:
    return getattr(sys.modules.get(module), "__file__", None) or ""


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(
                f"model: there is no module '{printable(name)}' in this folder or among the "
                "installed packages; check the name, or give the path of a file"
            ) from None
        raise
    except (ValueError, TypeError):  # a relative or an empty name
        raise InputError(f"model: '{printable(name)}' can't be the name of a module") from None


def _running(name: str, folder: str) -> Callable[[], Any]:
    @contextmanager
    def running() -> Iterator[None]:
        """Run the user's code: modules in its folder can be imported, and it prints on stderr.

        Raises:
            InputError: in place of any error of that code.
        """
        writes, before = sys.dont_write_bytecode, list(sys.path)
        sys.dont_write_bytecode = True
        if folder:
            sys.path.insert(0, folder)
        try:
            with redirect_stdout(sys.stderr):
                yield
        except (InputError, Interrupted, KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:
            raise failure(error, name, folder) from None
        finally:
            sys.dont_write_bytecode = writes
            if folder in sys.path and folder not in before:
                sys.path.remove(folder)

    return running


def failure(error: BaseException, name: str, folder: str) -> InputError:
    """The line for an error of the user's code: where it is, what it says, and its notes."""
    told = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, SystemExit):
        told = f"calls sys.exit({told}); leave that out"
    else:
        told = f"{type(error).__name__}: {told}" if told else type(error).__name__
    told = " ".join([told, *getattr(error, "__notes__", ())])
    return InputError(f"model: {printable(_place(error, name, folder))}: {printable(told)}")


def _place(error: BaseException, name: str, folder: str) -> str:
    """`net.py, line 3`: the innermost line of the user's code; else the name of the code."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{_shown(error.filename)}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if folder and each.filename.startswith(folder)]
    if not own:
        return f"'{name}'"
    return f"{_shown(own[-1].filename)}, line {own[-1].lineno}"


def _shown(path: str) -> str:
    """A path from here, if it is below the current folder."""
    here = os.path.relpath(path) if os.path.isabs(path) else path
    return path if here.startswith(os.pardir) else here
