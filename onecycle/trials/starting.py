"""Starting processes of this package: workers, and what times them."""

import os
import subprocess
import sys
from collections.abc import Sequence


def start(
    module: str,
    arguments: Sequence[str],
    environ: dict[str, str],
    *,
    output: int = subprocess.PIPE,
    errors: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """A process that runs a module of this package, in a session of its own.

    A terminal's Ctrl-C does not reach it: the driver decides what it does. It finds the packages
    where this process does.
    """
    return subprocess.Popen(
        [sys.executable, *interpreter_flags(), "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        env=environ,
        start_new_session=True,
    )


def interpreter_flags() -> tuple[str, ...]:
    """What a Python process needs to find the packages where this one does."""
    here = sys.path[:1] in ([""], [os.getcwd()])
    return () if here else ("-P",)


def environment(threads: int, device: int | None = None) -> dict[str, str]:
    """The environment of a worker: so many threads, and one GPU if it has a place.

    `device`: which of the GPUs that this process sees.
    """
    found = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    if device is not None:
        seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        found["CUDA_VISIBLE_DEVICES"] = seen[device] if device < len(seen) else str(device)
    return found
