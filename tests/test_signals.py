"""Signals that ask real processes to stop: heeded at once, and nothing of the work is lost."""

import shlex
import signal
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from reliability import assert_told, fault
from trained import TINY, WITHOUT_PICTURES, Forks, assert_same_bits, onecycle, result_of, run_in

from onecycle.errors import Interrupted
from onecycle.training.signals import noted_signals

TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP

COME = """
import importlib, time
def come(place, number, calls):
    module, _, name = place.rpartition(".")
    owner = importlib.import_module(module)
    real, left = getattr(owner, name), [calls]
    def sent(*arguments, **more):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), number)
            time.sleep(60)  # work that nobody would wait for
        return real(*arguments, **more)
    setattr(owner, name, sent)
"""
"""Has a signal come at a call of a function, which then takes a minute."""

LONGEST = 30
"""Seconds: on a busy machine, and still far less than the minute."""

RANGES = TINY.replace("--lr-max 0.05 --lr-min 0.005", "--lr-steps 12")


def at(place: str, number: int, calls: int = 1) -> str:
    return f"{COME}come({place!r}, {int(number)}, {calls})\n"


@pytest.fixture(scope="module")
def whole(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody stopped, with its pictures and its report."""
    runs = tmp_path_factory.mktemp("whole")
    assert forks.run(f"{TINY} --runs {runs}", code="").code == 0
    return run_in(runs)


def stopped(forks: Forks, code: str, runs: Path, number: int, line: str = TINY) -> tuple[Path, str]:
    """The run of a process that is stopped, and what it says at its end."""
    began = time.monotonic()
    done = forks.run(f"{line} --runs {runs}", code=code)
    assert time.monotonic() - began < LONGEST
    assert done.code == 128 + number, done
    assert "Traceback" not in done.err
    return run_in(runs), done.err.splitlines()[-1]


# ------------------------------------------------------------- before the training is finished


BEFORE = {
    "the evaluation of the second epoch": ("onecycle.engine.state.predict", 2),
    "the evaluation of the last epoch": ("onecycle.engine.state.predict", 3),
    "the evaluation at the end": ("onecycle.engine.state.predict", 4),
    "the search for equal images": ("onecycle.data.duplicates.find", 1),
    "the choice of examples": ("onecycle.examples.gather", 1),
}


def assert_goes_on(forks: Forks, whole: Path, runs: Path, place: str, calls: int, n: int) -> None:
    run, told = stopped(forks, WITHOUT_PICTURES + at(place, n, calls), runs, n)
    assert told == f"onecycle: stopped; go on with: onecycle resume {shlex.quote(str(run))}"
    assert not (run / "result.json").exists()
    done = forks.run(f"resume {run} --verify --json")
    assert done.code == 0, done
    assert forks.run(f"resume {run}").code == 0
    assert_same_bits(whole, run)


def test_an_evaluation_does_not_hold_up_a_signal(forks, whole, tmp_path):
    """The epoch's row is written when the run goes on; a replay says that all is as it was."""
    place = BEFORE["the evaluation of the second epoch"]
    assert_goes_on(forks, whole, tmp_path, *place, HUP)


@fault("SIGINT, SIGTERM or SIGHUP in an evaluation, the audit or the choice of examples")
@pytest.mark.parametrize("number", [TERM, INT, HUP])
@pytest.mark.parametrize("moment", BEFORE)
def test_a_signal_before_the_end_is_heeded_at_once(forks, whole, tmp_path, moment, number):
    assert_goes_on(forks, whole, tmp_path, *BEFORE[moment], number)


def test_a_closed_terminal_stops_the_range_test_at_once(forks, tmp_path):
    run, told = stopped(forks, at("onecycle.engine.loop.train_step", HUP, 5), tmp_path, HUP, RANGES)
    assert told.endswith(f"onecycle resume {run}")


FOUR_SIGNALS = """
from onecycle.engine import loop
real, steps = loop.train_step, []
def step(*arguments):
    steps.append(1)
    if len(steps) == 6:
        for number in (1, 1, 15, 1):
            os.kill(os.getpid(), number)
    return real(*arguments)
loop.train_step = step
"""


def test_a_closed_terminal_has_the_training_saved(forks, whole, tmp_path):
    """SIGHUP and more within a step: it is done to its end, and so is the saving."""
    run, told = stopped(forks, WITHOUT_PICTURES + FOUR_SIGNALS, tmp_path, HUP)
    assert told.endswith(f"go on with: onecycle resume {run}")
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"step-0000004", "step-0000006"}
    assert forks.run(f"resume {run}").code == 0
    assert_same_bits(whole, run)


