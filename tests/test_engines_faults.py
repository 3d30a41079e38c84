"""Real processes of clusters are killed: each trial goes on and ends with the same bits."""

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from reliability import assert_told, fault
from small_slurm import installed, processes, send
from test_trials_faults import wait_until_none_works, workers
from trained import assert_same_bits

HERE = Path(__file__).parent
NAMES = ("seed=0", "seed=1")
TRIALS = (
    "trials demo --seeds 2 --epochs 20 --train-limit 640 --test-limit 40 --image-size 16 "
    "--width 0.0625 --batch-size 32 --crop-padding 2 --cutout 0 --precision fp32 --lr-max 0.05 "
    "--lr-min 0.005 --checkpoint-minutes 1e-3"
)
"""Two trainings of 400 steps."""

pytestmark = pytest.mark.timeout(900)

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
needs_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="needs submitit"
)


def begun(line: str, environ: Mapping[str, str] = os.environ) -> "subprocess.Popen[str]":
    """A driver."""
    return subprocess.Popen(
        [sys.executable, "-m", "onecycle", *shlex.split(line)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(environ),
    )  # fmt: skip


def ended(driver: "subprocess.Popen[str]") -> tuple[str, str]:
    """What it printed, once it has ended well."""
    out, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    return out, err


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trials, undisturbed, on this machine alone."""
    folder = tmp_path_factory.mktemp("whole") / "t"
    ended(begun(f"{TRIALS} --into {folder} --jobs 2 --threads 2"))
    return folder


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def all_train(folder: Path) -> bool:
    """Whether each trial has trained an epoch."""
    return all((folder / name / "metrics.jsonl").is_file() for name in NAMES)


def worker_of(folder: Path, name: str) -> int:
    """The process that works on a trial, not the shell before it; 0 if there is none."""
    for process in workers(folder):
        with suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            if words[0] != b"sh" and os.fsencode(name) in words:
                return process
    return 0


def assert_quiet(errors: str) -> None:
    """Nothing was printed but the lines of this package."""
    for line in errors.splitlines():
        assert re.match(r"trials: |seed=\d: |\d of 2 trials finished", line), errors


def assert_all_same(whole: Path, folder: Path) -> None:
    for name in NAMES:
        assert_same_bits(whole / name, folder / name)
    wait_until_none_works(folder)


# -------------------------------------------------------------------------------------------- Ray


@pytest.fixture
def cluster() -> "Iterator[subprocess.Popen[str]]":
    """A Ray cluster of two nodes; a line on its standard input kills the second."""
    environ = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "ray_cluster.py")], env=environ, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.communicate(timeout=60)
    wait_for(lambda: rays(process.pid) == [])


def rays(cluster: int) -> list[str]:
    """Servers of Ray that a process has started, or that nobody looks after any more."""
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            command = os.fsdecode(path.with_name("cmdline").read_bytes().split(b"\0")[0])
            parent = re.search(r"PPid:\t(\d+)", path.read_text())
            if parent and int(parent[1]) in (1, cluster) and "/ray/core/src/ray/" in command:
                found.append(command)
    return found


def address_of(cluster: "subprocess.Popen[str]") -> str:
    assert cluster.stdout
    return cluster.stdout.readline().strip()


@needs_ray
@fault("a worker, its holder and a node of a Ray cluster are killed while trials run")
def test_trials_go_on_after_kills_on_a_ray_cluster(
    cluster: "subprocess.Popen[str]", whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    driver = begun(f"{TRIALS} --into {folder} --engine ray --address {address_of(cluster)}")
    wait_for(lambda: all_train(folder))
    os.kill(worker_of(folder, "seed=0"), signal.SIGKILL)
    assert cluster.stdin
    cluster.stdin.write("kill\n")
    cluster.stdin.flush()
    out, err = ended(driver)
    assert_all_same(whole, folder)
    assert_told("a worker, its holder and a node of a Ray cluster are killed while trials run", err)
    assert "it goes on" in err
    assert_quiet(err)
    assert out.startswith("1 recipe, 2 runs, on shapes")


@needs_ray
@pytest.mark.faults
def test_without_an_address_a_quiet_cluster_is_started_and_ended(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "t"
    driver = begun(f"{TRIALS} --into {folder} --engine ray --json")
    wait_for(lambda: all_train(folder))
    driver.kill()
    driver.communicate(timeout=60)
    wait_until_none_works(folder)
    assert len(list(folder.glob("*/checkpoints/step-*"))) >= 2
    out, err = ended(begun(f"trials --into {folder} --json"))
    assert_all_same(whole, folder)
    assert json.loads(out)["failed"] == 0
    assert_quiet(err)


@needs_ray
@pytest.mark.faults
def test_a_stopped_driver_has_the_workers_on_ray_save(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    driver = begun(f"{TRIALS} --into {folder} --engine ray".replace("--epochs 20", "--epochs 4000"))
    wait_for(lambda: all_train(folder))
    driver.terminate()
    out, err = driver.communicate(timeout=90)
    assert driver.returncode == 143
    assert err.splitlines()[-1] == f"onecycle: stopped; go on with: onecycle trials --into {folder}"
    assert out == ""
    assert workers(folder) == []
    assert not list(folder.glob("*/.owner"))


# ------------------------------------------------------------------------------------------ SLURM


@needs_submitit
@fault("a job of SLURM is killed, warned or cancelled while trials run")
def test_trials_go_on_after_their_jobs_are_killed(whole: Path, tmp_path: Path) -> None:
    folder, environ = tmp_path / "t", installed(tmp_path / "slurm")
    queue = tmp_path / "slurm/queue"
    driver = begun(f"{TRIALS} --into {folder} --engine slurm --threads 1", environ)
    wait_for(lambda: all_train(folder))
    number = (folder / ".workers/seed=1.job").read_text().strip()
    old, warned = (worker_of(folder, name) for name in NAMES)
    os.kill(old, signal.SIGKILL)
    send(number, "USR2")  # as before the time limit
    wait_for(lambda: worker_of(folder, "seed=1") not in (0, warned))
    assert worker_of(folder, "seed=1") in processes(number)  # the same job runs again
    wait_for(lambda: worker_of(folder, "seed=0") not in (0, old))
    driver.kill()
    driver.communicate(timeout=60)
    assert len(list(queue.glob("*.sh"))) == 3
    _, err = ended(begun(f"trials --into {folder}", environ))
    assert_all_same(whole, folder)
    assert len(list(queue.glob("*.sh"))) == 3  # the jobs needed no driver, and were waited for
    assert_quiet(err)


@needs_submitit
@pytest.mark.faults
def test_a_cancelled_job_is_submitted_again(whole: Path, tmp_path: Path) -> None:
    folder, environ = tmp_path / "t", installed(tmp_path / "slurm")
    driver = begun(f"{TRIALS} --into {folder} --engine slurm --threads 1", environ)
    wait_for(lambda: all_train(folder))
    send((folder / ".workers/seed=1.job").read_text().strip(), "CONT", "TERM")  # as scancel does
    _, err = ended(driver)
    assert_all_same(whole, folder)
    assert "seed=1: its worker was asked to end and has saved; it goes on from there\n" in err
    assert_quiet(err)


@needs_submitit
@pytest.mark.faults
def test_a_stopped_driver_cancels_the_jobs(tmp_path: Path) -> None:
    folder, environ = tmp_path / "t", installed(tmp_path / "slurm")
    line = f"{TRIALS} --into {folder} --engine slurm --threads 1 --slurm partition=low,time=9"
    driver = begun(line.replace("--epochs 20", "--epochs 4000"), environ)
    wait_for(lambda: all_train(folder))
    driver.terminate()
    _, err = driver.communicate(timeout=90)
    assert driver.returncode == 143
    assert err.splitlines()[-1] == f"onecycle: stopped; go on with: onecycle trials --into {folder}"
    assert workers(folder) == []
    assert not list(folder.glob("*/.owner"))
    script = (tmp_path / "slurm/queue/1.sh").read_text(encoding="utf-8")
    options = re.findall(r"^#SBATCH --(.*)$", script, flags=re.MULTILINE)
    asked = {"cpus-per-task=1", "partition=low", "time=9", "job-name=seed=0", "requeue"}
    assert asked <= set(options)


@needs_submitit
@pytest.mark.faults
def test_submitits_own_executor_carries_out_trials(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / ".workers").mkdir()
    (folder / "trials.json").write_bytes((whole / "trials.json").read_bytes())
    driver = subprocess.Popen(
        [sys.executable, str(HERE / "submitit_trials.py"), str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: all_train(folder))
    os.kill(worker_of(folder, "seed=1"), signal.SIGKILL)
    out, err = ended(driver)
    assert out == "seed=1: its process was killed (signal 9); it goes on where it was saved\n", err
    assert_all_same(whole, folder)
