"""Devices, precision, memory, and named random streams."""

import platform
import random
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from onecycle import runtime
from onecycle.errors import InputError


def test_streams_are_functions_of_seed_name_and_index():
    def first(*key):
        return torch.rand(3, generator=runtime.generator(*key)).tolist()

    keys = [(0, "shuffle", 0), (1, "shuffle", 0), (0, "augment", 0), (0, "shuffle", 1)]
    draws = [first(*key) for key in keys]
    assert draws == [first(*key) for key in keys]
    assert len({tuple(draw) for draw in draws}) == len(keys)


def test_stream_seeds_never_change():
    """Changing them would change every recorded result."""
    assert runtime.seed_of(0, "init") == 1391976149099393129
    assert runtime.seed_of(7, "augment", 123) == 5034774026154963753


def test_preserved_rng_restores_every_global_state_even_after_an_error():
    def draws():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = draws()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)

    def fail_after_drawing():
        with runtime.preserved_rng():
            draws()
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_drawing()
    assert draws() == expected


def test_an_absent_or_unknown_device_is_refused():
    with pytest.raises(InputError, match="unknown 'gpu'"):
        runtime.resolve_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no 'cuda' device; use --device auto"):
            runtime.resolve_device("cuda")
    assert runtime.resolve_device("cpu").type == "cpu"


def test_auto_precision_follows_the_cpu(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(runtime, "cpu_flags", lambda: frozenset({"avx512f", "avx512_bf16"}))
    assert runtime.resolve_precision("auto", cpu) == "bf16"
    monkeypatch.setattr(runtime, "cpu_flags", lambda: frozenset({"avx2"}))
    assert runtime.resolve_precision("auto", cpu) == "fp32"
    assert runtime.resolve_precision("bf16", cpu) == "bf16"
    with pytest.raises(InputError, match="unknown 'fp16'"):
        runtime.resolve_precision("fp16", cpu)


def test_negative_threads_are_refused():
    with pytest.raises(InputError, match="threads: -1 is negative"):
        runtime.set_threads(-1)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc's allocator")
def test_memory_is_kept_within_the_context_and_returned_after_it():
    """Counts the pages that the kernel provides while a small convolution is trained.

    The heap is fragmented by earlier tests and may still grow a little at first.
    """
    layer, batch = torch.nn.Conv2d(16, 16, 3), torch.rand(64, 16, 64, 64)

    def pages_of(steps: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(steps):
            layer(batch).relu().square().mean().backward()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    pages_of(2)
    outside, size = pages_of(6), resident()
    with runtime.reused_memory():
        pages_of(12)
        inside = pages_of(6)
    assert outside > 6 * 2000
    assert inside < outside / 4
    assert resident() < size + 32 * 2**20


def test_what_is_sent_to_the_cpu_is_not_copied():
    here = torch.ones(3)
    assert runtime.sent(here, torch.device("cpu")) is here


PEAK = "from onecycle.runtime import *; print(peak_memory_bytes(torch.device('cpu')))"


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="getrusage counts the parent on Linux")
def test_peak_memory_is_not_that_of_the_program_that_started_this_one():
    large = np.ones(2**28)  # 2 GiB
    found = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, check=True)
    assert 2**26 < int(found.stdout) < large.nbytes
