"""The kernels' C code under AddressSanitizer and UndefinedBehaviorSanitizer, on random shapes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from building_kernels import AVX512, EMULATION, build
from reliability import fault

from onecycle import runtime
from onecycle.kernels import ELEMENTS, compiling

FLAGS = (
    "-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)  # fmt: skip

PROGRAM = Path(__file__).with_name("sanitized_kernels.py")

ROWS = "for (int64_t row = 0; row < M; row++)"

PLANTED = {
    "a row too many": (ROWS, ROWS.replace("<", "<=")),
    "a number too large": ("(M + BLOCK_ROWS - 1) / BLOCK_ROWS", "(M + INT64_MAX) / BLOCK_ROWS"),
}
"""Faults planted in kernels.c; each must be caught."""

REPORTED = {"a row too many": "AddressSanitizer", "a number too large": "signed integer overflow"}

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def libasan() -> str:
    """The sanitizer's library of this compiler."""
    try:
        words = ["gcc", "-print-file-name=libasan.so"]
        found = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"gcc is not here: {error}")
    if not Path(found).is_absolute():
        pytest.skip("gcc has no libasan here")
    return found


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory, libasan: str) -> Path:
    """All the sources, built with sanitizers."""
    folder = tmp_path_factory.mktemp("sanitized")
    for name in ELEMENTS.values():
        build(compiling.NORMS, folder / f"kernels-{name}.so", f"-DELEMENT_{name}", *FLAGS)
    if runtime.cpu_flags() >= AVX512:
        tiles = ("-include", str(EMULATION))
        build(compiling.CONVOLUTION, folder / "convolution.so", *tiles, *FLAGS)
    return folder


def run(folder: Path, libasan: str, seed: int, rounds: int) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "LD_PRELOAD": libasan,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps what it has until it ends
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [sys.executable, str(PROGRAM), str(folder), str(seed), str(rounds)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@fault(
    "the compiled kernels are given random shapes under AddressSanitizer and "
    "UndefinedBehaviorSanitizer"
)
@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_reported_on_random_shapes(sanitized, libasan, seed):
    done = run(sanitized, libasan, seed, rounds=24)
    tiles = "with tiles" if runtime.cpu_flags() >= AVX512 else "without tiles"
    assert done.stdout == f"within {tiles}\n", done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_reported(fault, tmp_path, libasan):
    text, (sound, faulty) = compiling.NORMS.read_text(), PLANTED[fault]
    assert sound in text
    source = tmp_path / "kernels.c"
    source.write_text(text.replace(sound, faulty))
    for name in ELEMENTS.values():
        build(source, tmp_path / f"kernels-{name}.so", f"-DELEMENT_{name}", *FLAGS)
    done = run(tmp_path, libasan, seed=0, rounds=5)
    assert done.returncode != 0
    assert REPORTED[fault] in done.stderr
    assert "within" not in done.stdout
