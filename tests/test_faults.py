"""Things that go wrong around a run, on purpose and for real: one test for each documented row."""

import json
import os
import pickle
import resource
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_cli_fuzz
import test_compilers
import test_engines_faults
import test_inherited
import test_kills
import test_modes
import test_odd_loops
import test_replaced_layers
import test_run_folder_hostile
import test_run_fuzz
import test_sanitizers
import test_schedule
import test_signals
import test_soak
import test_sweep_faults
import test_thousands_of_classes
import test_trials_faults
import test_untouched
from PIL import Image
from reliability import DOCUMENTED, TESTED, assert_told, fault
from trained import (
    TINY,
    WITHOUT_PICTURES,
    Done,
    Forks,
    assert_same_bits,
    onecycle,
    result_of,
    run_in,
)

from onecycle.errors import InputError
from onecycle.run_dir import RunDir

NOBODY = 65534
"""A user who owns nothing."""

PACKAGES_ARE_OPEN = all(folder.stat().st_mode & 0o001 for folder in Path(np.__file__).parents)
"""Whether another user can import what is installed here, which root need not have thought of."""

as_another_user = pytest.mark.skipif(
    os.getuid() == 0 and not PACKAGES_ARE_OPEN, reason="other users can't read the packages here"
)

AFTER_STEPS = """
from onecycle.engine import loop
add = loop.Readings.add
def add_and(readings, reading):
    add(readings, reading)
    if reading.step + 1 == STEPS:
        happen(readings._training, readings)
loop.Readings.add = add_and
"""
"""Has `happen` be called after `STEPS` steps."""


def after(steps: int, happening: str) -> str:
    """Code by which something happens after some steps of a training; pictures are left out."""
    lines = "\n".join(f"    {line}" for line in happening.strip().splitlines())
    code = f"STEPS = {steps}\ndef happen(training, readings):\n{lines}\n"
    return WITHOUT_PICTURES + AFTER_STEPS + code


def one_line(done: Done, code: int) -> str:
    """The line that a command ended with."""
    assert done.code == code, done
    assert "Traceback" not in done.err
    last = done.err.splitlines()[-1]
    assert last.startswith("onecycle: error: ")
    return last


@pytest.fixture(scope="module")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to, with its pictures and report."""
    runs = tmp_path_factory.mktemp("whole")
    assert forks.run(f"{TINY} --runs {runs}", code="").code == 0
    return run_in(runs)


@pytest.fixture(scope="module")
def stopped_once(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after 10 of its 12 steps, with checkpoints after 8 and 10."""
    runs = tmp_path_factory.mktemp("stopped")
    done = forks.run(f"{TINY} --runs {runs}", code=after(10, "os.kill(os.getpid(), 15)"))
    assert done.code == 128 + signal.SIGTERM
    return run_in(runs)


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that every user can get to, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="onecycle-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def resumed(forks: Forks, run: Path, **more: Any) -> Done:
    return forks.run(f"resume {shlex.quote(str(run))}", **more)


def test_every_row_of_the_table_has_its_test() -> None:
    elsewhere = (
        test_cli_fuzz, test_compilers, test_inherited, test_kills, test_modes,
        test_replaced_layers, test_run_folder_hostile, test_run_fuzz, test_sanitizers,
        test_engines_faults, test_signals, test_soak, test_sweep_faults,
        test_thousands_of_classes, test_trials_faults,
    )  # fmt: skip
    assert {module.__name__ for module in elsewhere}  # they have rows too
    assert set(TESTED) == set(DOCUMENTED) - {"fault", "---"}


# --------------------------------------------------------------------------------------- the disk


@fault("the disk is full while a checkpoint is saved")
def test_the_disk_is_full_while_a_checkpoint_is_saved(forks, whole, tmp_path):
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1))"
    done = forks.run(f"{TINY} --runs {tmp_path}", code=after(5, limited))
    assert_told("the disk is full while a checkpoint is saved", one_line(done, 1))
    run = run_in(tmp_path)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-0000004"]
    assert resumed(forks, run).code == 0
    assert_same_bits(whole, run)


