"""A run folder of a stranger's, or with links in it: nothing outside is touched, no memory lost."""

import io
import json
import os
import shutil
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_run import make_run
from reliability import assert_told, fault
from simulated_runs import RESULT
from trained import TINY, Forks

from onecycle.config import Recipe
from onecycle.errors import InputError
from onecycle.experiments import compare, to_html
from onecycle.report import write_report
from onecycle.run_dir import Checkpoint, ForeignEntry, RunDir
from onecycle.run_dir.checkpoints import REMAINS
from onecycle.run_dir.folder import opened


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run with two checkpoints and both logs."""
    run = RunDir.create(tmp_path / "runs", Recipe())
    run.write_recipe(Recipe())
    with run.lock():
        for step in (1, 2):
            run.append("steps.jsonl", {"step": step - 1, "lr": 0.1, "momentum": 0.9, "loss": 1.0})
            run.append("metrics.jsonl", {"epoch": step, "step": step})
            run.save_checkpoint(checkpoint(step))
    return run


def small(folder: Path) -> RunDir:
    """A finished run with everything a report and a comparison show: 40 images of two classes."""
    return make_run(folder, ["ant", "bee"], 40)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"model.w": torch.full((3,), float(step))}, {"step": step})


def tree(folder: Path) -> dict[str, Any]:
    """Everything in a folder: kinds, contents, times."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() and not path.is_symlink() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def elsewhere(run: RunDir, name: str) -> Path:
    """Move an entry of the run out of it, and put a link in its place; where it is now."""
    outside = run.path.parent.parent / "outside"
    outside.mkdir(exist_ok=True)
    moved = outside / Path(name).name
    if (run.path / name).exists():
        (run.path / name).rename(moved)
    else:
        moved.write_bytes(b"not yours")
    (run.path / name).symlink_to(moved)
    return outside


# ------------------------------------------------------------------------------------------- links

WORK: dict[str, Callable[[RunDir], object]] = {
    "lock": lambda run: run.lock().__enter__(),
    "cut back": lambda run: run.cut_back(None),
    "append": lambda run: run.append("steps.jsonl", {"step": 9}),
    "log": lambda run: run.log().__enter__(),
    "save": lambda run: run.save_checkpoint(checkpoint(3)),
    "best": lambda run: run.save_best(checkpoint(3)),
    "go on": lambda run: run.checkpoint_to_go_on_from(),
    "hash": lambda run: run.newest_weights(),
    "plot": lambda run: run.write("plots/curves.png", b"new"),
    "recipe": lambda run: run.read_recipe(),
    "result": lambda run: run.result(),
    "rows": lambda run: run.read_rows("steps.jsonl"),
    "arrays": lambda run: run.load_arrays("predictions.npz"),
    "report": lambda run: write_report(run),
}


@pytest.mark.parametrize(
    ("entry", "work"),
    [
        *(("checkpoints", work) for work in ("lock", "save", "best", "go on", "hash")),
        *(("checkpoints/step-0000002", work) for work in ("save", "go on", "hash")),
        ("checkpoints/step-0000002/tensors.safetensors", "go on"),
        ("checkpoints/step-0000002/state.json", "hash"),
        *(("plots", work) for work in ("lock", "plot")),
        ("tensorboard", "lock"),
        *(("steps.jsonl", work) for work in ("lock", "append", "cut back", "rows", "save")),
        *(("train.log", work) for work in ("lock", "log")),
        (".lock", "lock"),
        ("recipe.toml", "recipe"),
        ("result.json", "result"),
        ("predictions.npz", "arrays"),
        ("plots/curves.png", "report"),
    ],
)
def test_a_link_in_a_run_is_refused_by_name_and_nothing_behind_it_changes(run, entry, work):
    outside = elsewhere(run, entry)
    before = tree(outside)
    with pytest.raises(ForeignEntry) as raised:
        WORK[work](run)
    assert str(raised.value).startswith(f"{run.path / entry}: is a link, not a f")
    assert "\n" not in str(raised.value)
    assert tree(outside) == before


