"""What a terminal or a log shows during long work."""

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from onecycle.cli import terminal
from onecycle.cli.terminal import PlainProgress, TerminalProgress, Unbreakable, choose, shown
from onecycle.progress import stage
from onecycle.progress.stage import (
    Stage,
    amount,
    duration,
    header,
    live_line,
    percent,
    table_row,
)

ROW = {
    "epoch": 3,
    "step": 237,
    "lr": 0.0123,
    "momentum": 0.9,
    "train_loss": 1.2345,
    "train_accuracy": 0.5678,
    "test_loss": 0.4321,
    "test_accuracy": 0.9525,
    "seconds": 75.0,
}
WITH_VAL = ROW | {"val_loss": 0.5, "val_accuracy": 1.0}


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test moves forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(terminal, "perf_counter", clock)
    monkeypatch.setattr(stage, "perf_counter", clock)
    return clock


@pytest.fixture(autouse=True)
def ordinary_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


# -------------------------------------------------------------------------------- which listener


def test_live_on_a_terminal_and_plain_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with shown(Terminal()) as progress:
        assert isinstance(progress, TerminalProgress)
    assert isinstance(choose(io.StringIO()), PlainProgress)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(choose(io.StringIO()), PlainProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose(Terminal()), PlainProgress)


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_quiet_says_nothing(stream: io.StringIO) -> None:
    with shown(stream, quiet=True) as progress:
        work(progress, steps=3)
        progress.note("a note")
    assert stream.getvalue() == ""


