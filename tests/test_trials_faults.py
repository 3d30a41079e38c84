"""Drivers and workers of trials killed at seeded moments: every trial ends with the same bits."""

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from reliability import assert_told, fault
from trained import assert_same_bits

TRIALS = (
    "trials demo width=0.0625,0.09,0.125 cutout=0,4,8 --seeds 5 --epochs 3 --train-limit 160 "
    "--test-limit 40 --image-size 16 --batch-size 32 --crop-padding 2 --precision fp32 "
    "--lr-max 0.05 --lr-min 0.005 --checkpoint-minutes 1e-9 --threads 2 --jobs 2 --quiet"
)
"""45 trainings of 15 steps, two at a time."""

MOST_KILLS = 10
"""Kills of drivers and workers before the rest is left in peace."""


def begun(line: str) -> "subprocess.Popen[bytes]":
    """A driver."""
    return subprocess.Popen(
        [sys.executable, "-m", "onecycle", *shlex.split(line)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def workers(folder: Path) -> list[int]:
    """The processes that work on the trials of a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"onecycle.trials.worker" in words and os.fsencode(folder) in words:
                found.append(int(path.parent.name))
    return found


def wait_until_none_works(folder: Path) -> None:
    deadline = time.monotonic() + 90
    while workers(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers(folder) == []


@fault("drivers and workers of 45 trials are killed at 10 moments")
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes in /proc")
def test_killed_drivers_and_workers_end_with_the_bits_of_undisturbed_ones(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    driver = begun(f"{TRIALS} --into {whole}")
    assert driver.communicate(timeout=800)[1] == b""
    assert driver.returncode == 0
    names = sorted(path.parent.name for path in whole.glob("*/result.json"))
    assert len(names) == 3 * 3 * 5
    draw, kills = random.Random(20260131), {"driver": 0, "worker": 0}
    line = f"{TRIALS} --into {broken}"
    while sum(kills.values()) < MOST_KILLS and len(list(broken.glob("*/result.json"))) < 45:
        driver = begun(line)
        while driver.poll() is None and sum(kills.values()) < MOST_KILLS:
            while driver.poll() is None and not workers(broken):
                time.sleep(0.1)
            time.sleep(draw.uniform(0.5, 5))
            victims, whom = workers(broken), ("worker", "driver")[sum(kills.values()) % 2]
            if whom == "driver" or not victims:
                driver.kill()
                kills["driver"] += 1
                break
            with suppress(ProcessLookupError):
                os.kill(draw.choice(victims), signal.SIGKILL)
                kills["worker"] += 1
        else:
            driver.kill()
        driver.communicate(timeout=60)
        line = f"trials --into {broken} --quiet"
    assert min(kills.values()) >= 1
    driver = begun(line)  # those before may still be saving
    assert driver.communicate(timeout=800)[1] == b""
    assert driver.returncode == 0
    assert sorted(path.parent.name for path in broken.glob("*/result.json")) == names
    for name in names:
        assert_same_bits(whole / name, broken / name)
    wait_until_none_works(broken)


@fault("the driver of trials is killed and nobody goes on")
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes in /proc")
def test_workers_save_and_end_when_their_driver_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    line = TRIALS.replace("--epochs 3", "--epochs 100000")
    driver = begun(f"{line} --into {folder}")
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*/metrics.jsonl"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(workers(folder)) == 2
    driver.kill()
    driver.communicate(timeout=60)
    wait_until_none_works(folder)
    assert len(list(folder.glob("*/checkpoints/step-*"))) >= 2
    assert not list(folder.glob("*/.owner"))  # they ended by themselves


@fault("the disk is full while trials run")
def test_trials_that_cannot_be_written_are_told_in_one_line_each(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk: no checkpoint fits."""
    folder = tmp_path / "t"
    line = TRIALS.replace("width=0.0625,0.09,0.125 cutout=0,4,8", "--width 0.125")
    line = line.replace("--seeds 5", "--seeds 2")
    words = [sys.executable, "-m", "onecycle", *shlex.split(f"{line} --into {folder}")]
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 64; exec {shlex.join(words)}"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    failed = [text for text in done.stdout.splitlines() if text.startswith("failed: ")]
    assert len(failed) == 2
    for text in failed:
        assert_told("the disk is full while trials run", text)
    assert done.stderr.startswith("onecycle: error: 2 trials of 2 failed (seed=0: ")
    assert done.stderr.count("\n") == 1