@pytest.mark.parametrize("name", ["result.json", "report.html", ".owner", "plots/curves.png"])
def test_a_link_in_the_place_of_a_whole_file_is_replaced_and_not_written_to(run, name):
    outside = elsewhere(run, name)
    before = tree(outside)
    with run.lock():
        run.write(name, b"new")
        assert not (run.path / name).is_symlink()
        assert (run.path / name).read_bytes() == b"new"
    assert tree(outside) == before


def test_a_link_under_the_name_of_a_file_being_written_is_not_written_to(run, tmp_path):
    (tmp_path / "victim").write_bytes(b"old")
    (run.path / f".result.json.{os.getpid()}.tmp").symlink_to(tmp_path / "victim")
    run.write_json("result.json", RESULT)
    assert (tmp_path / "victim").read_bytes() == b"old"
    assert run.read_json("result.json") == RESULT


@pytest.mark.parametrize("name", ["steps.jsonl", "train.log"])
def test_a_log_that_another_folder_has_too_becomes_a_file_of_its_own(run, tmp_path, name):
    (run.path / name).touch()
    os.link(run.path / name, tmp_path / "backup")
    before = (tmp_path / "backup").read_bytes()
    with run.lock(), run.log() as write:
        write("a line")
        run.append("steps.jsonl", {"step": 2})
    assert (tmp_path / "backup").read_bytes() == before
    now = (run.path / name).read_bytes()
    assert now.startswith(before)
    assert len(now) > len(before)


def test_a_lock_that_another_folder_has_too_keeps_its_content(run, tmp_path):
    (tmp_path / "victim").write_bytes(b"old")
    (run.path / ".lock").unlink()
    os.link(tmp_path / "victim", run.path / ".lock")
    with run.lock():
        pass
    assert (tmp_path / "victim").read_bytes() == b"old"


def test_the_run_itself_may_be_reached_over_links(run, tmp_path):
    (tmp_path / "results").symlink_to(run.path.parent)
    latest = run.path.parent / "latest"
    latest.symlink_to(run.path.name)
    for path in (latest, tmp_path / "results" / run.path.name, tmp_path / "results" / "latest"):
        reached = RunDir.open(path)
        with reached.lock():
            reached.append("steps.jsonl", {"step": 9})
            reached.save_checkpoint(checkpoint(3))
        assert reached.newest_checkpoint().step == 3


def test_a_link_put_in_place_while_a_run_is_open_leads_nowhere(run, tmp_path):
    """The folder is held by a descriptor: what has its name then does not count."""
    (tmp_path / "victim").mkdir()
    with opened(run.path) as folder, folder.below("plots") as plots:
        run.plots.rename(tmp_path / "moved")
        run.plots.symlink_to(tmp_path / "victim")
        with plots.beside("curves.png") as file:
            file.write(b"drawn")
    assert not list((tmp_path / "victim").iterdir())
    assert (tmp_path / "moved" / "curves.png").read_bytes() == b"drawn"


# ---------------------------------------------------------------------------------------- remains


def test_only_what_the_program_itself_names_is_removed(run):
    places = [
        "notes.tmp", ".notes.123.tmp", ".steps.jsonl.tmp", ".steps.jsonl.12x.tmp", "plots/.a.tmp",
        "plots/notes.txt", "checkpoints/.project.old/a", "checkpoints/.work.tmp/f",
        "checkpoints/step-9999999/important", "checkpoints/notes.txt", "checkpoints/mine/a",
        "checkpoints/.step-12.tmp/a", "checkpoints/.step-0000007.tmp/mine",
    ]  # fmt: skip
    for place in places:
        (run.path / place).parent.mkdir(exist_ok=True)
        (run.path / place).write_text("mine")
    (run.path / "checkpoints" / "step-0000001" / "notes.txt").write_text("mine")
    for remains in (".result.json.77.tmp", "plots/.curves.png.77.tmp"):
        (run.path / remains).touch()
    shutil.copytree(
        run.path / "checkpoints" / "step-0000002", run.path / "checkpoints" / ".step-0000009.tmp"
    )
    with run.lock():
        for step in (3, 4):
            run.save_checkpoint(checkpoint(step))
    assert all((run.path / place).read_text() == "mine" for place in places)
    left = {path.name for path in (run.path / "checkpoints" / "step-0000001").iterdir()}
    assert left == {"notes.txt"}
    assert not list(run.path.rglob("*.77.tmp"))
    assert not (run.path / "checkpoints" / ".step-0000009.tmp").exists()
    assert [found.step for found in run.checkpoints()] == [4, 3]