@fault("the terminal is closed during the training (SIGHUP)")
def test_a_terminal_that_is_closed_sends_sighup(forks, whole, tmp_path):
    """The system sends it: the terminal is the process's own."""
    line = f"{TINY} --runs {tmp_path}".replace(" --quiet", "").replace("--epochs 3", "--epochs 200")
    code = on_a_vanishing_terminal("epoch", line, ignoring=False)
    assert code == 128 + HUP
    run = run_in(tmp_path)
    steps = len((run / "steps.jsonl").read_text().splitlines())
    assert sorted((run / "checkpoints").iterdir())[-1].name == f"step-{steps:07d}"
    done = forks.run(f"resume {run} --verify")
    assert done.code == 0, done


# ------------------------------------------------------------------ when only pictures are missing


AFTER = {
    "the notes of the audit": "onecycle.training.note_failures",
    "the third picture": "onecycle.plots.augmented_samples",
    "the fifth picture": "onecycle.plots.confusion",
    "the report": "onecycle.report.page.content",
}


def assert_is_completed(forks: Forks, whole: Path, runs: Path, place: str, number: int) -> None:
    run, told = stopped(forks, at(place, number), runs, number)
    assert_told("SIGINT, SIGTERM or SIGHUP while pictures and report are drawn", told)
    assert told.endswith(f"onecycle report {run}")
    assert result_of(run)["weights_sha256"] == result_of(whole)["weights_sha256"]
    assert not list(run.rglob(".*.tmp"))
    done = forks.run(f"resume {run}".replace(" --quiet", ""), code="")
    assert done.code == 0
    assert f"draw its pictures and report with: onecycle report {run}" in done.err
    drawn_before = {path.name: path.read_bytes() for path in (run / "plots").iterdir()}
    assert forks.run(f"report {run}", code="").code == 0
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}
    pictures = {path.name: path.read_bytes() for path in (run / "plots").iterdir()}
    assert pictures == {path.name: path.read_bytes() for path in (whole / "plots").iterdir()}
    assert drawn_before.items() <= pictures.items()
    assert "draw its" not in forks.run(f"resume {run}", code="").err


def test_a_drawing_that_was_stopped_is_completed_by_report(forks, whole, tmp_path):
    """The pictures are those that the training would have drawn, to the byte."""
    assert_is_completed(forks, whole, tmp_path, AFTER["the fifth picture"], TERM)


@fault("SIGINT, SIGTERM or SIGHUP while pictures and report are drawn")
@pytest.mark.parametrize("number", [TERM, INT, HUP])
@pytest.mark.parametrize("moment", AFTER)
def test_a_signal_while_drawing_is_heeded_at_once(forks, whole, tmp_path, moment, number):
    assert_is_completed(forks, whole, tmp_path, AFTER[moment], number)


@fault("killed while pictures and report are drawn")
@pytest.mark.parametrize("moment", AFTER)
def test_a_kill_while_drawing_leaves_a_finished_run(forks, whole, tmp_path, moment):
    done = forks.run(f"{TINY} --runs {tmp_path}", code=at(AFTER[moment], signal.SIGKILL))
    assert done.code == -signal.SIGKILL
    run = run_in(tmp_path)
    assert_told("killed while pictures and report are drawn", forks.run(f"resume {run}").err)
    assert_same_bits(whole, run)
    assert forks.run(f"report {run}", code="").code == 0
    for picture in (whole / "plots").iterdir():
        assert (run / "plots" / picture.name).read_bytes() == picture.read_bytes()


# ---------------------------------------------------------------------------- before there is a run


@pytest.mark.parametrize("number", [TERM, HUP])
def test_a_signal_before_there_is_a_run_leaves_nothing(forks, tmp_path, number):
    code = at("onecycle.training.preparation.splits_of", number)
    done = forks.run(f"{TINY} --runs {tmp_path}", code=code)
    assert (done.code, done.err) == (128 + number, "onecycle: stopped\n")
    assert not list(tmp_path.iterdir())


def test_a_signal_does_not_wait_for_the_compiler(forks, tmp_path):
    code = at("onecycle.kernels.compiling.library", TERM) + "from onecycle import kernels\n"
    code += "kernels.find.cache_clear()\n"
    done = forks.run(f"{TINY} --runs {tmp_path}", code=code)
    assert (done.code, done.err) == (143, "onecycle: stopped\n")


# ----------------------------------------------------------------------------- what is ignored


