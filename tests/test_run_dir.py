"""The run folder: nothing half-written, nothing lost, nothing executed, one owner."""

import errno
import io
import json
import os
import pickle
import platform
import re
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onecycle.config import Recipe
from onecycle.errors import InputError, TrainingError
from onecycle.progress import Progress
from onecycle.run_dir import Checkpoint, RunDir, checkpoints, environment, write_atomically
from onecycle.run_dir.checkpoints import read
from onecycle.run_dir.provenance import git_state
from onecycle.run_dir.records import Git


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return new_run(tmp_path / "runs")


def new_run(runs: Path) -> RunDir:
    run = RunDir.create(runs, Recipe(recipe="tiny"))
    run.write_recipe(Recipe(recipe="tiny"))
    return run


def checkpoint(step: int, size: int = 100) -> Checkpoint:
    return Checkpoint(step, {"model.w": torch.full((size,), float(step))}, {"loss_sum": step / 3})


def saved_steps(run: RunDir) -> list[str]:
    return sorted(path.name for path in (run.path / "checkpoints").iterdir())


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class Notes(Progress):
    """Keeps what was noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


# ----------------------------------------------------------------------------- making and opening


def test_a_new_run_has_its_name_and_folders(tmp_path):
    run = RunDir.create(tmp_path / "a b" / "läufe", Recipe(recipe="tiny"))
    assert re.fullmatch(r"tiny-\d{8}-\d{6}-[0-9a-f]{4}", run.path.name)
    assert run.path.parent == tmp_path / "a b" / "läufe"
    assert (run.path / "checkpoints").is_dir()
    assert run.plots.is_dir()
    assert not run.finished


def test_equal_names_in_the_same_second_are_drawn_again(tmp_path, monkeypatch):
    class Stopped:
        @staticmethod
        def now() -> Any:
            import datetime

            return datetime.datetime(2026, 1, 2, 3, 4, 5)

    draws = iter([b"\0\1", b"\0\1", b"\0\1", b"\0\2"])
    monkeypatch.setattr("onecycle.run_dir.datetime", Stopped)
    monkeypatch.setattr("onecycle.run_dir.os.urandom", lambda count: next(draws))
    names = [RunDir.create(tmp_path, Recipe()).path.name for _ in range(2)]
    assert names == ["custom-20260102-030405-0001", "custom-20260102-030405-0002"]


@pytest.mark.parametrize("where", ["file", "file/below", "dangling", "nul\0", "x" * 300])
def test_runs_that_cannot_hold_a_folder(tmp_path, where):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        InputError, match=r"runs: can't make a folder in .*; name another"
    ) as raised:
        RunDir.create(tmp_path / where, Recipe())
    assert "\n" not in str(raised.value)


def test_a_read_only_place_is_an_input_error(tmp_path, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)  # root, who may run the tests, may write anywhere
    with pytest.raises(InputError, match="Permission denied"):
        RunDir.create(tmp_path, Recipe())


@pytest.mark.parametrize("where", ["missing", "file", "empty", "x" * 5000])
def test_what_is_not_a_run_is_not_opened(tmp_path, where):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"^run: .*; name"):
        RunDir.open(tmp_path / where)


def test_a_moved_run_reads_the_same(run, tmp_path):
    with run.lock():
        run.append("steps.jsonl", {"step": 0})
        run.save_checkpoint(checkpoint(1))
        run.save_arrays("predictions.npz", labels=np.arange(3))
        run.write_json("result.json", {"test_accuracy": 0.5})
    here = str(run.path)
    moved = tmp_path / "другое место" / "run 1"
    shutil.copytree(run.path, moved)
    shutil.rmtree(run.path)
    again = RunDir.open(moved)
    assert again.finished
    assert again.read_recipe() == Recipe(recipe="tiny")
    assert again.read_rows("steps.jsonl") == [{"step": 0}]
    assert again.load_arrays("predictions.npz")["labels"].tolist() == [0, 1, 2]
    found = again.newest_checkpoint()
    assert found is not None
    assert found.step == 1
    assert not any(here.encode() in data for data in content(moved).values())


# ------------------------------------------------------------------------------------ whole files


def test_json_keeps_order_and_every_bit(run):
    value = {"z": 0.1 + 0.2, "a": [1e-323, -0.0, 2**70], "Ünï": None, "bytes": "caf\udce9"}
    run.write_json("x.json", value)
    read_back = run.read_json("x.json")
    assert json.dumps(read_back) == json.dumps(value)
    assert "Ünï".encode() in (run.path / "x.json").read_bytes()
    assert run.read_json("absent.json") is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_by_name(run, number):
    run.write_json("x.json", {"a": 1})
    with pytest.raises(TrainingError, match=r"x\.json: curve\.loss\.1 is not a finite number"):
        run.write_json("x.json", {"curve": {"lr": [0.0], "loss": [1.0, number]}})
    assert run.read_json("x.json") == {"a": 1}
    with run.lock(), pytest.raises(TrainingError, match="test_loss"):
        run.append("metrics.jsonl", {"epoch": 1, "test_loss": number})
    assert run.read_rows("metrics.jsonl") == []


@pytest.mark.parametrize("damage", [b"", b"{", b'{"a": 1', b"[1]", b"\xff", b"[" * 100_000])
def test_damaged_json_is_named(run, damage):
    (run.path / "result.json").write_bytes(damage)
    with pytest.raises(InputError, match=r"result\.json: is damaged"):
        run.result()


def test_arrays_come_back_and_repeat_to_the_byte(run):
    arrays = {"logits": np.random.default_rng(0).normal(size=(5, 3)), "names": np.array(["a", "ß"])}
    run.save_arrays("a.npz", **arrays)
    run.save_arrays("b.npz", **arrays)
    assert (run.path / "a.npz").read_bytes() == (run.path / "b.npz").read_bytes()
    loaded = run.load_arrays("a.npz")
    assert set(loaded) == set(arrays)
    assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    with pytest.raises(InputError, match=r"c\.npz: is missing"):
        run.load_arrays("c.npz")


def test_damaged_arrays_never_end_in_a_traceback(run):
    run.save_arrays("a.npz", labels=np.arange(50), names=np.array(["a", "b"]))
    path = run.path / "a.npz"
    whole, expected = path.read_bytes(), run.load_arrays("a.npz")
    refused = 0
    for place in range(0, len(whole), 2):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        for damaged in (flipped, whole[:place]):
            path.write_bytes(damaged)
            try:
                found = run.load_arrays("a.npz")
            except InputError:
                refused += 1
            else:  # flipped where nothing depends on it, such as a date, or in an array's name
                assert all(np.array_equal(found[k], expected[k]) for k in found if k in expected)
    assert refused > len(whole) / 2


@pytest.mark.parametrize("calls", [["fsync"], ["replace", "rename"]])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(run, monkeypatch, calls):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = run.path / "x.json"
    run.write_json("x.json", {"a": 1})
    before = content(run.path)
    for call in calls:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(TrainingError, match=r"x\.json: can't be written: No space left.*; free"):
        run.write_json("x.json", {"a": 2})
    with pytest.raises(TrainingError, match="No space left"):
        run.save_checkpoint(checkpoint(1))
    assert content(run.path) == before
    assert path.exists()
    assert saved_steps(run) == []


def test_a_real_limit_on_file_sizes_leaves_the_last_checkpoint(run):
    run.save_checkpoint(checkpoint(1))
    before = content(run.path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match="can't be written: File too large"):
            run.save_checkpoint(checkpoint(2, size=1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(run.path) == before
    run.save_checkpoint(checkpoint(2, size=1_000_000))
    assert saved_steps(run) == ["step-0000001", "step-0000002"]


def test_a_vanished_folder_is_a_named_failure(run):
    shutil.rmtree(run.path)
    with pytest.raises(TrainingError, match="can't be written: No such file"):
        run.save_checkpoint(checkpoint(1))
    with pytest.raises(TrainingError, match="can't be written: No such file"):
        write_atomically(run.path / "x", b"")


def test_a_path_that_is_not_unicode_is_refused_before_it_is_written(run):
    with pytest.raises(InputError, match="not valid Unicode; rename"):
        run.write_recipe(Recipe(data="caf\udce9"))
    assert run.read_recipe() == Recipe(recipe="tiny")


# ------------------------------------------------------------------------------------------- logs

values = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text()
rows = st.lists(st.dictionaries(st.text(), values), max_size=8)


@settings(max_examples=30)
@given(rows=rows, data=st.data())
def test_rows_come_back_and_a_cut_loses_only_the_last(tmp_path_factory, rows, data):
    run = RunDir(tmp_path_factory.mktemp("rows"))
    with run.lock():
        for row in rows:
            run.append("steps.jsonl", row)
        assert run.read_rows("steps.jsonl") == rows  # at once, before the file is closed
    path = run.path / "steps.jsonl"
    if not rows:
        assert not path.exists()
        return
    whole = path.read_bytes()
    kept = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:kept])
    complete = whole[:kept].count(b"\n")
    assert run.read_rows("steps.jsonl") == rows[:complete]


@pytest.mark.parametrize("damage", [b'{"step": 1', b"7", b"", b"\0\0\0", b'{"\xff": 1}'])
def test_a_damaged_row_before_the_last_is_named(run, damage):
    (run.path / "steps.jsonl").write_bytes(b'{"step": 0}\n' + damage + b'\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"steps\.jsonl: line 2 is damaged; "):
        run.read_rows("steps.jsonl")


def test_a_log_that_is_no_file_is_named(run):
    (run.path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match=r"metrics\.jsonl: is a folder, not a file; put"):
        run.read_rows("metrics.jsonl")


def logged_steps(run: RunDir, first: int, total: int, per_epoch: int, saved: int) -> None:
    """Log as a training does, with a checkpoint after `saved` steps."""
    for step in range(first, total):
        run.append("steps.jsonl", {"step": step, "loss": step / 7})
        if (step + 1) % per_epoch == 0:
            run.append("metrics.jsonl", {"epoch": (step + 1) // per_epoch, "step": step + 1})
        if step + 1 == saved:
            run.save_checkpoint(checkpoint(saved))


@settings(max_examples=30)
@given(
    total=st.integers(0, 12),
    per_epoch=st.integers(1, 5),
    kept=st.integers(0, 12),
    tail=st.sampled_from([b"", b'{"step": 99', b'{"step": 99}\n', b"\0\0\0\n{}\n"]),
)
def test_cutting_back_and_going_on_gives_the_same_logs(
    tmp_path_factory, total, per_epoch, kept, tail
):
    """Whatever a kill or a power cut left after the checkpoint."""
    kept = min(kept, total)
    run = RunDir(tmp_path_factory.mktemp("cut"))
    (run.path / "checkpoints").mkdir()
    with run.lock():
        logged_steps(run, 0, total, per_epoch, kept)
    whole = content(run.path)
    for name in set(whole) & {"steps.jsonl", "metrics.jsonl"}:
        with (run.path / name).open("ab") as file:
            file.write(tail)
    found = run.checkpoint_to_go_on_from()
    assert (found.step if found else 0) == kept
    run.cut_back(found)
    assert [row["step"] for row in run.read_rows("steps.jsonl")] == list(range(kept))
    ends = [row["step"] for row in run.read_rows("metrics.jsonl")]
    assert ends == list(range(per_epoch, kept + 1, per_epoch))
    with run.lock():
        logged_steps(run, kept, total, per_epoch, 0)
    assert content(run.path) == whole


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run with checkpoints after 4 and 8 steps, and four more steps logged."""
    run = new_run(tmp_path_factory.mktemp("logged"))
    with run.lock():
        logged_steps(run, 0, 4, 4, 4)
        logged_steps(run, 4, 12, 4, 8)
    return run