def test_a_link_among_the_remains_is_not_followed(run, tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "state.json").write_text("mine")
    for name in (".step-0000009.tmp", ".step-0000009.old", ".best.tmp"):
        assert REMAINS.fullmatch(name)
        (run.path / "checkpoints" / name).symlink_to(tmp_path / "victim")
    run.save_checkpoint(checkpoint(3))
    assert (tmp_path / "victim" / "state.json").read_text() == "mine"


# --------------------------------------------------------------------------- what is no plain file


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("make", [pipe, bound, Path.mkdir], ids=["pipe", "socket", "folder"])
@pytest.mark.parametrize(
    "name",
    ["recipe.toml", "result.json", "metrics.jsonl", "predictions.npz", "environment.json"],
)
@pytest.mark.timeout(20)
def test_what_is_no_file_is_refused_at_once(tmp_path, make, name):
    run = small(tmp_path)
    (run.path / name).unlink()
    make(run.path / name)
    with pytest.raises(InputError, match=f"{name}: is a .*, not a file; put the file"):
        write_report(run)
    with pytest.raises(InputError, match=f"there are no runs|{name}: is a .*, not a file; put"):
        compare(run.path)


@pytest.mark.timeout(20)
def test_a_log_that_is_a_pipe_is_refused_when_it_is_written_to(run):
    for name in ("steps.jsonl", "train.log"):
        (run.path / name).unlink(missing_ok=True)
        os.mkfifo(run.path / name)
        with pytest.raises(ForeignEntry, match="is a named pipe"), run.lock():
            pass
        (run.path / name).unlink()


# ------------------------------------------------------------------------------------------ memory


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(shape: str, version: int = 1, kind: str = "<f4") -> bytes:
    """An array's header that says what no array is."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"
    padded = text.encode() + b"\n"
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(padded))
        + padded
    )


def rewritten(path: Path, **members: bytes) -> None:
    """The npz file with some members replaced or added."""
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    kept |= {f"{name}.npy": content for name, content in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in kept.items():
            archive.writestr(name, content)


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python and NumPy held at the most while it ran."""
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


BAD = {
    "another type": npy(np.zeros((40, 2), np.int64)),
    "objects": header("(40, 2)", kind="|O"),
    "a record": npy(np.zeros((40, 2), [("a", "f4")])),
    "text for numbers": npy(np.full((40, 2), "x")),
    "too many dimensions": npy(np.zeros((1,) * 30, np.float32)),
    "a shape below zero": header("(-40, -2)"),
    "a huge shape": header(f"({10**30}, 2)"),
    "a shape beyond the content": header("(4000000000, 2)"),
    "a long header": header("(40, 2)" + " " * 50_000_000, 2),
    "no finite number": npy(np.full((40, 2), np.nan, np.float32)),
    "another count": npy(np.zeros((41, 2), np.float32)),
    "other classes": npy(np.zeros((40, 3), np.float32)),
    "no classes": npy(np.zeros((40, 0), np.float32)),
    "longer than it says": npy(np.zeros((40, 2), np.float32)) + b"x",
    "a bomb": npy(np.zeros((40, 600_000), np.float32)),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_arrays_that_are_not_what_they_should_be_are_refused_before_they_are_unpacked(
    tmp_path, content
):
    run = small(tmp_path)
    rewritten(run.path / "predictions.npz", logits=content)
    assert peak(lambda: write_report(run)) < 16_000_000
    assert peak(lambda: compare(run.path)) < 16_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": npy(np.full(40, 2))},
        {"labels": npy(np.full(40, -1))},
        {"classes": npy(np.array(["ant"]))},
        {"names": npy(np.array(["a"] * 39))},
        {"classes": npy(np.array(["ant", "bee"])).replace(b"a\0\0\0", b"\xff\xff\xff\xff")},
        {"val_logits": npy(np.zeros((3, 2), np.float32))},
    ],
    ids=str,
)
def test_predictions_that_do_not_fit_together_are_refused(tmp_path, changes):
    run = small(tmp_path)
    rewritten(run.path / "predictions.npz", **changes)
    with pytest.raises(InputError, match=r"predictions\.npz: is damaged"):
        write_report(run)


