"""Real processes stopped at seeded moments go on to the bits of the one that never was.

A moment is a call that is counted (an update of the range test or the training, a call to the file
system, one of those within the write of a checkpoint), or a time on the clock. Some runs are
stopped twice.
"""

import json
import os
import random
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from reliability import fault
from trained import TINY, WITHOUT_PICTURES, Done, Forks, assert_same_bits, run_in

RECIPE = (
    TINY.replace("--lr-max 0.05 --lr-min 0.005", "--lr-steps 12")
    + " --val-fraction 0.2 --dropout 0.1"
)
"""12 updates in the range test, then 3 epochs of 3."""

OWN = f" --model {Path(__file__).with_name('networks_of_all_kinds.py')}:StochasticDepth"
"""A network of the user's: it draws in training, and the program knows nothing about it."""

COUNTED = """
import json
from onecycle.engine import loop
from onecycle.run_dir import RunDir, checkpoints

counts = {"update": 0, "call": 0, "write": 0}
writing = False

def pass_by(event):
    counts[event] += 1
    if plan and event == plan["event"] and counts[event] == plan["count"]:
        os.kill(os.getpid(), plan["signal"])

def counted(call):
    def counting(*arguments, **more):
        if begun:
            pass_by("write" if writing else "call")
        return call(*arguments, **more)
    return counting

def update(*arguments):
    pass_by("update")
    return train_step(*arguments)

def write(*arguments):
    global writing
    writing = True
    try:
        write_checkpoint(*arguments)
    finally:
        writing = False

def write_recipe(*arguments):
    global begun
    recipe_written(*arguments)
    begun = True  # there is no run before this

for name in ("fsync", "replace", "rename", "mkdir"):
    setattr(os, name, counted(getattr(os, name)))
train_step, loop.train_step = loop.train_step, update
write_checkpoint, checkpoints.write = checkpoints.write, write
recipe_written, RunDir.write_recipe = RunDir.write_recipe, write_recipe
begun = sys.argv[1] == "resume"
code = main()
print(json.dumps(counts))
sys.exit(code)
"""
"""Counts events, and dies at the one that `plan` names: `{event, count, signal}`."""


def counted(forks: Forks, plan: dict[str, object], line: str) -> Done:
    return forks.run(line, code=f"{WITHOUT_PICTURES}\nplan = {plan!r}\n{COUNTED}")


def recipe(model: str) -> str:
    """The command, with a network of the user's if `model` is its flag."""
    if not model:
        return RECIPE
    return RECIPE.replace(" --width 0.125", "").replace(" --dropout 0.1", "") + model


@pytest.fixture(scope="module")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A run that nobody stopped, and how many of each event it had."""
    return undisturbed(forks, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def own(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The same of the user's network."""
    return undisturbed(forks, tmp_path_factory.mktemp("own"), OWN)


def undisturbed(forks: Forks, runs: Path, model: str = "") -> tuple[Path, dict[str, int]]:
    done = counted(forks, {}, f"{recipe(model)} --runs {runs} --checkpoint-minutes 1e-9")
    assert done.code == 0, done.err
    counts = json.loads(done.out.splitlines()[-1])
    assert counts["update"] == 12 + 9
    return run_in(runs), counts


def stop_by_count(forks: Forks, line: str, event: str, count: int, number: int) -> None:
    """Run a command that stops at an event, unless it ends before."""
    done = counted(forks, {"event": event, "count": count, "signal": int(number)}, line)
    assert done.code in ((-9,) if number == signal.SIGKILL else (128 + number, 0)), done
    if done.code > 0:
        assert "onecycle: stopped; go on with: onecycle resume " in done.err


def stop_by_clock(forks: Forks, line: str, runs: Path, seconds: float, number: int) -> None:
    """Run a command and stop it some time after its run folder is there."""

    def stop(pid: int) -> None:
        deadline = time.monotonic() + 200
        while not list(runs.glob("*/train.log")) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    assert forks.run(line, meanwhile=stop).code in (-number, 128 + number, 0)


def stop_and_go_on(
    seed: int, forks: Forks, whole: tuple[Path, dict[str, int]], runs: Path, model: str = ""
) -> None:
    """Train, stop at a seeded moment, perhaps once more when resumed, go on, and compare."""
    reference, counts = whole
    draw = random.Random(seed)
    event = ("write", "call", "update", "clock")[seed % 4]
    number = draw.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
    minutes = 1e-9 if event == "write" else draw.choice((0, 1e-9))
    line = f"{recipe(model)} --runs {runs} --checkpoint-minutes {minutes}"
    if event == "clock":
        stop_by_clock(forks, line, runs, draw.uniform(0, 0.3), number)
    elif event == "update":
        stop_by_count(forks, line, event, draw.randint(1, counts[event]), number)
    else:
        most = counts[event] if minutes or event == "call" else counts[event] // 3
        stop_by_count(forks, line, event, draw.randint(1, most), signal.SIGKILL)
    run = run_in(runs)
    again = f"resume {shlex.quote(str(run))} --quiet{model}"
    if seed % 3 == 0:
        plan = {"event": "write", "count": draw.randint(1, 8), "signal": 9}
        assert counted(forks, plan, again).code in (-signal.SIGKILL, 0)
    done = forks.run(again)
    assert done.code == 0, done.err
    assert_same_bits(reference, run)


@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_was_stopped_ends_with_the_same_bits(seed, forks, whole, tmp_path):
    stop_and_go_on(seed, forks, whole, tmp_path)


@fault("killed at 24 moments: within the range test, a step, the write of a checkpoint, the end")
@pytest.mark.parametrize("seed", range(4, 24))
def test_a_run_that_was_stopped_at_one_of_twenty_moments_ends_with_the_same_bits(
    seed, forks, whole, tmp_path
):
    stop_and_go_on(seed, forks, whole, tmp_path)


@fault("a training of your own network is killed")
@pytest.mark.parametrize("seed", range(24, 32))
def test_a_run_of_an_own_network_ends_with_the_same_bits(seed, forks, own, tmp_path):
    stop_and_go_on(seed, forks, own, tmp_path, OWN)
