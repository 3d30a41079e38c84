"""Going on with a run: the same bits, or a list of what is not as it was; and proving both."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import TINY, Stopper, assert_same_outcome, rows

from onecycle import runtime, training
from onecycle.config import Recipe, override, read_recipe, to_toml
from onecycle.data.batches import Batches
from onecycle.engine import loop
from onecycle.errors import InputError, Interrupted
from onecycle.progress import Progress
from onecycle.run_dir import RunDir


class Notes(Progress):
    """Keeps what was noted and which stages began."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.stages: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        self.stages.append(title)


def stopped(recipe: Recipe, runs: Path, steps: int = 6) -> Path:
    """A run that was stopped after some steps."""
    with pytest.raises(Interrupted) as interrupted:
        training.train(recipe, runs=runs, progress=Stopper(steps), report=False)
    assert interrupted.value.run is not None
    return Path(interrupted.value.run)


def edit(run: Path, **changes: Any) -> None:
    """Edit recipe.toml as a person would."""
    recipe = override(read_recipe(run / "recipe.toml"), **changes)
    (run / "recipe.toml").write_text(to_toml(recipe), encoding="utf-8")


def set_fact(run: Path, **facts: Any) -> None:
    """Have environment.json tell of another machine."""
    path = run / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


# ----------------------------------------------------------------------------------- the same bits

