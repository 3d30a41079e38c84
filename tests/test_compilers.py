"""If a compiler is odd, broken or slow, the next one is used, in limited time, with a note."""

import os
import shlex
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from reliability import fault
from trained import TINY, onecycle, run_in

from onecycle import runtime
from onecycle.errors import KernelsUnavailable
from onecycle.kernels import amx, compiling, isa
from onecycle.progress import Progress
from onecycle.training import preparation

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="compiled on Linux only")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No notes, caches or compilers of other tests, and a separate home folder."""
    monkeypatch.setenv("ONECYCLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(compiling, "VERSION_SECONDS", 0.5)
    compiling.take_notes()
    compiling._version.cache_clear()
    compiling._hung.clear()
    yield
    compiling._version.cache_clear()
    compiling._hung.clear()
    compiling.take_notes()


def compiled() -> int:
    """The result of a function in a library that is compiled or opened now."""
    return compiling.library(compiling.NORMS, "a cpu", "ELEMENT_FLOAT").block_rows()


def script(path: Path, body: str, shebang: str = "#!/bin/sh") -> Path:
    path.write_text(f"{shebang}\n{body}\n")
    path.chmod(0o755)
    return path


COMPILE_ONLY = 'case "$1" in --version) echo 1; exit 0;; esac; '

ODD = {
    "a missing program": (lambda folder: folder / "none", "there is no program"),
    "a folder": (lambda folder: folder, "there is no program"),
    "no executable": (lambda folder: plain(folder / "cc"), "there is no program"),
    "an unclosed quote": (lambda folder: "gcc '-m64", "can't be read (No closing quotation)"),
    "no interpreter": (lambda f: script(f / "cc", "", "#!/no/such/shell"), "No such file"),
    "no program at all": (lambda f: script(f / "cc", "", "\0\1"), "Exec format error"),
    "it fails": (lambda f: script(f / "cc", "echo no such insn >&2; exit 1"), "no such insn"),
    "it dies": (lambda f: script(f / "cc", "kill -9 $$"), "failed: no message"),
    "it makes nothing": (lambda f: script(f / "cc", ""), "made nothing"),
    "it makes garbage": (lambda f: script(f / "cc", GARBAGE), "too short"),
    "it makes another's code": (lambda f: "gcc -m32 -nostdlib -ffreestanding", "gcc -m32"),
    "it hides all functions": (lambda f: "gcc -fvisibility=hidden", "has no block_rows"),
    "it hangs when asked": (lambda f: script(f / "cc", "sleep 600 & sleep 600"), "took more than"),
    "it hangs when compiling": (
        lambda f: script(f / "cc", f"{COMPILE_ONLY} sleep 600 & sleep 600"), "took more than",
    ),
    "it floods": (lambda f: script(f / "cc", "yes >&2 & yes"), "took more than"),
}  # fmt: skip

GARBAGE = 'while [ $# -gt 1 ]; do [ "$1" = -o ] && echo garbage > "$2"; shift; done; exit 0'


def plain(path: Path) -> Path:
    path.write_text("no program")
    return path


@pytest.mark.parametrize("kind", ODD)
def test_the_next_compiler_is_used(tmp_path, monkeypatch, kind):
    make, reason = ODD[kind]
    monkeypatch.setattr(compiling, "LONGEST", 0.5 if "hang" in kind or "flood" in kind else 40.0)
    monkeypatch.setattr(compiling, "COMPILERS", ("the-real-one",))
    real = script(tmp_path / "the-real-one", 'exec gcc "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = tmp_path / "odd"
    folder.mkdir()
    monkeypatch.setenv("CC", str(make(folder)))
    if "hang" in kind or "flood" in kind:
        limit(monkeypatch, real)
    began = time.monotonic()
    assert compiled() == 512
    assert time.monotonic() - began < 40
    [note] = compiling.take_notes()
    assert note.startswith("kernels: ")
    assert reason in note
    assert note.endswith(f"; {real} is used instead")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {
        path.name for path in (tmp_path / "cache").glob("kernels-*.so")
    }
    assert not list(tmp_path.rglob("*.tmp"))


def limit(monkeypatch, real: Path) -> None:
    """Give half a second to all compilers except the one that works."""
    ended = compiling._ended

    def limited(compiler, arguments, seconds, **streams):
        return ended(compiler, arguments, 60.0 if compiler[0] == str(real) else seconds, **streams)

    monkeypatch.setattr(compiling, "_ended", limited)


def test_a_compiler_that_hangs_is_not_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "LONGEST", 0.3)
    monkeypatch.setattr(compiling, "COMPILERS", ())
    hanging = script(tmp_path / "cc", f"{COMPILE_ONLY} echo x >> {tmp_path}/calls; sleep 600")
    monkeypatch.setenv("CC", str(hanging))
    with pytest.raises(KernelsUnavailable, match="took more than"):
        compiled()
    with pytest.raises(KernelsUnavailable, match="takes too long"):
        compiled()
    assert (tmp_path / "calls").read_text() == "x\n"


def test_all_compilers_together_have_a_time_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "SECONDS", 1.0)
    names = [f"cc{index}" for index in range(8)]
    for name in names:
        script(tmp_path / name, f"{COMPILE_ONLY} sleep 600")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(compiling, "COMPILERS", names)
    monkeypatch.delenv("CC", raising=False)
    began = time.monotonic()
    with pytest.raises(KernelsUnavailable):
        compiled()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("given", ["wrapped gcc", "gcc -m64", "'wrapped' 'gcc'", "  gcc  ", ""])
def test_a_compiler_may_have_arguments(tmp_path, monkeypatch, given):
    """As with ccache: `CC="ccache gcc"`."""
    script(tmp_path / "wrapped", f'echo "$@" >> {tmp_path}/calls; exec "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CC", given)
    assert compiled() == 512
    assert compiling.take_notes() == []
    calls = tmp_path / "calls"
    said = calls.read_text().splitlines() if calls.exists() else []
    assert len(said) == (3 if "wrapped" in given else 0)  # version, compiling, linking
    assert all(line.startswith("gcc ") for line in said)


# ------------------------------------------------------------------------------------ the cache


@pytest.fixture
def masked(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("masked", [0o002, 0o022, 0o077, 0o000], indirect=True)
@pytest.mark.parametrize("own", [True, False])
def test_compiled_code_is_kept_under_any_umask(tmp_path, monkeypatch, masked, own):
    if not own:
        monkeypatch.delenv("ONECYCLE_CACHE")
    compiled()
    folder = tmp_path / "cache" if own else tmp_path / "home" / "onecycle"
    monkeypatch.setattr(compiling, "_run", None)  # not compiled again
    assert compiled() == 512
    assert not stat.S_IMODE(folder.stat().st_mode) & 0o022
    assert compiling.take_notes() == []


def test_the_permissions_of_an_earlier_versions_cache_are_corrected(tmp_path, monkeypatch):
    """It was made under a umask of 002, and belongs to the program."""
    monkeypatch.delenv("ONECYCLE_CACHE")
    folder = tmp_path / "home" / "onecycle"
    folder.mkdir(parents=True)
    folder.chmod(0o2775)
    compiled()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2755
    assert [path.suffix for path in folder.iterdir()] == [".so"]
    assert compiling.take_notes() == []


@pytest.mark.parametrize("mode", [0o775, 0o777, 0o1777])
def test_a_cache_that_others_can_write_is_replaced_by_the_users_own(tmp_path, mode):
    """It may be shared on purpose, so it stays unchanged."""
    shared = tmp_path / "cache"
    shared.mkdir()
    shared.chmod(mode)
    compiled()
    own = tmp_path / "home" / "onecycle"
    assert compiling.take_notes() == [
        f"kernels: others can write to '{shared}'; they are kept in '{own}'"
    ]
    assert stat.S_IMODE(shared.stat().st_mode) == mode
    assert list(shared.iterdir()) == []
    compiled()
    assert compiling.take_notes() == []  # nothing is lost from now on


def test_if_nothing_can_be_kept_a_note_says_so_with_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("in the way")
    (tmp_path / "home").write_text("in the way")
    compiled()
    notes = compiling.take_notes()
    assert len(notes) == 2
    for note, place in zip(notes, ("cache", "home"), strict=True):
        assert note.startswith(f"kernels: '{tmp_path / place}")
        assert note.endswith(f"; {compiling.NOT_CACHED}")


def test_a_training_says_it_once(tmp_path, monkeypatch):
    compiling._notes.extend(["kernels: one", "kernels: one"])
    said: list[str] = []
    listener = Progress()
    monkeypatch.setattr(listener, "note", said.append)
    for _ in range(2):
        preparation.note_missing_kernels(torch.device("cpu"), "fp32", listener)
    assert said == ["kernels: one"]


# --------------------------------------------------------------------------- oneDNN's own limits


ALLOWED = [
    {}, {"ONEDNN_MAX_CPU_ISA": ""}, {"ONEDNN_MAX_CPU_ISA": "ALL"},
    {"ONEDNN_MAX_CPU_ISA": "default"}, {"ONEDNN_MAX_CPU_ISA": "nonsense"},
    {"ONEDNN_MAX_CPU_ISA": "avx512_core_amx"},
    {"ONEDNN_MAX_CPU_ISA": "AVX10_1_512_AMX_FP16"}, {"DNNL_MAX_CPU_ISA": "AVX512_CORE_AMX"},
    {"ONEDNN_MAX_CPU_ISA": "ALL", "DNNL_MAX_CPU_ISA": "AVX2"}, {"ONEDNN_MAX_CPU_ISA": " AVX2"},
]  # fmt: skip
FORBIDDEN = [
    {"ONEDNN_MAX_CPU_ISA": "AVX2"}, {"ONEDNN_MAX_CPU_ISA": "Avx512_Core_Bf16"},
    {"ONEDNN_MAX_CPU_ISA": "sse41", "DNNL_MAX_CPU_ISA": "AVX512_CORE_AMX"},
    {"DNNL_MAX_CPU_ISA": "AVX2"}, {"ONEDNN_MAX_CPU_ISA": "", "DNNL_MAX_CPU_ISA": "AVX512_CORE"},
]  # fmt: skip


@pytest.mark.parametrize("environment", [*ALLOWED, *FORBIDDEN])
def test_amx_is_used_where_onednn_would_use_it(monkeypatch, environment):
    for name in isa.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runtime, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    library = SimpleNamespace(allowed=lambda: 1)
    monkeypatch.setattr(compiling, "library", lambda *_: library)
    found = amx.find.__wrapped__()
    assert isinstance(found, amx.Convolutions) == (environment in ALLOWED)
    if environment in FORBIDDEN:
        assert found == f"no AMX by {next(k for k, v in environment.items() if v)}"


MORE_THAN = {
    "sse41": {"avx"},
    "avx2": {"avx512f", "avx_vnni"},
    "avx512_core": {"avx512_vnni"},
    "avx512_core_bf16": {"avx512_fp16"},
}
"""Flags of a CPU that has more than a value allows. On others the value changes nothing."""

VERBOSE = """
import torch
torch.mkldnn_convolution(torch.zeros(1, 16, 8, 8), torch.zeros(16, 16, 3, 3), None,
                         (1, 1), (1, 1), (1, 1), 1)