@pytest.mark.parametrize("name", ["steps.jsonl", "metrics.jsonl"])
@given(data=st.data())
def test_a_log_with_a_flipped_bit_or_a_cut_is_never_gone_on_from(logged, name, data):
    """Only what the checkpoint holds by its checksum counts; damage behind it does no harm."""
    path = logged.path / name
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    rows_before = whole[:place].count(b"\n")
    steps = rows_before if name == "steps.jsonl" else 4 * rows_before
    notes = Notes()
    try:
        path.write_bytes(damaged if data.draw(st.booleans()) else whole[:place])
        if steps < 4:
            with pytest.raises(InputError, match=r"\.jsonl: is .*; restore it, or train again"):
                logged.checkpoint_to_go_on_from(notes)
            return
        found = logged.checkpoint_to_go_on_from(notes)
    finally:
        path.write_bytes(whole)
    assert found is not None
    assert found.step == (4 if steps < 8 else 8)
    assert [line for line in notes.lines if name in line] == notes.lines
    assert len(notes.lines) == (steps < 8)


def test_a_checkpoint_that_did_not_seal_the_logs_is_not_gone_on_from(run):
    folder = run.path / "checkpoints"
    checkpoints.save(folder, checkpoint(1))
    with pytest.raises(InputError, match="of a version that did not seal the logs"):
        run.checkpoint_to_go_on_from()
    assert run.newest_checkpoint() is not None  # to be evaluated


