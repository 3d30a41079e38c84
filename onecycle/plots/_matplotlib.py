"""Importing matplotlib whatever settings it would find: none may keep a plot from being drawn.

It reads `MPLBACKEND` and a matplotlibrc when it is imported, and fails if it does not understand
them. A notebook sets the variable for whatever is started from it, and a matplotlibrc may lie in
any folder. The plots here need neither: they are drawn without a backend, in a style of their own.
"""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

BACKEND = "MPLBACKEND"


def load() -> None:
    """Import matplotlib, unless that is done, with the user's settings as far as they are sound."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop(BACKEND, None)
    try:
        _load()
    finally:
        if backend is not None:
            os.environ[BACKEND] = backend
    if backend:  # for others who use matplotlib in this process
        with contextlib.suppress(ValueError):
            sys.modules["matplotlib"].rcParams["backend"] = backend


def _load() -> None:
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        raise
    except Exception:
        _load_with_defaults()


def _load_with_defaults() -> None:
    """Import it from where its defaults are: a matplotlibrc in the current folder comes first."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    with contextlib.chdir(Path(spec.origin).with_name("mpl-data")):
        importlib.import_module("matplotlib")


load()