"""


@pytest.mark.faults
@pytest.mark.parametrize("environment", [*ALLOWED, *FORBIDDEN])
def test_onednn_reads_its_variables_this_way(environment):
    """oneDNN's own report, for values below this CPU's."""
    import subprocess
    import sys

    clean = {k: v for k, v in os.environ.items() if k not in isa.VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", VERBOSE], env=clean | environment | {"ONEDNN_VERBOSE": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    full = subprocess.run(
        [sys.executable, "-c", VERBOSE], env=clean | {"ONEDNN_VERBOSE": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    of = [line for line in done.stdout.splitlines() if ",isa:" in line]
    usual = [line for line in full.stdout.splitlines() if ",isa:" in line]
    assert of
    if environment in ALLOWED:
        assert of == usual
    else:
        value = next(environment[name] for name in isa.VARIABLES if environment.get(name)).lower()
        assert (of != usual) == bool(MORE_THAN[value] & runtime.cpu_flags())


@fault("the compiler can't be started, fails, or hangs")
def test_a_training_with_a_broken_compiler(tmp_path):
    broken = script(tmp_path / "cc", "", "#!/no/such/shell")
    line = f"{TINY} --runs {tmp_path / 'runs'}".replace(" --quiet", "")
    cache = {"ONECYCLE_CACHE": str(tmp_path / "cache"), "CC": str(broken)}
    done = onecycle(line, env=cache)
    assert done.code == 0
    assert f"kernels: {broken}: No such file or directory; " in done.err
    assert '"compiled"' in (run_in(tmp_path / "runs") / "environment.json").read_text()
    alone = script(tmp_path / "gcc", "exit 1")
    lonely = cache | {"PATH": str(tmp_path), "CC": shlex.quote(str(alone))}
    done = onecycle(f"{line}-2", env=lonely | {"ONECYCLE_CACHE": str(tmp_path / "other")})
    assert done.code == 0
    assert "kernels: pytorch (" in done.err