def test_train_log_has_a_time_on_every_line(run):
    with run.log() as write:
        write("one")
        write("caf\udce9")
        lines = (run.path / "train.log").read_text(encoding="utf-8").splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d  "
    assert re.fullmatch(stamp + "one", lines[0])
    assert re.fullmatch(stamp + r"caf\\udce9", lines[1])


# ------------------------------------------------------------------------------------ checkpoints


def awkward_tensors() -> dict[str, torch.Tensor]:
    """Everything a training may hold that a plain file of arrays does not."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    return {
        "model.channels_last": weight.to(memory_format=torch.channels_last),
        "model.shared": weight,
        "model.view": weight[1:3],
        "model.transposed": weight[:, 0, 0].T,
        "model.expanded": torch.tensor([1.5]).expand(5),
        "model.strided": torch.arange(10)[::3],
        "model.bf16": weight.bfloat16(),
        "model.empty": torch.zeros(0, 3),
        "model.parameter": torch.nn.Parameter(torch.tensor([float("nan"), -0.0, 1e-45])),
        "model.num_batches_tracked": torch.tensor(2**40),
        "optimizer.0.momentum_buffer": torch.randn(3, generator=generator).double(),
    }


def raw(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def test_a_checkpoint_comes_back_to_the_bit(run):
    tensors = awkward_tensors()
    state = {"loss_sum": 0.1 + 0.2, "nested": {10: [1, None, "ß"], 9: {"b": True, "a": 5e-324}}}
    run.save_checkpoint(Checkpoint(7, tensors, state))
    found = run.newest_checkpoint()
    assert found is not None
    assert found.step == 7
    assert found.state == json.loads(json.dumps(state))
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].shape == tensor.shape
        assert raw(found.tensors[name]) == raw(tensor)


def test_the_last_two_stay_in_the_order_of_their_steps(run):
    for step in (9_999_998, 9_999_999, 10_000_000):
        run.save_checkpoint(checkpoint(step))
    assert saved_steps(run) == ["step-10000000", "step-9999999"]
    found = run.newest_checkpoint()
    assert found is not None
    assert found.step == 10_000_000


def test_best_stays_beside_them(run):
    for step in (1, 2, 3, 4):
        run.save_checkpoint(checkpoint(step))
        if step < 3:
            run.save_best(checkpoint(step))
    assert saved_steps(run) == ["best", "step-0000003", "step-0000004"]
    assert read(run.path / "checkpoints" / "best").step == 2


def test_a_discarded_future_goes(run):
    """A damaged newest checkpoint must not stand where the one before a new one should."""
    for step in (10, 20):
        run.save_checkpoint(checkpoint(step))
    (run.path / "checkpoints" / "step-0000020" / "state.json").write_bytes(b"")
    run.save_checkpoint(checkpoint(15))
    assert saved_steps(run) == ["step-0000010", "step-0000015"]


def test_other_names_are_no_checkpoints(run):
    for name in ("step-", "step-12", "step-00000x9", "step-0000009.bak", ".step-0000009.tmp"):
        (run.path / "checkpoints" / name).mkdir()
    assert run.newest_checkpoint() is None
    shutil.rmtree(run.path / "checkpoints")
    assert run.newest_checkpoint() is None


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = new_run(tmp_path_factory.mktemp("damage"))
    run.save_checkpoint(checkpoint(1))
    run.save_checkpoint(checkpoint(2))
    return run


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@given(data=st.data())
def test_a_flipped_bit_or_a_cut_is_never_believed(two_checkpoints, name, data):
    path = two_checkpoints.path / "checkpoints" / "step-0000002" / name
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    notes = Notes()
    try:
        path.write_bytes(damaged if data.draw(st.booleans()) else whole[:place])
        found = two_checkpoints.newest_checkpoint(notes)
    finally:
        path.write_bytes(whole)
    expected = checkpoint(found.step)
    assert torch.equal(found.tensors["model.w"], expected.tensors["model.w"])
    assert found.state == expected.state
    if found.step == 1:
        assert "step-0000002" in notes.lines[0]
        assert "damaged" in notes.lines[0]
    else:  # white space between JSON's parts carries nothing
        assert name == "state.json"


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_a_missing_file_is_damage_and_all_damaged_is_an_error(run, name):
    run.save_checkpoint(checkpoint(1))
    run.save_checkpoint(checkpoint(2))
    (run.path / "checkpoints" / "step-0000002" / name).unlink()
    found = run.newest_checkpoint()
    assert found is not None
    assert found.step == 1
    (run.path / "checkpoints" / "step-0000001" / name).write_bytes(b"")
    with pytest.raises(InputError, match="every checkpoint in it is damaged; train again"):
        run.newest_checkpoint()


class Hostile:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_in_a_run_is_executed(run, tmp_path):
    canary = tmp_path / "executed"
    pickled = pickle.dumps(Hostile(canary))
    buffer = io.BytesIO()
    torch.save({"model.w": Hostile(canary)}, buffer)
    run.save_checkpoint(checkpoint(1))
    for hostile in (pickled, buffer.getvalue()):
        folder = run.path / "checkpoints" / "step-0000001"
        (folder / "tensors.safetensors").write_bytes(hostile)
        with pytest.raises(InputError, match="damaged"):
            run.newest_checkpoint()
        (run.path / "a.npz").write_bytes(hostile)
        with pytest.raises(InputError, match="damaged"):
            run.load_arrays("a.npz")
    np.savez(run.path / "a.npz", labels=np.array([Hostile(canary)], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        run.load_arrays("a.npz")
    assert not canary.exists()
    pickle.loads(pickled)
    assert canary.exists()  # it does bite where it is let


def test_logs_are_on_disk_before_the_checkpoint_is(run, monkeypatch):
    """Else a power cut could leave a checkpoint whose steps are missing from the log."""
    events: list[tuple[str, object]] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(file: int) -> None:
        events.append(("flush", os.fstat(file).st_ino))
        fsync(file)

    def noted_rename(source: str, target: str, **folders: int) -> None:
        events.append(("rename", target))
        replace(source, target, **folders)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_rename)
    with run.lock():
        run.append("steps.jsonl", {"step": 0})
        run.save_checkpoint(checkpoint(1))
    renamed = events.index(("rename", "step-0000001"))
    flushed = [inode for kind, inode in events[:renamed] if kind == "flush"]
    assert (run.path / "steps.jsonl").stat().st_ino in flushed
    in_it = (run.path / "checkpoints" / "step-0000001").iterdir()
    assert {path.stat().st_ino for path in in_it} <= set(flushed)
    after = [inode for kind, inode in events[renamed:] if kind == "flush"]
    assert (run.path / "checkpoints").stat().st_ino in after


# ----------------------------------------------------------------------------------- real processes

KILLED_AT_EVERY_CALL = """
import os, shutil, signal, sys
from pathlib import Path
import torch
from onecycle.run_dir import Checkpoint, RunDir
from onecycle.run_dir.checkpoints import read

