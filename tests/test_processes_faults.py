"""Processes of one training that die, hang, or lose each other; torchrun; two hosts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from several import Several, free_port, said
from trained import Forks, assert_same_bits, result_of, rows, run_in

from onecycle.run_dir import RunDir

pytestmark = pytest.mark.faults

TRAIN = (
    "train demo --epochs 3 --train-limit 200 --test-limit 60 --image-size 16 --width 0.125 "
    "--batch-size 64 --micro-batch 22 --cutout 4 --crop-padding 2 --precision fp32 --lr-max 0.05 "
    "--lr-min 0.005 --threads 1 --quiet --no-report"
)
"""12 steps in 3 epochs."""

SLOW = """
import time
from onecycle.data.batches import Batches
cut = Batches.cut
Batches.cut = lambda *given: (time.sleep(0.15), cut(*given))[1]
"""


def logged(runs: Path, steps: int) -> Path:
    """The run that is being made, once it has logged so many steps."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for run in runs.glob("*"):
            if (run / "steps.jsonl").is_file() and len(rows(run, "steps.jsonl")) >= steps:
                return run
        time.sleep(0.02)
    raise AssertionError("no run has come so far")


@pytest.fixture(scope="module")
def whole(several: Several, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nobody stopped."""
    runs = tmp_path_factory.mktemp("whole")
    done = several.run(2, f"{TRAIN} --runs {runs}")
    assert [each.code for each in done] == [0, 0], said(done)
    return run_in(runs)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("steps", [2, 5])
def test_the_death_of_one_ends_all_and_the_run_goes_on(several, whole, tmp_path, victim, steps):
    """The bits are those of a run that was never stopped. No step is lost unless process 0 died."""
    killed: list[float] = []

    def kill(pids: Sequence[int]) -> None:
        logged(tmp_path, steps)
        os.kill(pids[victim], signal.SIGKILL)
        killed.append(time.monotonic())

    done = several.run(2, f"{TRAIN} --runs {tmp_path}", code=SLOW, meanwhile=kill)
    assert time.monotonic() - killed[0] < 30
    assert done[victim].code == -signal.SIGKILL
    assert done[1 - victim].code == 1
    run = run_in(tmp_path)
    who = f"(process {victim} of 2|a process)"
    why = r"\(killed, out of memory, or its machine can't be reached\)"
    go_on = f"go on with: onecycle resume {re.escape(str(run))}"
    expected = f"onecycle: error: {who} has ended {why}; {go_on}\n"
    assert re.fullmatch(expected, said(done)), said(done)
    if victim:
        saved = RunDir.open(run).newest_checkpoint()
        assert saved is not None
        assert saved.step == len(rows(run, "steps.jsonl")) >= steps
    done = several.run(2, f"resume {run} --quiet --no-report")
    assert [each.code for each in done] == [0, 0], said(done)
    assert_same_bits(whole, run)


def test_a_process_that_hangs_ends_all(several, tmp_path):
    """As one does whose machine is gone: no connection is closed."""
    stopped: list[float] = []
    pids_of: list[int] = []

    def stop(pids: Sequence[int]) -> None:
        pids_of.extend(pids)
        logged(tmp_path, 2)
        os.kill(pids[1], signal.SIGSTOP)
        stopped.append(time.monotonic())
        with suppress(ProcessLookupError):
            while time.monotonic() - stopped[0] < 40 and alive(pids[0]):
                time.sleep(0.1)
        stopped.append(time.monotonic())
        os.kill(pids[1], signal.SIGKILL)

    done = several.run(2, f"{TRAIN} --runs {tmp_path}", code=SLOW, meanwhile=stop)
    assert stopped[1] - stopped[0] < 30
    assert done[0].code == 1
    run = run_in(tmp_path)
    assert said(done).count("\n") == 1
    assert said(done).endswith(f"go on with: onecycle resume {run}\n")
    saved = RunDir.open(run).newest_checkpoint()
    assert saved is not None
    assert saved.step == len(rows(run, "steps.jsonl")) >= 2


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not."""
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_one_that_runs_out_of_memory_says_so_for_all(several, tmp_path):
    code = """
from onecycle.engine import loop
if os.environ["RANK"] == "1":
    def fail(*given):
        raise MemoryError
    loop._backward = fail
"""
    done = several.run(3, f"{TRAIN} --runs {tmp_path}", code=code)
    assert [each.code for each in done] == [1, 1, 1]
    assert (
        said(done) == "onecycle: error: out of memory; lower batch_size or width, or image_size\n"
    )
    assert done[1].err


def test_a_loss_that_is_not_finite_ends_all_with_one_line(several, tmp_path):
    line = TRAIN.replace("--lr-max 0.05", "--lr-max 1e30").replace(
        "--lr-min 0.005", "--lr-min 1e29"
    )
    done = several.run(2, f"{line} --runs {tmp_path}")
    assert [each.code for each in done] == [1, 1]
    assert said(done).startswith("onecycle: error: the loss became non-finite at step")
    assert said(done).count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_is_a_clean_stop(several, whole, tmp_path, number):
    def stop(pids: Sequence[int]) -> None:
        logged(tmp_path, 3)
        for pid in pids:
            os.kill(pid, number)
        for pid in pids:  # torchrun sends Ctrl-C once more
            os.kill(pid, number)

    done = several.run(2, f"{TRAIN} --runs {tmp_path}", code=SLOW, meanwhile=stop)
    run = run_in(tmp_path)
    assert [each.code for each in done] == [128 + number] * 2
    assert said(done) == f"onecycle: stopped; go on with: onecycle resume {run}\n"
    done = several.run(2, f"resume {run} --quiet --no-report")
    assert [each.code for each in done] == [0, 0], said(done)
    assert_same_bits(whole, run)


def test_a_signal_in_the_range_test_stops_all(several, tmp_path):
    def stop(pids: Sequence[int]) -> None:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("*/environment.json")) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(pids[1], signal.SIGTERM)

    line = TRAIN.replace("--lr-max 0.05 --lr-min 0.005", "--lr-steps 100")
    done = several.run(2, f"{line} --runs {tmp_path}", code=SLOW, meanwhile=stop)
    assert [each.code for each in done] == [143, 143]
    run = run_in(tmp_path)
    assert said(done) == f"onecycle: stopped; go on with: onecycle resume {run}\n"
    assert not (run / "lr_range_test.json").exists()