@fault("the disk is full while a log is written")
def test_the_disk_is_full_while_a_log_is_written(forks, whole, tmp_path):
    limited = """
import resource
size = os.stat(readings._run.path / "steps.jsonl").st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, -1))
"""
    done = forks.run(f"{TINY} --runs {tmp_path}", code=after(6, limited))
    assert_told("the disk is full while a log is written", one_line(done, 1))
    run = run_in(tmp_path)
    assert resumed(forks, run).code == 0
    assert_same_bits(whole, run)


@fault("the run folder vanishes during the training")
def test_the_run_folder_vanishes(forks, tmp_path):
    vanish = "import shutil\nshutil.rmtree(readings._run.path)"
    done = forks.run(f"{TINY} --runs {tmp_path}", code=after(6, vanish))
    assert_told("the run folder vanishes during the training", one_line(done, 1))
    assert list(tmp_path.iterdir()) == []


@as_another_user
@fault("the run folder is read-only, or another user's")
def test_the_run_folder_is_read_only(forks, stopped_once, open_to_all):
    run = Path(shutil.copytree(stopped_once, open_to_all / "run"))
    before = RunDir.open(run).read_json("environment.json")
    for path in [run, *run.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = f"os.setgid({NOBODY}); os.setuid({NOBODY})" if os.getuid() == 0 else ""
    other: dict[str, Any] = {"code": code, "cwd": open_to_all}
    done = forks.run(f"evaluate {run} --json", **other)
    assert done.code == 0, done
    assert json.loads(done.out)["test_images"] == 60
    name = "the run folder is read-only, or another user's"
    assert_told(name, one_line(resumed(forks, run, **other), 2))
    assert_told(name, one_line(forks.run(f"report {run}", **other), 1), message=1)
    assert RunDir.open(run).read_json("environment.json") == before
    for path in [run, *run.rglob("*")]:
        path.chmod(0o755)


# ------------------------------------------------------------------------------------------ damage


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


def cut(path: Path, place: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(place * len(content))])


def newest(run: Path) -> Path:
    return run / "checkpoints" / "step-0000010" / "tensors.safetensors"


@fault("the newest checkpoint is cut short")
def test_the_newest_checkpoint_is_cut_short(forks, whole, stopped):
    cut(newest(stopped), 0.7)
    done = resumed(forks, stopped)
    assert_told("the newest checkpoint is cut short", done.err)
    assert_same_bits(whole, stopped)


@fault("a bit of the newest checkpoint is flipped")
def test_a_bit_of_the_newest_checkpoint_is_flipped(forks, whole, stopped):
    flip(newest(stopped), 0.7)
    done = resumed(forks, stopped)
    assert_told("a bit of the newest checkpoint is flipped", done.err)
    assert_same_bits(whole, stopped)


@fault("every checkpoint is damaged")
def test_every_checkpoint_is_damaged(forks, stopped):
    for path in stopped.glob("checkpoints/*/tensors.safetensors"):
        flip(path, 0.3)
    for command in ("resume", "evaluate", "resume --verify"):
        done = forks.run(f"{command} {stopped}")
        assert_told("every checkpoint is damaged", one_line(done, 2))


@fault("a log is cut short")
def test_a_log_is_cut_short(forks, whole, stopped):
    cut(stopped / "steps.jsonl", 0.9)
    done = resumed(forks, stopped)
    assert_told("a log is cut short", done.err)
    assert_same_bits(whole, stopped)