VARIANTS = {
    "adamw": {"optimizer": "adamw", "lr_max": 3e-3, "lr_min": 3e-4},
    "bf16": {"precision": "bf16"},
    "dropout and l1": {"dropout": 0.3, "l1": 1e-5},
    "cycled momentum": {"cycle_momentum": True},
    "weights and validation": {"class_weights": "balanced", "val_fraction": 0.2},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_training_goes_on_to_the_same_bits(variant, tmp_path):
    recipe = override(TINY, epochs=2, **VARIANTS[variant])
    whole = training.train(recipe, runs=tmp_path / "whole", report=False).path
    resumed = training.resume(stopped(recipe, tmp_path / "stopped", 5), report=False).path
    assert_same_outcome(whole, resumed)


def test_checkpoints_within_an_epoch_change_nothing(tmp_path, monkeypatch):
    saved = []
    save = RunDir.save_checkpoint
    monkeypatch.setattr(
        RunDir, "save_checkpoint", lambda run, point: (saved.append(point.step), save(run, point))
    )
    seldom = training.train(
        override(TINY, checkpoint_minutes=0.0), runs=tmp_path, report=False
    ).path
    assert saved == [4, 8, 12]  # the ends of the epochs
    saved.clear()
    often = training.train(
        override(TINY, checkpoint_minutes=1e-9), runs=tmp_path, report=False
    ).path
    assert saved == list(range(1, 13))
    assert_same_outcome(seldom, often)


def test_the_interval_is_that_of_the_recipe(tmp_path, monkeypatch):
    """On a clock that moves a minute each time that it is read after a step."""
    now = 0.0

    def perf_counter() -> float:
        return now

    step = loop.step

    def slow_step(*arguments: Any) -> loop.Reading:
        nonlocal now
        now += 60.0
        return step(*arguments)

    monkeypatch.setattr(loop.time, "perf_counter", perf_counter)
    monkeypatch.setattr(loop, "step", slow_step)
    saved = []
    monkeypatch.setattr(RunDir, "save_checkpoint", lambda _, point: saved.append(point.step))
    recipe = override(TINY, train_limit=640, epochs=2, checkpoint_minutes=3.0)  # 10 steps an epoch
    training.train(recipe, runs=tmp_path, report=False)
    assert saved == [3, 6, 9, 10, 13, 16, 19, 20]


# ---------------------------------------------------------------------------------- the range test


def test_rates_that_were_found_are_kept(tmp_path, monkeypatch):
    """Killed after the range test's record was written and before the recipe was."""
    recipe = override(TINY, lr_max="auto", lr_min="auto", lr_steps=15, epochs=1)
    whole = training.train(recipe, runs=tmp_path / "whole", report=False).path

    class Killed(BaseException):
        pass

    def die(run: RunDir, recipe: Recipe) -> None:
        if recipe.lr_max != "auto":
            raise Killed
        write_recipe(run, recipe)

    write_recipe = RunDir.write_recipe
    monkeypatch.setattr(RunDir, "write_recipe", die)
    with pytest.raises(Killed):
        training.train(recipe, runs=tmp_path / "killed", report=False)
    monkeypatch.setattr(RunDir, "write_recipe", write_recipe)
    (run,) = (tmp_path / "killed").iterdir()
    assert read_recipe(run / "recipe.toml").lr_max == "auto"
    notes = Notes()
    resumed = training.resume(run, progress=notes, report=False).path
    assert "learning rate range test" not in " ".join(notes.stages)
    assert_same_outcome(whole, resumed)


def test_a_damaged_record_of_the_rates_is_made_again(tmp_path):
    recipe = override(TINY, lr_max="auto", lr_min="auto", lr_steps=15, epochs=1)
    run = stopped(recipe, tmp_path, 2)
    found = read_recipe(run / "recipe.toml").lr_max
    (run / "lr_range_test.json").write_bytes(b"{")
    assert training.resume(run, report=False).result["lr_max"] == found  # the recipe has them
    assert (run / "lr_range_test.json.damaged").read_bytes() == b"{"
    other = stopped(recipe, tmp_path, 2)
    (other / "lr_range_test.json").write_bytes(b"{")
    edit(other, lr_max="auto", lr_min="auto", lr_final="auto")
    for point in (other / "checkpoints").iterdir():
        for file in point.iterdir():
            file.unlink()
        point.rmdir()
    notes = Notes()
    assert training.resume(other, progress=notes, report=False).result["lr_max"] == found
    assert any("lr_range_test.json: is damaged" in line for line in notes.lines)


# --------------------------------------------------------------------------------- what differs now

DIFFERENCES: dict[str, tuple[Callable[[Path], None], str]] = {
    "an edited recipe": (
        lambda run: edit(run, weight_decay=1e-3, flip=0.25),
        "weight_decay was 0.0005 and is now 0.001; flip was 0.5 and is now 0.25",
    ),
    "an edited rate": (lambda run: edit(run, lr_max=0.04), "lr_max was 0.05 and is now 0.04"),
    "other data": (
        lambda run: set_fact(run, data_fingerprint="0" * 16),
        "data_fingerprint was 0000000000000000 and is now ",
    ),
    "another torch": (
        lambda run: set_fact(run, versions={"torch": "1.0"}),
        f"torch was 1.0 and is now {torch.__version__}",
    ),
    "other kernels": (
        lambda run: set_fact(run, kernels="pytorch (none)"),
        "kernels was pytorch (none) and is now compiled",
    ),
    "another CPU": (
        lambda run: set_fact(run, cpu="Z80"),
        f"cpu was Z80 and is now {runtime.cpu_model()}",
    ),
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_what_would_change_the_result_is_refused_or_allowed_and_recorded(difference, tmp_path):
    run = stopped(TINY, tmp_path)
    change, told = DIFFERENCES[difference]
    change(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="--allow-differences") as refused:
        training.resume(run, report=False)
    assert told in str(refused.value)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    notes = Notes()
    result = training.resume(run, allow_differences=True, progress=notes, report=False).result
    names = [entry["what"] for entry in result["allowed_differences"]]
    assert all(f"{name} was" in told for name in names)
    assert {entry["step"] for entry in result["allowed_differences"]} == {6}
    assert len(
        [line for line in notes.lines if line.startswith("different since the run began: ")]
    ) == len(names)
    resumed = json.loads((run / "environment.json").read_text())["resumed"]
    assert [entry["step"] for entry in resumed] == [6]
    assert json.loads((run / "result.json").read_text()) == result


def test_another_number_of_threads_is_refused_and_the_same_one_is_the_default(tmp_path):
    run = stopped(TINY, tmp_path)
    with pytest.raises(InputError, match="threads was 2 and is now 1"):
        training.resume(run, threads=1, report=False)
    torch.set_num_threads(1)
    assert "allowed_differences" not in training.resume(run, report=False).result
    assert torch.get_num_threads() == 2


def test_a_difference_that_was_allowed_is_the_new_state_of_things(tmp_path):
    run = stopped(TINY, tmp_path)
    with pytest.raises(Interrupted):
        training.resume(run, threads=1, allow_differences=True, progress=Stopper(2), report=False)
    result = training.resume(run, report=False).result  # with one thread again
    assert torch.get_num_threads() == 1
    assert [(d["what"], d["was"], d["now"]) for d in result["allowed_differences"]] == [
        ("threads", 2, 1)
    ]


def test_what_changes_no_bit_may_be_edited(tmp_path):
    """How often to save, and where the same images lie."""
    recipe = override(TINY, epochs=1)
    whole = training.train(recipe, runs=tmp_path / "whole", report=False).path
    run = stopped(recipe, tmp_path / "stopped", 2)
    edit(run, checkpoint_minutes=7.0)
    resumed = training.resume(run, report=False)
    assert "allowed_differences" not in resumed.result
    assert_same_outcome(whole, resumed.path)


@pytest.mark.parametrize(
    "changes", [{"width": 0.25}, {"optimizer": "adamw"}, {"epochs": 1}], ids=str
)
def test_a_checkpoint_of_another_training_is_never_gone_on_from(changes, tmp_path):
    run = stopped(TINY, tmp_path)
    edit(run, **changes)
    with pytest.raises(InputError, match="checkpoint of step 6 is not of the training that"):
        training.resume(run, allow_differences=True, report=False)


def test_a_run_killed_before_its_environment_was_written_goes_on(tmp_path):
    run = RunDir.create(tmp_path, TINY)
    run.write_recipe(override(TINY, epochs=1))
    assert training.resume(run.path, report=False).result["steps"] == 4


def test_many_differences_are_counted(tmp_path):
    run = stopped(TINY, tmp_path)
    edit(run, flip=0.1, cutout=2, seed=3, batch_size=32, momentum=0.8, nesterov=False,
         weight_decay=0.0, l1=0.1)  # fmt: skip
    with pytest.raises(InputError, match="and 2 more"):
        training.resume(run, report=False)


# -------------------------------------------------------------------------------------- damage


def test_a_damaged_log_sends_the_run_back_to_the_checkpoint_before(tmp_path):
    whole = training.train(TINY, runs=tmp_path / "whole", report=False).path
    run = stopped(TINY, tmp_path / "stopped", 10)  # checkpoints after 8 and 10 steps
    lines = (run / "steps.jsonl").read_bytes().splitlines(keepends=True)
    (run / "steps.jsonl").write_bytes(b"".join(lines[:9]))
    notes = Notes()
    resumed = training.resume(run, progress=notes, report=False).path
    assert any("steps.jsonl: is cut short" in line for line in notes.lines)
    assert_same_outcome(whole, resumed)


# -------------------------------------------------------------------------------------- verifying


def test_a_run_repeats_from_one_checkpoint_to_the_next(tmp_path):
    run = training.train(override(TINY, checkpoint_minutes=0.0), runs=tmp_path, report=False).path
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    found = training.verify(run)
    assert found.equal
    assert (found.from_step, found.to_step) == (8, 12)
    assert found.tensors > 50
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


def test_a_run_with_one_checkpoint_is_replayed_from_its_beginning(tmp_path):
    found = training.verify(stopped(TINY, tmp_path, 3))
    assert (found.equal, found.from_step, found.to_step) == (True, 0, 3)


def test_a_replay_that_differs_names_the_first_step_and_tensor(tmp_path, monkeypatch):
    """Other crops from the second step on that is replayed."""
    run = stopped(TINY, tmp_path, 10)
    draws = Batches.draws
    monkeypatch.setattr(Batches, "draws", lambda self, step: draws(self, step + (step > 8)))
    found = training.verify(run)
    assert not found.equal
    assert found.first_step == 9
    assert found.first_tensor == "model.prep.conv.weight"
    assert found.told.startswith(f"step {found.first_step}: loss was ")


def test_one_forged_loss_is_found(tmp_path):
    run = stopped(TINY, tmp_path, 10)
    logged = rows(run, "steps.jsonl")
    logged[9]["loss"] *= 1 + 1e-15
    (run / "steps.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in logged))
    found = training.verify(run)
    assert (found.first_step, found.first_tensor) == (9, None)


def test_one_forged_weight_is_found(tmp_path):
    run = RunDir.open(stopped(TINY, tmp_path, 10))
    newest = next(run.checkpoints())
    newest.tensors["model.layer2.conv.weight"][0, 0, 0, 0] += 1e-7
    run.save_checkpoint(newest)
    found = training.verify(run.path)
    assert (found.first_step, found.first_tensor) == (None, "model.layer2.conv.weight")
    assert "1 of 4,608 values differ" in found.told


def test_nothing_saved_is_nothing_to_verify(tmp_path):
    run = RunDir.create(tmp_path, TINY)
    run.write_recipe(TINY)
    with pytest.raises(InputError, match="has no checkpoint yet; go on with: onecycle resume"):
        training.verify(run.path)


def test_ctrl_c_ends_a_replay(tmp_path):
    run = stopped(TINY, tmp_path, 10)
    stopper = Stopper(1, signal.SIGINT)
    stopper.start = lambda title, *_: setattr(stopper, "active", title == "replaying")  # type: ignore[method-assign]
    with pytest.raises(Interrupted) as interrupted:
        training.verify(run, progress=stopper)
    assert interrupted.value.signal_number == signal.SIGINT
