"""Where and how arithmetic runs: device, precision, threads, and named random streams.

Randomness is a function, not a state. Every draw comes from a generator that is seeded with
(seed, stream name, index), so step 700 draws the same numbers however it was reached.
"""

import ctypes
import hashlib
import platform
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from onecycle.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")


def resolve_device(name: str) -> torch.device:
    """The device that `name` stands for: `auto` takes a CUDA GPU, then Apple's, then the CPU.

    Raises:
        InputError: the device is unknown or absent on this machine.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if available[device])
    kind = name.split(":")[0]
    if kind not in available:
        raise InputError(f"device: unknown '{name}'; choose one of {', '.join(DEVICES)}")
    if not available[kind]:
        raise InputError(f"device: this machine has no '{kind}' device; use --device auto")
    return torch.device(name)


@cache
def cpu_flags() -> frozenset[str]:
    """The CPU's instruction-set flags as Linux names them; empty where they can't be read."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    lines = info.read_text(errors="replace").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
    return frozenset(flags.split(":", 1)[1].split())


@cache
def cpu_model() -> str:
    """The CPU's model name, or the closest that the platform reports."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cpu_identity() -> str:
    """Model and flags: CPUs that differ in either may not run code compiled for this one."""
    return f"{cpu_model()} {sorted(cpu_flags())}"


def has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 matrix products run in hardware on `device`."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())
    return False


def resolve_precision(name: str, device: torch.device) -> str:
    """`fp32` or `bf16`; `auto` takes bf16 where the device has it in hardware."""
    if name not in PRECISIONS:
        raise InputError(f"precision: unknown '{name}'; choose one of {', '.join(PRECISIONS)}")
    if name == "auto":
        return "bf16" if has_native_bf16(device) else "fp32"
    return name


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context in which forward passes run: bf16 autocast, or nothing for fp32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def seed_of(seed: int, stream: str, index: int = 0) -> int:
    """A 63-bit seed that depends on (seed, stream, index) alone."""
    digest = hashlib.sha256(f"{seed}/{stream}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, stream: str, index: int = 0) -> torch.Generator:
    """A CPU generator for the draws of one step or epoch of one stream.

    Draws are made on the CPU for every device, so that a GPU run sees the same crops. The few
    numbers per image are sent to the device with the batch.
    """
    return torch.Generator().manual_seed(seed_of(seed, stream, index))


def seed_layers(seed: int, step: int, part: int = 0) -> None:
    """Seed PyTorch's global generators for the layers that draw from them (dropout) in `step`.

    `part`: of the batch, where several processes share it.
    """
    stream = f"layers of part {part}" if part else "layers"
    torch.manual_seed(seed_of(seed, stream, step))


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restore every global random state on exit: Python, NumPy, and PyTorch on all devices."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    cuda_devices = list(range(torch.cuda.device_count()))
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        with torch.random.fork_rng(devices=cuda_devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)


def set_threads(count: int) -> int:
    """Use `count` CPU threads (0: PyTorch's own choice), and return the number in use."""
    if count < 0:
        raise InputError(f"threads: {count} is negative; give a number of threads, or 0 for all")
    if count:
        torch.set_num_threads(count)
    return torch.get_num_threads()


@contextmanager
def reused_memory() -> Iterator[None]:
    """Keep freed memory in the process, so that the next step can reuse it.

    glibc returns every large block to the kernel when it is freed, and gets a new one, page by
    page, at the next step. At batch 512 that takes a fifth of a step's time on the CPU. On exit,
    the defaults are restored and free memory is returned. Without glibc this does nothing.
    """
    malloc = _glibc()
    if malloc is None:
        yield
        return
    malloc.mallopt(_M_MMAP_MAX, 0)
    malloc.mallopt(_M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        malloc.mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
        malloc.mallopt(_M_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD)
        malloc.malloc_trim(0)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_DEFAULT_TRIM_THRESHOLD, _DEFAULT_MMAP_MAX = 128 * 1024, 65536
"""Parameters of mallopt(3) and glibc's defaults for them."""


def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    return ctypes.CDLL(None)


USUAL_ORDER = "onecycle_usual_order"
"""Attribute of a network whose code can't take images in channels_last order."""


def placed(model: nn.Module, device: torch.device, *, compiled: bool = False) -> nn.Module:
    """The model on the device, its weights in channels_last order.

    `compiled`: torch.compile runs its forward and backward pass, on a GPU as CUDA graphs, which
    launch a step's hundreds of kernels at once. The names of the weights do not change. A network
    with the attribute `USUAL_ORDER` keeps its weights in PyTorch's usual order.
    """
    model = model.to(device=device)
    if not getattr(model, USUAL_ORDER, False):
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if compiled:
        model.compile(dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)
    return model


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy `tensor` from the host's memory to `device`; the host does not wait for a GPU."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory so far, in bytes: the GPU's, or on the CPU this process's. 0: not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _peak_of_linux() or _peak_of_unix()


def _peak_of_linux() -> int:
    """Peak memory of this program in bytes; 0 if Linux does not give it.

    getrusage would include the peak of the program that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[:1] == ["VmHWM:"]), 0)


def _peak_of_unix() -> int:
    """Peak memory of this process in bytes; 0 on Windows."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
