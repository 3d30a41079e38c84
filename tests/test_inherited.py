"""Environment variables that somebody else has set: none keeps a command from its work."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reliability import fault
from trained import TINY, onecycle, run_in

ROOM = "…"
"""Stands for a folder in which `odd_files` has made what variables name."""

HARMLESS = """
MPLBACKEND=module://matplotlib_inline.backend_inline MPLBACKEND=module://nonsense
MPLBACKEND=nonsense MPLBACKEND= MPLBACKEND=TkAgg MPLCONFIGDIR=…/file MPLCONFIGDIR=/proc/none
MATPLOTLIBRC=…/binary MATPLOTLIBRC=…/nonsense MATPLOTLIBRC=/none
PYTHONWARNINGS=error PYTHONOPTIMIZE=2 PYTHONUTF8=0 PYTHONIOENCODING=latin-1
PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=7 PYTHONUNBUFFERED=1
TORCH_LOGS=nonsense TORCH_LOGS_OUT=/none/x TORCHINDUCTOR_COMPILE_THREADS=abc
TORCH_CPP_LOG_LEVEL=abc
TORCH_DEVICE_BACKEND_AUTOLOAD=abc TORCHDYNAMO_VERBOSE=abc ATEN_CPU_CAPABILITY=nonsense
OMP_NUM_THREADS=abc OMP_NUM_THREADS=-1 OMP_NUM_THREADS=0 OMP_NUM_THREADS= OMP_THREAD_LIMIT=1
OMP_THREAD_LIMIT=abc OMP_DYNAMIC=true OMP_PROC_BIND=abc OMP_PLACES=abc GOMP_CPU_AFFINITY=abc
GOMP_CPU_AFFINITY=0,x KMP_AFFINITY=abc MKL_NUM_THREADS=abc MKL_NUM_THREADS=-1
NUMEXPR_MAX_THREADS=abc NUMPY_MADVISE_HUGEPAGE=abc NPY_DISABLE_CPU_FEATURES=SSE2 SCIPY_ARRAY_API=abc
PILLOW_BLOCK_SIZE=abc
LC_ALL=nonsense LANG=xx COLUMNS=0 COLUMNS=abc COLUMNS=1 COLUMNS=-5 LINES=0 TERM= TERM=dumb
TERM=unknown FORCE_COLOR=1 NO_COLOR=1 TTY_COMPATIBLE=1 TTY_INTERACTIVE=1 TMPDIR=/none HOME=/none
XDG_CACHE_HOME=relative XDG_CACHE_HOME=/dev/null SOURCE_DATE_EPOCH=abc CUDA_VISIBLE_DEVICES=abc
""".split()

LEFT_OUT = ["TORCH_LOGS=nonsense", "NUMPY_MADVISE_HUGEPAGE=abc"]
WORST = [pytest.param("MPLBACKEND=nonsense", marks=pytest.mark.faults), "TORCH_LOGS=nonsense"]


@pytest.fixture(autouse=True, scope="module")
def without_variables_of_their_own() -> Iterator[None]:
    """PyTorch's compiler sets some in the process that runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TORCH")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "file").write_text("in the way")
    (folder / "binary").write_bytes(b"\xff\xfe\0")
    (folder / "nonsense").write_text("backend: nonsense\nlines.linewidth: thick\nno colon\n")
    return folder


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a training leaves where no variable is odd."""
    runs = tmp_path_factory.mktemp("usual")
    assert onecycle(f"{TINY} --runs {runs}").code == 0
    return left(run_in(runs))


def left(run: Path) -> dict[str, object]:
    pictures = {path.name: path.read_bytes() for path in (run / "plots").iterdir()}
    return {"steps": (run / "steps.jsonl").read_bytes()} | pictures


def trains_as_usual(setting: str, odd_files: Path, usual: dict[str, object], runs: Path) -> str:
    """Train with a variable; all is as usual. Returns what was said."""
    name, _, value = setting.replace(ROOM, str(odd_files)).partition("=")
    line = f"{TINY} --json --runs {runs}".replace(" --quiet", "")
    done = onecycle(line, env={name: value}, cwd=odd_files)
    assert done.code == 0, done
    assert json.loads(done.out)["steps"] == 12
    assert "Traceback" not in done.err
    assert left(run_in(runs)) == usual
    return done.err


@pytest.mark.faults
@pytest.mark.parametrize("setting", WORST)
def test_a_variable_that_a_library_fails_with(odd_files, usual, tmp_path, setting):
    said = trains_as_usual(setting, odd_files, usual, tmp_path)
    assert ("onecycle: TORCH_LOGS: left out, as torch can't start with it (" in said) == (
        setting in LEFT_OUT
    )


@fault("an inherited environment variable is odd: 60 of what the libraries read")
@pytest.mark.parametrize("setting", HARMLESS)
def test_odd_variables(odd_files, usual, tmp_path, setting):
    said = trains_as_usual(setting, odd_files, usual, tmp_path)
    harmful = ("TORCH", "NUMPY", "NPY", "SCIPY", "GOMP", "SOURCE")
    assert ("left out, as" in said) <= setting.startswith(harmful)


STYLES = (
    "lines.linewidth: 9\naxes.facecolor: red\nxaxis.labellocation: left\nsvg.image_inline: False\n"
)


@pytest.mark.faults
@pytest.mark.parametrize(
    "content", [STYLES, "backend: nonsense\n", b"\xff\xfe\0", "font.size: x\n"]
)
def test_a_matplotlibrc_in_the_current_folder(odd_files, usual, tmp_path, content):
    place = tmp_path / "matplotlibrc"
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    trains_as_usual("X=1", tmp_path, usual, tmp_path / "runs")


@pytest.mark.faults
@pytest.mark.parametrize(
    "setting", ["PYTHONWARNINGS=error", "PYTHONOPTIMIZE=2", "COLUMNS=0", "TERM="]
)
def test_every_command_that_draws_or_decodes(odd_files, tmp_path, setting):
    for index in range(12):
        folder = tmp_path / "photos" / f"kind {index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((12, 14, 3), 20 * index, np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    name, _, value = setting.partition("=")
    env = {name: value, "ONECYCLE_CACHE": str(tmp_path / "cache")}
    for line in (
        f"data '{tmp_path}/photos' --contact-sheet {tmp_path}/sheet.png",
        "recipes", "summary demo", "train --help", "--help",
    ):  # fmt: skip
        done = onecycle(line, env=env, cwd=tmp_path)
        assert done.code == 0, done
        assert done.out
        assert "Traceback" not in done.err
