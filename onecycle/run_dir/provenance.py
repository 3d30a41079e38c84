"""Where a result comes from: versions, machine, commit, command line."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from onecycle.run_dir.records import Environment, Git, Kernels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PACKAGES = ("onecycle", "torch", "numpy", "pillow", "matplotlib", "safetensors", "scipy")
"""Packages whose versions environment.json names."""

GIT_SECONDS = 10.0
"""Longest wait for git in seconds. A network file system or a hook may delay it."""


def environment(command: Sequence[str], device: str, precision: str, threads: int) -> Environment:
    """What a result depends on besides the recipe: versions, machine, commit, command line.

    The names of the machine and the user are left out, unless a path contains them.

    Args:
        command: the command line; empty when called from Python.
        device: resolved device.
        precision: resolved precision.
        threads: CPU threads in use.
    """
    import torch  # here, so that runs are read without it

    from onecycle import runtime

    on_gpu = torch.device(device).type == "cuda"
    return Environment(
        started=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        command=list(command),
        versions={"python": platform.python_version()} | package_versions(),
        platform=platform.platform(),
        device=device,
        device_name=torch.cuda.get_device_name(device) if on_gpu else runtime.cpu_model(),
        precision=precision,
        threads=threads,
        kernels=kernels_used(torch.device(device), precision),
        cpu=runtime.cpu_model(),
        cpu_count=os.cpu_count(),
        cpu_flags=sorted(runtime.cpu_flags()),
        cuda=torch.version.cuda,
        git=git_state(Path(__file__).parents[2]),
    )


def kernels_used(device: "torch.device", precision: str) -> Kernels:
    """The implementation of the operations in a training's blocks."""
    from onecycle import kernels

    state = kernels.state(device, precision)
    return Kernels(implementation=state.implementation, reason=state.reason or None)


def git_state(checkout: Path) -> Git | None:
    """The commit, and whether files are changed; None if `checkout` is not a git checkout.

    Also None if git is missing, fails or takes too long. A repository around `checkout`, such as
    one that contains a virtual environment, does not count.
    """
    if not (checkout / ".git").exists():
        return None
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        changed = bool(_git(checkout, "status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None
    return Git(commit=commit, changed=changed)


def _git(checkout: Path, *arguments: str) -> str:
    """Git's output for `checkout`, which is not changed."""
    # Within a hook, variables such as GIT_DIR point git at another repository.
    variables = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "--no-optional-locks", "-C", str(checkout), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=variables,
        timeout=GIT_SECONDS,
        check=True,
    )
    return done.stdout.decode(errors="replace").strip()


def package_versions() -> dict[str, str]:
    """The installed version of each of `PACKAGES`."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[package] = getattr(sys.modules.get(package), "__version__", "unknown")
    return found


def tensors_sha256(tensors: "Mapping[str, Tensor]") -> str:
    """SHA-256 of the raw bytes of all tensors in the order of their names, in hex."""
    import torch

    digest = hashlib.sha256()
    for _, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