def test_a_member_that_nobody_asks_for_costs_nothing(tmp_path):
    run = small(tmp_path)
    rewritten(run.path / "predictions.npz", unused=npy(np.zeros(40_000_000, np.uint8)))
    rewritten(run.path / "examples.npz", unused=npy(np.zeros(40_000_000, np.uint8)))
    import tracemalloc

    tracemalloc.start()
    run.predictions()
    run.examples(40, 2)
    assert tracemalloc.get_traced_memory()[1] < 16_000_000
    tracemalloc.stop()


def test_an_encrypted_or_a_repeated_member_is_refused(tmp_path):
    run = small(tmp_path)
    path = run.path / "predictions.npz"
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("logits.npy", npy(np.zeros((40, 2), np.float32)))
    with pytest.raises(InputError, match="twice"):
        run.predictions()
    place = whole.index(b"PK\x01\x02") + 8  # the flags in the list of contents
    path.write_bytes(whole[:place] + b"\1" + whole[place + 1 :])
    with pytest.raises(InputError, match="packed as no run does it"):
        run.predictions()


@pytest.mark.parametrize(
    "changes",
    [
        {"images": npy(np.zeros((3, 600, 600, 3), np.uint8))},
        {"images": npy(np.zeros((3, 16, 16, 4), np.uint8))},
        {"indices": npy(np.array([3, 2, 1]))},
        {"cam_indices": npy(np.array([-1]))},
        {"losses": npy(np.zeros(1_000_000, np.int64))},
        {"wrong": npy(np.array([10**9]))},
        {"field_sides": npy(np.array([np.nan]))},
        {"fields": npy(np.zeros((1, 16), np.float32))},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_examples_that_do_not_fit_together_are_refused(tmp_path, changes):
    run = small(tmp_path)
    rewritten(run.path / "examples.npz", **changes)
    with pytest.raises(InputError, match=r"examples\.npz: is damaged"):
        write_report(run)
    to_html(compare_twice(run))  # a page does well without pictures


def compare_twice(run: RunDir) -> Any:
    """A comparison of a run with itself."""
    twin = run.path.parent / "twin"
    shutil.copytree(run.path, twin)
    return compare([run.path, twin])


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "recipe.toml"])
def test_a_sparse_file_of_many_gigabytes_is_refused_unread(tmp_path, name):
    run = small(tmp_path)
    os.truncate(run.path / name, 4 * 2**30)
    assert peak(lambda: write_report(run)) < 16_000_000


def test_a_line_of_many_megabytes_is_refused(run):
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"epoch": 1, "x": "' + b"x" * 20_000_000 + b'"}\n')
    assert peak(lambda: run.epochs()) < 8_000_000