@pytest.mark.parametrize(
    "number", [HUP, *(pytest.param(n, marks=pytest.mark.faults) for n in (INT, TERM))]
)
def test_a_signal_that_is_ignored_stays_so(forks, whole, tmp_path, number):
    """As `nohup` has it, and a shell for what it starts in the background."""
    code = WITHOUT_PICTURES + f"import signal\nsignal.signal({int(number)}, signal.SIG_IGN)\n"
    code += f"""
from onecycle.engine import loop
real = loop.train_step
def step(*arguments):
    os.kill(os.getpid(), {int(number)})
    return real(*arguments)
loop.train_step = step
"""
    assert forks.run(f"{TINY} --runs {tmp_path}", code=code).code == 0
    assert_same_bits(whole, run_in(tmp_path))


def heeding(*numbers: int, run: str | None = None, deferred: bool = False) -> list[str]:
    """What is done of two things when signals come in the first."""
    done: list[str] = []
    with noted_signals(run) as noted:
        with noted.deferred() if deferred else nullcontext():
            for number in numbers:
                try:
                    signal.raise_signal(number)
                except Exception:  # as libraries do
                    pytest.fail("taken for an error")
            done.append("first")
        done.append("second")
    return done


def test_handlers_are_given_back_and_other_threads_have_none():
    own = signal.getsignal(HUP)
    with pytest.raises(Interrupted) as stop:
        heeding(HUP, run="the run")
    found = stop.value
    assert (found.signal_number, found.run, found.finished) == (HUP, "the run", False)
    assert signal.getsignal(HUP) == own
    said: list[object] = []

    def elsewhere() -> None:
        with noted_signals():
            said.append(signal.getsignal(HUP))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert said == [own]


def test_where_there_is_no_sighup(monkeypatch):
    monkeypatch.setattr("onecycle.training.signals.NUMBERS", (INT, TERM))
    with noted_signals():
        assert signal.getsignal(HUP) == signal.SIG_DFL


def test_the_first_of_many_signals_counts():
    with pytest.raises(Interrupted) as stop:
        heeding(TERM, TERM, HUP, deferred=True)
    assert stop.value.signal_number == TERM


def test_a_second_ctrl_c_does_not_wait_for_the_saving():
    with pytest.raises(Interrupted) as stop:
        heeding(INT, INT, run="the run", deferred=True)
    assert (stop.value.signal_number, stop.value.run) == (INT, "the run")


# --------------------------------------------------------------------------- a vanished terminal


GONE = """
import fcntl, os, pty, signal, subprocess, sys, termios
leader, follower = pty.openpty()
def alone():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if sys.argv[2] == "ignoring":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
process = subprocess.Popen(sys.argv[3:], stdin=follower, stdout=follower, stderr=follower,
                           preexec_fn=alone)
os.close(follower)
seen = b""
while sys.argv[1].encode() not in seen:
    seen += os.read(leader, 65536)
os.close(leader)
print(process.wait())
"""
"""Runs a command on a terminal of its own that vanishes when a word is seen there."""


def on_a_vanishing_terminal(word: str, line: str, *, ignoring: bool) -> int:
    program = [sys.executable, "-c", GONE, word, "ignoring" if ignoring else ""]
    done = onecycle(line, command=[*program, sys.executable, "-m", "onecycle"])
    assert done.err == ""
    return int(done.out)


@fault("the terminal vanishes during the training, with SIGHUP ignored")
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_training_outlives_its_terminal(whole, tmp_path, more):
    line = f"{TINY} {more} --runs {tmp_path}".replace(" --quiet", "")
    assert on_a_vanishing_terminal("training", line, ignoring=True) == 0
    assert_same_bits(whole, run_in(tmp_path))
    assert (run_in(tmp_path) / "report.html").exists()


STREAM_GONE = """
import errno
class Gone:
    encoding = "utf-8"
    def isatty(self): return False
    def write(self, text): raise OSError(NUMBER, os.strerror(NUMBER))
    flush = write_ = lambda self: None
    def fileno(self): raise OSError(errno.EBADF, "closed")
sys.stdout = Gone()
"""


@pytest.mark.parametrize(
    ("number", "code"), [("errno.EIO", 0), ("errno.EPIPE", 0), ("errno.ENOSPC", 1)]
)
def test_nobody_to_hear_the_answer_is_no_failure_but_a_full_disk_is(forks, number, code):
    lost = STREAM_GONE.replace("NUMBER", number)
    for line in (
        "recipes",
        "recipes --json",
        "--help",
        "train --help",
        "train demo --print-config",
    ):
        done = forks.run(line, code=lost)
        assert done.code == code, (line, done)
        assert ("No space left" in done.err) == bool(code)
