"""Import matplotlib so that no invalid setting of the user can keep a plot from being drawn.

On import it reads `MPLBACKEND` and a matplotlibrc, and fails if they are invalid. A notebook sets
the variable for every program that it starts, and any folder may contain a matplotlibrc. The
plots here need neither: they are drawn without a backend, in their own style.
"""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

BACKEND = "MPLBACKEND"


def load() -> None:
    """Import matplotlib, unless it is imported already, with the user's settings if valid."""
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
    """Import it from the folder of its defaults: a matplotlibrc in the current folder wins."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    with contextlib.chdir(Path(spec.origin).with_name("mpl-data")):
        importlib.import_module("matplotlib")


load()