def checkpoint(step):
    return Checkpoint(step, {"w": torch.full((1000,), float(step))}, {"step": step})

def intact(found, steps):
    assert found.step in steps and found.state == {"step": found.step}, found
    assert (found.tensors["w"] == found.step).all()

def work(folder, fatal):
    run, count = RunDir(folder), 0
    def counted(call):
        def killing(*args, **kwargs):
            nonlocal count
            count += 1
            if count == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)
        return killing
    for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "open"):
        setattr(os, name, counted(getattr(os, name)))
    run.save_checkpoint(checkpoint(3))
    run.save_best(checkpoint(3))

base = Path(sys.argv[1]) / "base"
run = RunDir(base)
(base / "checkpoints").mkdir(parents=True)
run.save_checkpoint(checkpoint(1)); run.save_checkpoint(checkpoint(2)); run.save_best(checkpoint(2))
moments = 0
while True:
    folder = Path(sys.argv[1]) / str(moments)
    shutil.copytree(base, folder)
    child = os.fork()
    if child == 0:
        work(folder, moments + 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    run = RunDir(folder)
    intact(run.newest_checkpoint(), (2, 3))
    run.save_checkpoint(checkpoint(4))
    assert run.newest_checkpoint().step == 4
    intact(read(folder / "checkpoints" / "best"), (2, 3))
    left = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert len(left) == 3 and not any(name.startswith(".") for name in left), left
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    moments += 1
print(moments)
"""


@contextmanager
def in_a_process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Python running `code`, dead on leaving whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_kill_at_any_moment_of_saving_loses_nothing(tmp_path):
    with in_a_process(KILLED_AT_EVERY_CALL, tmp_path) as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    assert int(output) > 20


SAVES_FOR_EVER = """
import sys, itertools, torch
from onecycle.run_dir import Checkpoint, RunDir
run = RunDir.open(sys.argv[1])
with run.lock():
    print("locked", flush=True)
    for step in itertools.count(1):
        run.append("steps.jsonl", {"step": step - 1, "text": "x" * 5000})
        run.save_checkpoint(Checkpoint(step, {"w": torch.full((200_000,), float(step))}, {}))
        print(step, flush=True)
"""


def test_the_second_owner_is_refused_and_a_killed_one_leaves_the_run_usable(run):
    with in_a_process(SAVES_FOR_EVER, run.path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "3":
                break
        whom = f"process {process.pid} on {platform.node()} is working on this run; wait"
        with pytest.raises(InputError, match=re.escape(whom)), run.lock():
            pass
        with pytest.raises(InputError, match=re.escape(whom)):
            run.cut_back(None)
        process.kill()
        reported = [int(line) for line in process.stdout]
    found = run.newest_checkpoint()
    assert found is not None
    assert found.step >= max(reported, default=3)
    assert torch.equal(found.tensors["w"], torch.full((200_000,), float(found.step)))
    (run.path / ".steps.jsonl.123.tmp").touch()
    run.cut_back(found)  # the lock died with its owner
    assert [row["step"] for row in run.read_rows("steps.jsonl")] == list(range(found.step))
    assert not list(run.path.glob(".*.tmp"))


def test_one_process_can_not_own_a_run_twice_but_the_owner_may_nest(run):
    with run.lock():
        with run.lock():
            run.cut_back(None)
        other = RunDir.open(run.path)
        with pytest.raises(InputError, match=f"process {os.getpid()} "), other.lock():
            pass
    with RunDir.open(run.path).lock():
        pass


def test_a_folder_that_cannot_be_locked_is_an_input_error(run):
    (run.path / ".lock").mkdir()
    with pytest.raises(InputError, match=r"\.lock: is a folder, not a file; put"), run.lock():
        pass


# ------------------------------------------------------------------------------------ environment


def test_environment_names_what_a_result_depends_on(run):
    found = environment(["onecycle", "train", "caf\udce9"], "cpu", "fp32", 2)
    run.write_record(found)
    assert run.environment() == found
    assert found.versions["torch"] == torch.__version__
    assert found.versions["numpy"] == np.__version__
    assert found.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (found.device, found.precision, found.threads) == ("cpu", "fp32", 2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", found.started)
    written = run.read_json("environment.json")
    names = {"command", "platform", "cpu", "cpu_flags", "kernels", "cuda", "git"}
    assert names <= written.keys()


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_state_is_that_of_the_checkout_alone(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    checkout, other = tmp_path / "check out", tmp_path / "other"
    for folder in (checkout, other):
        folder.mkdir()
        git(folder, "init", "-q")
        (folder / "a").write_text(folder.name)
        git(folder, "add", "a")
        git(folder, "commit", "-q", "-m", "a")
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as inside a hook of another repository
    assert git_state(checkout) == Git(commit=commit, changed=False)
    (checkout / "a").write_text("changed")
    assert git_state(checkout) == Git(commit=commit, changed=True)
    (checkout / "inner").mkdir()
    assert git_state(checkout / "inner") is None


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    assert git_state(tmp_path) is None  # not a repository
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None  # no git


def test_a_git_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("onecycle.run_dir.provenance.GIT_SECONDS", 0.2)
    assert git_state(tmp_path) is None


def test_what_is_new_in_a_folder_survives_a_power_cut(tmp_path, monkeypatch):
    """Of each folder, the names that stood in it when it was last flushed to disk are safe."""
    safe: dict[str, set[str]] = {}
    fsync = os.fsync

    def noted(handle: int) -> None:
        fsync(handle)
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            safe[os.readlink(f"/proc/self/fd/{handle}")] = set(os.listdir(handle))

    monkeypatch.setattr(os, "fsync", noted)
    run = RunDir.create(tmp_path / "a" / "b" / "runs", Recipe())
    with run.lock(), run.log() as write:
        write("begun")
        for name in ("steps.jsonl", "metrics.jsonl"):
            run.append(name, {"step": 0})
            assert name in safe[str(run.path)]
    for folder, names, _ in os.walk(tmp_path):
        assert set(names) <= safe.get(folder, set()), folder
    logs = {"steps.jsonl", "metrics.jsonl", "train.log"}
    assert logs <= safe[str(run.path)]


def test_a_log_that_is_there_costs_no_flush(tmp_path, monkeypatch):
    run = RunDir.create(tmp_path, Recipe())
    with run.lock():
        run.append("steps.jsonl", {"step": 0})
        monkeypatch.setattr(os, "fsync", None)
        run.append("steps.jsonl", {"step": 1})