@fault("a bit of a log is flipped")
def test_a_bit_of_a_log_is_flipped(forks, whole, stopped):
    log = stopped / "metrics.jsonl"
    intact = log.read_bytes()
    flip(log, 0.1)
    assert_told("a bit of a log is flipped", one_line(resumed(forks, stopped), 2))
    log.write_bytes(intact)
    flip(stopped / "steps.jsonl", 0.95)
    assert resumed(forks, stopped).code == 0
    assert_same_bits(whole, stopped)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 noisy images in two class folders."""
    draw = np.random.default_rng(0)
    for index in range(24):
        folder = tmp_path / "photos" / ("ant", "bee")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "photos"


@fault("a file of the cache is cut short, or a bit of it flipped")
def test_the_cache_is_damaged(forks, photos, tmp_path):
    line, place = f"data {photos} --json", {"ONECYCLE_CACHE": str(tmp_path / "cache")}
    first = json.loads(forks.run(line, env=place).out)
    (decoded,) = (tmp_path / "cache").glob("folder-*")
    names = sorted(path.name for path in decoded.iterdir())
    assert {"images.npy", "seal.json"} < set(names)
    for name in names:
        for spoil in (cut, flip):
            spoil(decoded / name, 0.6)
            done = forks.run(line, env=place)
            assert done.code == 0, done
            assert json.loads(done.out) == first


# --------------------------------------------------------------------------------------- hostility


class Hostile:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


@fault("a hostile pickle in place of a checkpoint")
def test_a_hostile_pickle_in_place_of_a_checkpoint(forks, stopped, tmp_path):
    content = pickle.dumps(Hostile(tmp_path / "marker"))
    for path in stopped.glob("checkpoints/*/*"):
        path.write_bytes(content)
    (stopped / "predictions.npz").write_bytes(content)
    for command in ("resume", "evaluate", "resume --verify"):
        done = forks.run(f"{command} {stopped}")
        assert_told("a hostile pickle in place of a checkpoint", one_line(done, 2))
    assert not (tmp_path / "marker").exists()
    pickle.loads(content)
    assert (tmp_path / "marker").exists()  # it does bite where it is let


@fault("a hostile pickle as `--data`")
def test_a_hostile_pickle_as_data(forks, tmp_path):
    content = pickle.dumps(Hostile(tmp_path / "marker"))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"]
    for path in [tmp_path / "data.pkl", tmp_path / "data.pt", *(folder / name for name in names)]:
        path.write_bytes(content)
    for source in ("data.pkl", "data.pt", "cifar-10-batches-py"):
        for command in ("data", "train demo --data"):
            one_line(forks.run(f"{command} {tmp_path / source}", cwd=tmp_path), 2)
    assert not (tmp_path / "marker").exists()


# ------------------------------------------------------------------------------------ surroundings


@fault("two processes on one run folder")
def test_two_processes_on_one_run_folder(forks, whole, stopped, tmp_path):
    waiting = after(11, "import time\nopen('waiting', 'w').close()\ntime.sleep(200)")
    answers = []

    def meet(pid: int) -> None:
        deadline = time.monotonic() + 60
        while not (tmp_path / "waiting").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        second = Forks(tmp_path)
        answers.append(second.run(f"resume {stopped}"))
        second.close()
        os.kill(pid, signal.SIGKILL)
        answers.append(pid)

    assert resumed(forks, stopped, code=waiting, cwd=tmp_path, meanwhile=meet).code == -9
    second, pid = answers
    assert_told("two processes on one run folder", one_line(second, 2))
    assert f"process {pid} on {os.uname().nodename}" in second.err
    assert resumed(forks, stopped).code == 0
    assert_same_bits(whole, stopped)


CLOCK_BACK = """
import datetime, time
from onecycle import run_dir, training
from onecycle.engine import loop
real, shift, close_epoch = time.time, 0.0, loop.close_epoch
class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(real() + shift, tz)
def jumping(*arguments):
    global shift
    shift -= 86_400.0
    close_epoch(*arguments)