# --------------------------------------------------------------------------------------- torchrun


def torchrun(*words: str, prefix: Sequence[str] = ()) -> list[str]:
    module = "torch.distributed.run"
    return [*prefix, sys.executable, "-m", module, *words]


def test_torchrun_trains_reports_and_goes_on(forks: Forks, tmp_path):
    """One process is killed; what the processes themselves say is one line."""
    logs, runs = tmp_path / "logs", tmp_path / "runs"
    options = ["--nproc-per-node", "2", "--master-port", str(free_port())]
    options += ["--log-dir", str(logs), "--redirects", "3"]
    line = TRAIN.replace("--epochs 3", "--epochs 20").replace(" --no-report", "")
    started = subprocess.Popen(
        torchrun(*options, "-m", "onecycle", *line.split(), "--runs", str(runs)),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run = logged(runs, 4)
    (victim,) = [pid for pid in children(started.pid) if rank_of(pid) == 1]
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    started.communicate()
    assert time.monotonic() - killed < 30
    assert started.returncode == 1
    words = "".join(path.read_text() for path in logs.rglob("stderr.log"))
    assert words == (
        "onecycle: error: process 1 of 2 has ended (killed, out of memory, or its machine can't be "
        f"reached); go on with: onecycle resume {run}\n"
    )
    options[3] = str(free_port())
    done = subprocess.run(
        torchrun(*options, "-m", "onecycle", "resume", str(run), "--quiet"), check=False
    )
    assert done.returncode == 0
    assert result_of(run)["processes"] == 2
    report = (run / "report.html").read_text(encoding="utf-8")
    assert re.search(r">processes</\w+>\s*<\w+[^>]*>2<", report)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid: int) -> int:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return int(next((v[5:] for v in variables if v.startswith(b"RANK=")), b"-1"))


# -------------------------------------------------------------------------------------- two hosts


@pytest.fixture
def two_hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them: 10.77.0.1 and 10.77.0.2."""
    if shutil.which("ip") is None or os.geteuid():
        pytest.skip("needs root and the command ip, to make network namespaces")
    names = tuple(f"onecycle-{os.getpid()}-{side}" for side in "ab")
    ends = tuple(f"oc{os.getpid() % 10**6}{side}" for side in "ab")

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for number, (name, end) in enumerate(zip(names, ends, strict=True), start=1):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield names
    for name in names:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def on_hosts(hosts: tuple[str, str], line: str, folder: Path) -> list[subprocess.Popen[bytes]]:
    """torchrun on each host, with one process; what they say lies in files of `folder`."""
    port = str(free_port())
    found = []
    for number, host in enumerate(hosts):
        options = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(number)]
        options += ["--master-addr", "10.77.0.1", "--master-port", port]
        options += ["--log-dir", str(folder / str(number)), "--redirects", "3"]
        command = torchrun(
            *options, "-m", "onecycle", *line.split(), prefix=["ip", "netns", "exec", host]
        )
        found.append(
            subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
            )
        )
    return found


def test_two_hosts_train_as_one_does(two_hosts, whole, tmp_path):
    started = on_hosts(two_hosts, f"{TRAIN} --runs {tmp_path / 'runs'}", tmp_path)
    assert [each.wait(240) for each in started] == [0, 0]
    assert_same_bits(whole, run_in(tmp_path / "runs"))


def test_a_host_that_cant_be_reached_any_more_ends_all(two_hosts, tmp_path):
    line = TRAIN.replace("--epochs 3", "--epochs 100")
    started = on_hosts(two_hosts, f"{line} --runs {tmp_path / 'runs'}", tmp_path)
    run = logged(tmp_path / "runs", 4)
    end = json.loads(
        subprocess.run(
            ["ip", "-n", two_hosts[1], "-j", "link"], check=True, capture_output=True
        ).stdout
    )
    cable = next(each["ifname"] for each in end if each["ifname"].startswith("oc"))
    subprocess.run(["ip", "-n", two_hosts[1], "link", "set", cable, "down"], check=True)
    cut = time.monotonic()
    workers = [pid for each in started for pid in descendants(each.pid) if rank_of(pid) >= 0]
    while any(alive(pid) for pid in workers) and time.monotonic() - cut < 60:
        time.sleep(0.2)
    seconds = time.monotonic() - cut
    for each in started:
        each.terminate()
    for each in started:
        with suppress(subprocess.TimeoutExpired):
            each.wait(60)
        each.kill()
    assert seconds < 30
    words = "".join(path.read_text() for path in (tmp_path / "0").rglob("stderr.log"))
    assert words.count("\n") == 1, words
    assert words.endswith(f"go on with: onecycle resume {run}\n")
    saved = RunDir.open(run).newest_checkpoint()
    assert saved is not None
    assert saved.step == len(rows(run, "steps.jsonl")) >= 4


def descendants(pid: int) -> list[int]:
    found = []
    with suppress(FileNotFoundError):
        for child in children(pid):
            found += [child, *descendants(child)]
    return found
