"""Builds the kernels' sources with other flags than the package's: for tests."""

import ctypes
import subprocess
from pathlib import Path

from onecycle import runtime
from onecycle.kernels import amx, compiling

EMULATION = Path(__file__).with_name("emulated_amx.h")

AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512_bf16"}
"""What convolution.c needs besides the tiles."""


def build(source: Path, library: Path, *flags: str) -> Path:
    """Compile and link one source. OpenMP is left to PyTorch's library, as the package does.

    Raises:
        subprocess.CalledProcessError: it fails; `stderr` says why.
    """
    compiled = library.with_suffix(".o")
    common = ("-march=native", "-fopenmp", "-fPIC", "-std=gnu11", "-c", str(source))
    sanitizers = [flag for flag in flags if flag.startswith("-fsanitize")]
    for words in (
        (*common, *flags, "-o", str(compiled)),
        ("-shared", *sanitizers, str(compiled), "-o", str(library)),
    ):
        subprocess.run(["gcc", *words], check=True, capture_output=True, text=True)
    return library


def emulated_convolutions(folder: Path) -> amx.Convolutions | str:
    """convolution.c with tiles in plain C, or why it can't run here."""
    if not runtime.cpu_flags() >= AVX512:
        return "no AVX-512 with bfloat16"
    flags = ("-O3", "-fno-math-errno", "-include", str(EMULATION))
    try:
        library = build(compiling.CONVOLUTION, folder / "convolution.so", *flags)
    except (OSError, subprocess.CalledProcessError) as error:
        return str(error)
    return amx.Convolutions(ctypes.CDLL(str(library)))
