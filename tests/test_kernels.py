"""Compiling the kernels on this machine: what is kept, what is refused, and failures."""

import ctypes
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from onecycle import kernels
from onecycle.errors import KernelsUnavailable
from onecycle.kernels import compiling
from onecycle.training import preparation

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compiled on Linux only")


def compile_(cpu: str) -> ctypes.CDLL:
    return compiling.library(compiling.NORMS, cpu, "ELEMENT_FLOAT")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Iterator[Path]:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ONECYCLE_CACHE", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    yield folder
    compiling.take_notes()


@pytest.fixture
def compilations(monkeypatch) -> list[str]:
    """The list of commands run so far."""
    commands, run = [], compiling._run
    monkeypatch.setattr(
        compiling, "_run", lambda *given: (commands.append(given[1][-1]), run(*given))
    )
    return commands


def test_a_library_is_compiled_once_and_kept(cache, compilations):
    first = compile_("this cpu")
    assert len(compilations) == 2  # compiled, linked
    assert compile_("this cpu").block_rows() == first.block_rows() == 512
    assert len(compilations) == 2
    [kept] = cache.iterdir()
    assert kept.name.startswith("kernels-")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700


def test_another_cpu_gets_its_own(cache, compilations):
    compile_("one")
    compile_("another")
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("open_to_others", ["folder", "file"])
def test_code_that_others_could_have_written_is_not_opened(cache, compilations, open_to_others):
    compile_("this cpu")
    [kept] = cache.iterdir()
    kept.unlink()
    kept.write_bytes(b"code of someone else")
    (cache if open_to_others == "folder" else kept).chmod(0o777)
    assert compile_("this cpu").block_rows() == 512
    assert len(compilations) == 4


def test_without_a_usable_cache_they_are_compiled_for_the_process(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compile_("this cpu").block_rows() == 512
    assert compiling.take_notes()


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_library_is_compiled_again(cache, compilations, damage):
    compile_("this cpu")
    [kept] = cache.iterdir()
    content = bytearray(kept.read_bytes())
    content[5000] ^= 1
    kept.unlink()  # the open one stays as it is
    kept.write_bytes(content if damage == "flipped" else content[:9000])
    kept.chmod(0o700)
    assert compile_("this cpu").block_rows() == 512
    assert len(compilations) == 4


def test_without_a_compiler(cache, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(KernelsUnavailable, match="no C compiler"):
        compile_("this cpu")


def test_a_compiler_that_fails_leaves_nothing_behind(cache, tmp_path, monkeypatch):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'kernels.c:1: no such instruction' >&2\nexit 1\n")
    compiler.chmod(0o700)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setattr(compiling, "COMPILERS", ())
    with pytest.raises(KernelsUnavailable, match="no such instruction"):
        compile_("this cpu")
    assert list(cache.iterdir()) == []


def test_the_state_says_what_they_run_on():
    cpu = torch.device("cpu")
    assert kernels.state(cpu, "fp32") == kernels.State("compiled")
    assert kernels.state(torch.device("cuda"), "fp32") == kernels.State("pytorch", "cuda")
    assert kernels.find(torch.float16) == "none for torch.float16"


@pytest.mark.faults
def test_switched_off_a_training_says_so_and_runs(tmp_path):
    command = [
        sys.executable, "-m", "onecycle", "train", "demo", "--epochs", "1", "--train-limit", "100",
        "--test-limit", "20", "--width", "0.05", "--lr-max", "0.1", "--lr-min", "0.01",
        "--runs", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(
        command, env=os.environ | {"ONECYCLE_KERNELS": "off"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "kernels: pytorch (switched off by ONECYCLE_KERNELS)" in done.stderr + done.stdout
    [environment] = tmp_path.glob("*/environment.json")
    assert "switched off" in environment.read_text()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_on_compiled_kernels_needs_no_note(precision):
    """With and without compiled convolutions."""
    said: list[str] = []
    listener = SimpleNamespace(note=said.append)
    preparation.note_missing_kernels(torch.device("cpu"), precision, listener)
    assert said == []


@pytest.mark.parametrize("side", ["before", "behind"])
def test_they_touch_nothing_outside_their_tensors(side):
    """In a separate process, where a byte too far is a crash."""
    done = guarded("within", side)
    assert done.stdout == "within\n", done.stderr


def test_a_byte_too_far_would_be_detected():
    assert guarded("too-far", "before").returncode == -signal.SIGSEGV


def guarded(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(__file__).with_name("guarded_kernels.py")
    return subprocess.run(
        [sys.executable, program, *arguments], capture_output=True, text=True, check=False
    )
