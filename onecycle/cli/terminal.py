"""Progress for people: one live line on a terminal, plain lines in a log, or nothing.

Drawing never slows or stops the work: a line is drawn a few times a second at most, and a terminal
that has gone away is ignored.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import IO, TYPE_CHECKING, Any, cast

from onecycle.progress import Progress
from onecycle.progress.stage import (
    LiveProgress,
    Stage,
    amount,
    duration,
    epoch_readings,
    header,
    live_line,
    table_row,
)
from onecycle.writing.names import printable
from onecycle.writing.numbers import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PLAIN_INTERVAL = 30.0
"""Seconds between two plain lines of one stage."""

WORTH_A_LINE = 1.0
"""Seconds that a stage must last for the live display to leave a line about it."""


@contextmanager
def shown(stream: IO[str], *, quiet: bool = False) -> Iterator[Progress]:
    """A listener that writes the progress of long work to `stream` until the block ends."""
    progress = choose(stream, quiet=quiet)
    try:
        yield progress
    finally:
        if isinstance(progress, TerminalProgress):
            progress.close()


def choose(stream: IO[str], *, quiet: bool = False) -> Progress:
    """The listener that suits `stream`: live on a terminal, else plain lines; silent if `quiet`."""
    if quiet:
        return Progress()
    from rich.console import Console

    console = Console(file=cast(IO[str], Unbreakable(stream)), highlight=False)
    if stream.isatty() and not console.is_dumb_terminal:  # FORCE_COLOR must not fill a log
        return TerminalProgress(console)
    return PlainProgress(Unbreakable(stream))


class Unbreakable:
    """A stream whose writes never fail: a training must outlive the terminal that shows it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.gone = False

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, action: Any) -> None:
        if not self.gone:
            try:
                action()
            except (OSError, ValueError):  # the reader or the terminal is gone, or it is closed
                self.gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PlainProgress(Progress):
    """Lines for a log: one when a stage begins, one per epoch, and one every 30 s in between."""

    def __init__(self, stream: Unbreakable) -> None:
        self._stream = stream
        self._stages: list[Stage] = []
        self._written = 0.0

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        self._stages.append(Stage(title, total, unit))
        size = amount(total) if unit == "bytes" else counted(total, unit.removesuffix("s"))
        self._line(f"{title}: {size}" if total else title)

    def advance(self, count: int = 1, **figures: float) -> None:
        if not self._stages:
            return
        stage, now = self._stages[-1], perf_counter()
        stage.advance(now, count, figures)
        if now - self._written >= PLAIN_INTERVAL:
            self._line(f"{stage.title}: {', '.join(stage.readings(now).values())}")

    def epoch(self, row: Mapping[str, float]) -> None:
        if self._stages:
            self._stages[-1].pause_over(perf_counter())
        self._line(f"epoch {row['epoch']:.0f}: {', '.join(epoch_readings(row))}")

    def finish(self) -> None:
        if self._stages:
            self._stages.pop()

    def note(self, line: str) -> None:
        self._line(line)

    def _line(self, text: str) -> None:
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()
        self._written = perf_counter()


class TerminalProgress(LiveProgress):
    """A live line that shows how far the work is, and a table that grows by a row per epoch."""

    interval = 0.25

    def __init__(self, console: "Console") -> None:
        from rich.live import Live

        super().__init__()
        self._console = console
        self._live = Live(
            console=console,
            get_renderable=self._line,
            auto_refresh=False,  # `advance` draws it, so that no thread competes with the work
            transient=True,
            redirect_stdout=False,  # standard output may be a file
        )
        self._live.start()
        self._live.refresh()

    def epoch(self, row: Mapping[str, float]) -> None:
        if not self._has_header:
            self._has_header = True
            for line in header(row):
                self._console.print(line, style="dim", no_wrap=True)
        self._console.print(table_row(row), no_wrap=True)
        if self._stages:
            self._stages[-1].pause_over(perf_counter())

    def finish(self) -> None:
        if not self._stages:
            return
        stage, now = self._stages.pop(), perf_counter()
        if now - stage.began >= WORTH_A_LINE:
            self.note(f"{stage.title}: done in {duration(now - stage.began)}")
        self._draw(now)

    def note(self, line: str) -> None:
        self._console.print(printable(line), markup=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the live line and show the cursor again."""
        self._stages.clear()
        self._live.stop()

    def _draw(self, now: float) -> None:
        self._drawn = now
        self._live.refresh()

    def _line(self) -> "Text":
        from rich.text import Text

        if not self._stages:
            return Text("working …", style="dim")
        bars = "━─" if self._console.encoding.startswith("utf") else "#-"
        return live_line(self._stages[-1], perf_counter(), self._console.width, bars)