def work(progress: terminal.Progress, steps: int, tick: Callable[[], None] = lambda: None) -> None:
    """A training of `steps` steps, 10 an epoch."""
    progress.start("training", steps)
    progress.advance(0)
    for step in range(1, steps + 1):
        tick()
        progress.advance(1, images=512, step=step, epoch=step / 10, loss=1.5, accuracy=0.25, lr=0.1)
        if step % 10 == 0:
            progress.epoch(ROW | {"epoch": step // 10})
    progress.finish()


# ------------------------------------------------------------------------------------ plain lines


def test_a_log_gets_a_line_per_stage_and_epoch_and_one_every_half_minute(clock: Clock) -> None:
    stream = io.StringIO()

    def tick() -> None:
        clock.now += 7.0

    work(choose(stream), steps=20, tick=tick)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "training: 20 steps"
    epochs = [line for line in lines if line.startswith("epoch ")]
    between = [line for line in lines[1:] if line not in epochs]
    assert [line.split(":")[0] for line in epochs] == ["epoch 1", "epoch 2"]
    # An epoch lasts 70 s; lines come after 35 s and, counted from there, after another 35 s.
    assert len(between) == 4
    assert between[0] == (
        "training: epoch 0.50/2, 5/20 steps, 73 images/s, loss 1.500, accuracy 25.00 %, lr 0.1, "
        "1 min 45 s left"
    )
    assert epochs[0] == (
        "epoch 1: train loss 1.2345, train accuracy 56.78 %, test loss 0.4321, "
        "test accuracy 95.25 %, lr 0.0123, 1 min 15 s"
    )
    assert "\x1b" not in stream.getvalue()


def test_a_fast_stage_writes_one_line_however_many_steps(clock: Clock) -> None:
    stream = io.StringIO()
    progress = choose(stream)
    progress.start("decoding images", 60_000, "images")
    for _ in range(1000):
        progress.advance(60)
    progress.finish()
    assert stream.getvalue() == "decoding images: 60,000 images\n"


def test_a_download_shows_megabytes_its_rate_and_the_time_left(clock: Clock) -> None:
    stream = io.StringIO()
    progress = choose(stream)
    progress.start("downloading set.tar.gz", 170_498_071, "bytes")
    progress.advance(10_000_000)  # bytes from before don't count in the rate
    for _ in range(40):
        clock.now += 1.0
        progress.advance(60_000)
    assert stream.getvalue().splitlines() == [
        "downloading set.tar.gz: 170.5 MB",
        "downloading set.tar.gz: 11.8 MB of 170.5 MB, 60.0 kB/s, 44 min 05 s left",
    ]
    progress.advance(-12_400_000)  # restarted: the rate counts from here on
    for _ in range(40):
        clock.now += 1.0
        progress.advance(80_000)
    assert "80.0 kB/s" in stream.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (55_300, "55.3 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (170_498_071, "170.5 MB"),
        (2.5e9, "2.5 GB"),
    ],
)
def test_amounts_of_bytes(count: float, text: str) -> None:
    assert amount(count) == text


# -------------------------------------------------------------------------------------- live line


def test_the_live_line_is_drawn_at_most_four_times_a_second(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    real = live_line
    monkeypatch.setattr(terminal, "live_line", lambda *given: drawn.append(1) or real(*given))

    def tick() -> None:
        clock.now += 0.01

    with shown(Terminal()) as progress:
        work(progress, steps=1000, tick=tick)
    # 10 s at 4 per second; each line printed above the live line redraws it, too.
    assert 30 <= len(drawn) <= 40 + 2 * 102


def test_the_terminal_shows_the_table_and_the_notes_and_restores_the_cursor(clock: Clock) -> None:
    stream = Terminal()

    def tick() -> None:
        clock.now += 1.0

    def fail() -> None:
        with shown(stream) as progress:
            work(progress, steps=20, tick=tick)
            progress.note("run folder: runs/[bold]x[/bold]")
            progress.start("evaluating", 4, "batches")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    text = stream.getvalue()
    assert text.count("validation") == 0
    assert text.count("accuracy       lr") == 1  # one header
    assert "95.25 %" in text
    assert "run folder: runs/[bold]x[/bold]" in text
    assert "training: done in 20 s" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again


@given(width=st.integers(20, 200), done=st.integers(0, 2352), resumed=st.booleans())
def test_the_live_line_fits_every_width(width: int, done: int, resumed: bool) -> None:
    stage = Stage("training", 2352, "steps")
    stage.advance(stage.began, 100 if resumed else 0, {})
    figures = {"images": 512.0, "step": done + 1, "epoch": (done + 1) / 98, "loss": 2.301}
    stage.advance(stage.began + 5, done, figures | {"accuracy": 0.1234, "lr": 1.23e-5})
    line = live_line(stage, stage.began + 6, width)
    assert cell_len(line.plain) <= width
    assert line.plain.startswith("training")
    if width >= 60:
        assert "left" in line.plain or done == 0
        assert "loss 2.301" in line.plain
    if width >= 140:
        assert "lr 1.23e-05" in line.plain
        assert "━" in line.plain or "─" in line.plain


def test_speed_leaves_evaluations_out_and_the_time_left_does_not(clock: Clock) -> None:
    stage = Stage("training", 100, "steps")
    stage.advance(clock.now, 40, {})  # resumed: 40 were done before
    for _ in range(10):
        clock.now += 2.0
        stage.advance(clock.now, 1, {"images": 512.0})
    clock.now += 10.0  # an evaluation
    stage.pause_over(clock.now)
    assert stage.images_per_second == pytest.approx(256.0)
    assert stage.seconds_left(clock.now) == pytest.approx(50 * 30.0 / 10)


def test_the_table_is_cut_off_where_a_terminal_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    with shown(stream) as progress:
        progress.epoch(ROW)
    rows = [line for line in stream.getvalue().splitlines() if "1.2345" in line]
    assert len(rows) == 1
    assert "95." not in stream.getvalue().replace(rows[0], "")


@pytest.mark.parametrize("row", [ROW, WITH_VAL, WITH_VAL | {"lr": 1.234e-5, "seconds": 3599}])
def test_the_table_is_aligned_and_fits_80_columns(row: dict[str, float]) -> None:
    above, below = header(row)
    line = table_row(row)
    assert len(line) == len(below) <= 80
    for split in ("train", "test"):
        end = above.index(split) + len(split)
        assert line[:end].endswith(percent(row[f"{split}_accuracy"]))
        assert below[:end].endswith("accuracy")


# ------------------------------------------------------------------------------------- robustness


def test_work_outlives_its_terminal() -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with shown(Gone()) as progress:
        work(progress, steps=20)
        progress.note("no one reads this")
    plain = choose(open_then_closed())
    work(plain, steps=20)


def open_then_closed() -> io.StringIO:
    stream = io.StringIO()
    stream.isatty = lambda: False  # a closed stream would refuse to say
    stream.close()
    return stream


def test_a_stream_that_failed_is_left_alone() -> None:
    attempts = []

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            attempts.append(text)
            raise OSError(28, "No space left on device")

    stream = Unbreakable(Full())
    assert stream.write("abc") == 3
    stream.write("def")
    stream.flush()
    assert attempts == ["abc"]


def test_reports_outside_a_stage_are_ignored() -> None:
    for stream in (Terminal(), io.StringIO()):
        with shown(stream) as progress:
            progress.advance(3, loss=1.0)
            progress.finish()
            progress.epoch(ROW)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_durations_are_in_readable_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