time.time = lambda: real() + shift
run_dir.datetime = training.results.datetime = Shifted
loop.close_epoch = jumping
"""


@fault("the clock jumps backwards by a day in every epoch")
def test_the_clock_jumps_backwards(forks, whole, tmp_path):
    stop = after(10, "os.kill(os.getpid(), 15)")
    begun = time.perf_counter()
    assert forks.run(f"{TINY} --runs {tmp_path}", code=stop + CLOCK_BACK).code == 143
    run = run_in(tmp_path)
    assert resumed(forks, run, code=WITHOUT_PICTURES + CLOCK_BACK).code == 0
    spent = time.perf_counter() - begun
    assert_same_bits(whole, run)
    result = result_of(run)
    for name in ("train_seconds", "eval_seconds", "total_seconds"):
        assert 0 < result[name] < spent
    stamps = [line[:10] for line in (run / "train.log").read_text().splitlines()]
    assert len(set(stamps)) >= 3  # the clock did jump


@fault("the loss becomes non-finite")
def test_the_loss_becomes_non_finite(forks, tmp_path):
    line = TINY.replace("--lr-max 0.05 --lr-min 0.005", "--lr-max 1e30 --lr-min 1e30")
    done = forks.run(f"{line} --head-scale 1 --runs {tmp_path}")
    assert_told("the loss becomes non-finite", one_line(done, 1))
    assert not (run_in(tmp_path) / "result.json").exists()


@fault("memory runs out")
def test_memory_runs_out(forks, tmp_path):
    limited = """
import resource
lines = open("/proc/self/status").read().splitlines()
used = next(int(line.split()[1]) for line in lines if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + MORE * 2**20, -1))
"""
    line = TINY.replace("--width 0.125", "--width 2")
    for more in (20, 100, 300):
        code = WITHOUT_PICTURES + limited.replace("MORE", str(more))
        assert_told(
            "memory runs out", one_line(forks.run(f"{line} --runs {tmp_path}", code=code), 1)
        )


@fault("an optional dependency is missing")
def test_an_optional_dependency_is_missing(forks):
    lacking = """
from onecycle.cli.commands import COMMANDS, Command
def work(call):
    import MODULE
sys.modules["MODULE"] = None
COMMANDS["recipes"] = Command(work, "needs it")
"""
    done = forks.run("recipes", code=lacking.replace("MODULE", "nbclient"))
    assert_told("an optional dependency is missing", one_line(done, 2))
    done = forks.run("recipes", code=lacking.replace("MODULE", "PIL"))
    assert "pillow is not installed; get it with: pip install --force-" in one_line(done, 2)
    done = forks.run("recipes", code=lacking.replace("MODULE", "nosuchmodule"))
    assert "ModuleNotFoundError" in done.err  # a mistake of the program's own stays visible


@fault("output is piped to a program that stops reading")
def test_output_is_piped_to_a_program_that_stops_reading(tmp_path):
    shell = ["bash", "-c", '"$0" "$@" | head -n 1; exit ${PIPESTATUS[0]}', *python()]
    for line in ("recipes", "train demo --print-config", "summary demo", "train --help"):
        done = onecycle(line, command=shell)
        assert (done.code, done.err) == (0, ""), line
        assert done.out.count("\n") == 1
    shell[2] = '"$0" "$@" 2>&1 | head -n 1; exit ${PIPESTATUS[0]}'
    assert onecycle(f"{TINY} --runs {tmp_path}".replace(" --quiet", ""), command=shell).code == 0
    assert result_of(run_in(tmp_path))["steps"] == 12


def python() -> list[str]:
    import sys

    return [sys.executable, "-m", "onecycle"]


RESIZED = """
import fcntl, pty, struct, termios, threading
leader, follower = pty.openpty()
def resize(columns):
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.kill(os.getpid(), 28)
def drain():
    while True:
        try:
            shown.write(os.read(leader, 65536))
        except OSError:
            return
