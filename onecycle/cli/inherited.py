"""Leave out environment variables that a library can't be imported with, and say so.

They are inherited from a shell profile, a cluster's scheduler or a notebook, and should not stop a
command. A library whose import has failed can't be imported again in the same process. So the
program starts itself again without them, before it has done anything.
"""

import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence

PREFIXES = ("TORCH", "PYTORCH", "NPY_", "NUMPY_", "SCIPY_", "SOURCE_DATE_EPOCH")
"""Prefixes of the variables that libraries read when they are imported."""

LIBRARIES = ("numpy", "scipy.stats", "torch")

COMPILER = ("torch._dynamo", "torch._inductor.config")
"""Imported by PyTorch when it makes an optimizer."""

AFFINITY = "GOMP_CPU_AFFINITY"
"""The processors of OpenMP's threads: numbers and ranges, separated by blanks or commas. Any other
beginning sends libgomp (GCC 12) into an endless loop when it is loaded."""

_PLACE = r"\d+(-\d+(:\d+)?)?"


def leave_out_endless(words: Sequence[str]) -> None:
    """Remove the variable that would make a library hang when it is loaded.

    Args:
        words: the command line; with `--quiet` nothing is said.
    """
    value = os.environ.get(AFFINITY, "").strip()
    if not value or re.fullmatch(rf"{_PLACE}([\s,]+{_PLACE})*", value):
        return
    del os.environ[AFFINITY]
    if "--quiet" not in words:
        sys.stderr.write(f"onecycle: {AFFINITY}: left out, as it is not a list of processors\n")


def forget_impossible_sizes() -> None:
    """Remove impossible terminal sizes: on a screen of 0 columns nothing is shown."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name)
        if value is not None and not re.fullmatch(r"0*[1-9]\d*", value):
            del os.environ[name]


def suspects(environment: Mapping[str, str]) -> list[str]:
    """The variables that a library reads when it is imported, in their order."""
    return sorted(name for name in environment if name.startswith(PREFIXES))


def start_without_harmful(words: Sequence[str]) -> None:
    """Start the program again without such variables if a library can't be imported with them.

    It costs nothing where none is set. Elsewhere than on POSIX nothing is done.

    Args:
        words: the command line; with `--quiet` nothing is said.
    """
    forget_impossible_sizes()
    leave_out_endless(words)
    names = suspects(os.environ)
    if not names or os.name != "posix":
        return
    found = _failing(names)
    if found is None:
        return
    library, error = found
    if "--quiet" not in words:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        told = f"{', '.join(names)}: left out, as {library} can't start with it ({reason[:200]})"
        sys.stderr.write(f"onecycle: {told}\n")
        sys.stderr.flush()
    rest = {name: value for name, value in os.environ.items() if name not in names}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], rest)


def _failing(names: Sequence[str]) -> tuple[str, Exception] | None:
    """The first library that can't be imported, and why; missing libraries don't count."""
    compiles = any(name.startswith(("TORCHDYNAMO", "TORCHINDUCTOR")) for name in names)
    for library in (*LIBRARIES, *(COMPILER if compiles else ())):
        try:
            importlib.import_module(library)
        except ModuleNotFoundError:
            return None
        except Exception as error:
            return library.partition(".")[0], error
    return None