def test_a_list_of_tensors_that_contradicts_its_length_is_refused(run):
    folder = run.path / "checkpoints" / "step-0000002"
    listed = {"model.w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 2**62]}}
    content = json.dumps(listed).encode()
    for head in (struct.pack("<Q", len(content)), struct.pack("<Q", 2**40)):
        (folder / "tensors.safetensors").write_bytes(head + content + b"\0" * 12)
        reseal(folder)
        assert run.newest_weights()[0] == 1
        assert run.newest_checkpoint().step == 1


def reseal(folder: Path, **changes: Any) -> None:
    """Give a checkpoint the checksums of what is in it now."""
    import hashlib

    from onecycle.run_dir.checkpoints import _state_content

    sealed = json.loads((folder / "state.json").read_bytes()) | changes
    tensors = (folder / "tensors.safetensors").read_bytes()
    sealed["tensors_sha256"] = hashlib.sha256(tensors).hexdigest()
    sealed["state_sha256"] = hashlib.sha256(_state_content(sealed)).hexdigest()
    (folder / "state.json").write_text(json.dumps(sealed))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "train.log", "steps.jsonl/../x"])
def test_a_seal_of_another_file_is_refused(run, tmp_path, name):
    (run.path.parent / "secret").write_bytes(b"")
    seal = {"bytes": 0, "sha256": "0" * 64}
    for folder in (run.path / "checkpoints").iterdir():
        reseal(folder, logs={name: seal})
    with pytest.raises(InputError, match="every checkpoint in it is damaged"):
        run.checkpoint_to_go_on_from()


def test_what_is_no_plot_is_not_embedded(tmp_path):
    run = small(tmp_path)
    png = (run.plots / "curves.png").read_bytes()
    wide = png[:16] + struct.pack(">I", 10**6) + png[20:]
    for content in (b"<svg onload=alert(1)>", b"", wide):
        (run.plots / "curves.png").write_bytes(content)
        with pytest.raises(InputError, match=r"curves\.png: is damaged \(not a plot in PNG\)"):
            write_report(run)


def test_hashing_piece_by_piece_gives_the_hash_of_the_tensors(run):
    from onecycle.run_dir.provenance import tensors_sha256

    tensors = {"b": torch.randn(700, 900), "a.c": torch.arange(5), "a": torch.zeros(0, 3)}
    named = {f"model.{name}": tensor for name, tensor in tensors.items()}
    run.save_checkpoint(Checkpoint(3, named | {"optimizer.0.x": torch.ones(9)}, {"step": 3}))
    assert run.newest_weights() == (3, tensors_sha256(tensors))


# ---------------------------------------------------------------------------------- real commands


@fault("a folder or a file in the run folder is a link, a pipe or a socket")
def test_checkpoints_that_are_a_link_are_refused_by_every_command(forks: Forks, tmp_path: Path):
    assert forks.run(f"{TINY} --runs {tmp_path / 'runs'}").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    victim = tmp_path / "victim"
    shutil.move(folder / "checkpoints", victim)
    for name in (".project.old", ".work.tmp", "step-9999999"):
        (victim / name).mkdir()
        (victim / name / "mine").write_text("mine")
    (folder / "checkpoints").symlink_to(victim)
    before = tree(victim)
    for command in ("evaluate", "report", "resume --verify"):
        done = forks.run(f"{command} {folder}")
        assert done.code == 2, done
    (folder / "result.json").unlink()
    done = forks.run(f"resume {folder}")
    assert done.code == 2
    assert_told("a folder or a file in the run folder is a link, a pipe or a socket", done.err)
    assert tree(victim) == before


LIMITED = """
import resource
lines = open("/proc/self/status").read().splitlines()
used = next(int(line.split()[1]) for line in lines if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20, -1))
"""


@fault("a stranger's arrays that unpack to gigabytes")
def test_a_report_of_hostile_arrays_takes_little_memory(forks: Forks, tmp_path: Path):
    run = small(tmp_path)
    path = run.path / "predictions.npz"
    zeros = npy(np.zeros((1, 1), np.uint8))[:128] + b"\0" * (1 << 30)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("unused.npy", zeros)
    for command in ("report", "compare"):
        done = forks.run(f"{command} {run.path}", code=LIMITED)
        assert done.code == 0, done
    rewritten(path, logits=npy(np.zeros((40, 2_000_000), np.float32)))
    for command in ("report", "compare"):
        done = forks.run(f"{command} {run.path}", code=LIMITED)
        assert done.code == 2, done
        assert_told("a stranger's arrays that unpack to gigabytes", done.err)