shown = open("shown", "wb", buffering=0)
resize(100)
os.dup2(follower, 2)
sys.stderr = open(2, "w", encoding="utf-8", closefd=False)
threading.Thread(target=drain, daemon=True).start()
import onecycle.cli.terminal
onecycle.cli.terminal.TerminalProgress.interval = 0.0
os.environ.pop("COLUMNS", None)
os.environ["TERM"] = "xterm-256color"
"""


@fault("the terminal is resized during the training")
def test_the_terminal_is_resized(forks, tmp_path):
    """From 100 columns to 40; the live line is drawn at every step."""
    import re

    narrow = "import time\ntime.sleep(0.2)\nshown.write(b'\\n<NARROW>\\n')\nresize(40)"
    line = f"{TINY} --runs {tmp_path / 'runs'}".replace(" --quiet", "")
    done = forks.run(line, code=RESIZED + after(6, narrow), cwd=tmp_path)
    assert done.code == 0, done
    shown = (tmp_path / "shown").read_text("utf-8", "replace")
    wide, _, tight = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "\n", shown).partition("<NARROW>")
    live = [text for text in re.split(r"[\r\n]+", tight) if text.startswith("training")]
    assert max(len(text) for text in re.split(r"[\r\n]+", wide)) > 40
    assert live
    assert max(map(len, live)) <= 40


@as_another_user
@fault("there is no home directory")
def test_there_is_no_home_directory(forks, photos, tmp_path, open_to_all):
    nobody = "os.environ.pop('HOME', None); os.environ.pop('ONECYCLE_CACHE', None)\n"
    if os.getuid() == 0:
        nobody += "os.setgid(54321); os.setuid(54321)\n"  # a user whom no file knows
    open_to_all.chmod(0o777)
    done = forks.run(f"{TINY} --runs {open_to_all / 'runs'}", code=nobody, cwd=open_to_all)
    assert (done.code, done.err) == (0, "")
    if os.getuid() == 0:
        shutil.copytree(photos, open_to_all / "photos")
        done = forks.run(f"data {open_to_all / 'photos'}", code=nobody, cwd=open_to_all)
        assert_told("there is no home directory", one_line(done, 2))


@fault("the locale is not UTF-8")
def test_the_locale_is_not_utf_8(tmp_path):
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    done = onecycle("recipes", env=plain)
    assert done.code == 0
    assert "?" in done.out
    assert done.out.isascii()
    runs = tmp_path / "läufe"
    done = onecycle(f"{TINY} --json --runs {runs}", env=plain)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["run"] == str(run_in(runs))


@fault("the path of the run folder has spaces and Unicode in it")
def test_spaces_and_unicode_in_the_path(forks, whole, tmp_path):
    runs = tmp_path / "my runs" / "läufe Ж 跑 '\"$x"
    stop = after(6, "os.kill(os.getpid(), 15)")
    assert forks.run(f"{TINY} --runs {shlex.quote(str(runs))}", code=stop).code == 143
    run = run_in(runs)
    assert resumed(forks, run).code == 0
    assert_same_bits(whole, run)
    for command in ("evaluate", "report", "resume --verify"):
        assert forks.run(f"{command} {shlex.quote(str(run))}").code == 0


@fault("the path of the run folder is relative")
def test_a_relative_path(forks, whole, tmp_path):
    stop = after(6, "os.kill(os.getpid(), 15)")
    assert forks.run(f"{TINY} --runs my/runs", code=stop, cwd=tmp_path).code == 143
    run = run_in(tmp_path / "my" / "runs")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    words = f"../../my/runs/{run.name}"
    for command in ("resume", "evaluate", "report", "resume --verify"):
        done = forks.run(f"{command} {words}", cwd=tmp_path / "deep" / "er")
        assert done.code == 0, done
    assert_same_bits(whole, run)


@fault("the run is moved, or copied to another machine")
def test_a_run_is_moved(forks, photos, tmp_path):
    """Trained on a folder of images that is not there any more; stopped, then finished there."""
    line = TINY.replace("--train-limit 200 --test-limit 60", f"--data {photos} --batch-size 6")
    line = line.replace(" --batch-size 64", "")
    stop = after(4, "os.kill(os.getpid(), 15)")
    assert forks.run(f"{line} --runs {tmp_path / 'here'}", code=stop).code == 143
    there = tmp_path / "another machine"
    run = Path(shutil.move(run_in(tmp_path / "here"), there / "run"))
    images = Path(shutil.move(photos, there / "images"))
    where = shlex.quote(str(run))
    done = forks.run(f"resume {where}")
    assert_told("the run is moved, or copied to another machine", one_line(done, 2))
    recipe = (run / "recipe.toml").read_text().replace(str(photos), str(images))
    (run / "recipe.toml").write_text(recipe)
    done = forks.run(f"resume {where}", code="")
    assert done.code == 0, done
    assert "allowed_differences" not in result_of(run)
    copied = Path(shutil.copytree(run, tmp_path / "copy"))
    shutil.rmtree(there / "run")
    images.rename(tmp_path / "elsewhere")
    done = forks.run(f"evaluate {copied} --data {tmp_path / 'elsewhere'} --json")
    assert json.loads(done.out)["test_accuracy"] == result_of(copied)["test_accuracy"]
    (copied / "report.html").unlink()
    assert forks.run(f"report {copied}", code="").code == 0
    told = {path for path in copied.rglob("*.json*") if str(tmp_path / "here") in path.read_text()}
    assert told <= {copied / "environment.json"}  # the command line that was given


@fault("a range test fails, or is stopped by Ctrl-C")
def test_a_range_test_is_stopped():
    test_untouched.test_objects_that_an_own_step_refers_to_are_restored(
        lambda: signal.raise_signal(signal.SIGINT)
    )


@fault("a range test changes what can't be given back")
def test_a_range_test_changes_what_cannot_be_given_back():
    with pytest.warns(UserWarning, match="^range test: ") as heard:
        test_untouched.resized_for_good()
    assert_told("a range test changes what can't be given back", str(heard[0].message))


@fault("a training loop does not fit the range test")
def test_a_loop_does_not_fit_the_range_test():
    batch = {"image": test_odd_loops.x, "label": test_odd_loops.y}
    with pytest.raises(InputError) as caught:
        test_odd_loops.tried([batch] * 3)
    assert_told("a training loop does not fit the range test", str(caught.value))


@fault("a parameter group is added in the middle of a one-cycle schedule")
def test_a_group_is_added_in_the_middle():
    test_schedule.test_a_group_added_later_keeps_its_ratio_to_the_largest_rate(8, tensor=False)
    test_schedule.test_a_cycle_with_an_added_group_is_restored("after", 12)


@fault("a run is resumed or evaluated from another folder")
def test_another_folder(forks, photos, tmp_path):
    """Another folder of the same name lies there."""
    line = TINY.replace("--train-limit 200 --test-limit 60", "--data images --batch-size 6")
    line = line.replace(" --batch-size 64", "")
    Path(shutil.move(photos, tmp_path / "images"))
    stop = after(4, "os.kill(os.getpid(), 15)")
    assert forks.run(f"{line} --runs runs", code=stop, cwd=tmp_path).code == 143
    run = run_in(tmp_path / "runs")
    shutil.copytree(tmp_path / "images", tmp_path / "away" / "images")
    next((tmp_path / "away" / "images").rglob("*.png")).unlink()
    for command in ("resume", "evaluate", "resume --verify"):
        done = forks.run(f"{command} ../runs/{run.name}", cwd=tmp_path / "away")
        assert done.code == 0, done
    assert json.loads((run / "environment.json").read_text())["data_path"] == str(
        tmp_path / "images"
    )


@fault("images are evaluated that the run was not trained on")
def test_other_images(forks, whole, tmp_path):
    for label in ("star", "sun"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(3):
            image = Image.new("RGB", (16, 16), (40 * index, 0, 99))
            image.save(tmp_path / "images" / label / f"{index}.png")
    line = f"evaluate {whole} --data {tmp_path / 'images'}"
    done = forks.run(line)
    assert_told("images are evaluated that the run was not trained on", one_line(done, 2))
    done = forks.run(f"{line} --ignore-unknown-classes --json")
    assert json.loads(done.out)["test_images"] == 3


@fault("something given can't fit the images, or `--runs` can't hold a folder")
def test_a_recipe_that_does_not_fit(forks, tmp_path):
    done = forks.run("train demo --cutout 40", cwd=tmp_path)
    name = "something given can't fit the images, or `--runs` can't hold a folder"
    assert_told(name, one_line(done, 2))
    assert "drawing" not in done.err
    (tmp_path / "file").touch()
    done = forks.run("train demo --runs file", cwd=tmp_path)
    assert "runs: can't make a folder in 'file'" in one_line(done, 2)
    assert "drawing" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_limits_are_those_of_the_children_alone() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
