"""The trials while they run: a live table on a terminal, lines elsewhere, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import IO, TYPE_CHECKING, cast

from onecycle.cli.terminal import Unbreakable
from onecycle.trials.listening import Listener, Overview, Standing, State
from onecycle.writing.names import printable
from onecycle.writing.numbers import counted, duration, percent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

INTERVAL = 0.5
"""Seconds between two drawings of the table."""

PLAIN_INTERVAL = 60.0
"""Seconds without a line after which a plain log gets one about all trials."""

MOST_ROWS = 16
"""Running trials that the table shows."""

WIDTHS = {"epoch": 7, "accuracy": 11, "left": 12}
"""Columns of the table beside the trial's name; they don't move while it changes."""

GAP, LEAST_NAME = 3, 24
"""Cells between two columns, and of the shortest name."""


@contextmanager
def shown(stream: IO[str], *, quiet: bool = False) -> Iterator[Listener]:
    """A listener that shows the trials on `stream` until the block ends."""
    if quiet:
        yield Listener()
        return
    from rich.console import Console

    safe = Unbreakable(stream)
    console = Console(file=cast(IO[str], safe), highlight=False, markup=False, emoji=False)
    if not stream.isatty() or console.is_dumb_terminal:
        yield PlainBoard(safe)
        return
    board = LiveBoard(console)
    try:
        yield board
    finally:
        board.close()


class PlainBoard(Listener):
    """Lines for a log: one for each trial that ends, and one a minute while none does."""

    def __init__(self, stream: Unbreakable) -> None:
        self._stream, self._written = stream, perf_counter()

    def note(self, line: str) -> None:
        """The line."""
        self._stream.write(f"{printable(line)}\n")
        self._stream.flush()
        self._written = perf_counter()

    def overview(self, now: Overview) -> None:
        """A line if there was none for a minute."""
        if perf_counter() - self._written >= PLAIN_INTERVAL:
            self.note(together(now))

    def ended(self, trial: Standing, told: str, now: Overview) -> None:
        """How the trial ended, and how far all are."""
        self.note(f"{ending(trial, told)} ({together(now)})")


class LiveBoard(Listener):
    """A table of the running trials below a line for each that has ended."""

    def __init__(self, console: "Console") -> None:
        from rich.live import Live

        self._console, self._now, self._drawn = console, Overview([]), 0.0
        self._last = ""
        self._live = Live(
            console=console,
            get_renderable=self._table,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
        )
        self._live.start()

    def note(self, line: str) -> None:
        """The line, above the table."""
        self._console.print(printable(line), soft_wrap=True)

    def overview(self, now: Overview) -> None:
        """Draw the table, a few times a second at most."""
        self._now = now
        if perf_counter() - self._drawn >= INTERVAL:
            self._drawn = perf_counter()
            self._live.refresh()

    def ended(self, trial: Standing, told: str, now: Overview) -> None:
        """A line above the table."""
        self._now = now
        self.note(ending(trial, told))

    def finish(self) -> None:
        """In place of the table, what is done at the end."""
        self._last = "drawing what was chosen, and comparing …"
        self._live.refresh()

    def close(self) -> None:
        """Remove the table and show the cursor again."""
        self._now, self._last = Overview([]), ""
        self._live.stop()

    def _table(self) -> "RenderableType":
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from onecycle.cli.screens import shortened

        if self._last or not self._now.trials:
            return Text(self._last, style="dim")
        running = [each for each in self._now.trials if each.state == "running"]
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        room = max(self._console.width - sum(WIDTHS.values()) - GAP * len(WIDTHS), LEAST_NAME)
        names = [shortened(printable(each.name), room) for each in running[:MOST_ROWS]]
        table.add_column("trial", no_wrap=True, min_width=min(room, LEAST_NAME))
        for heading, width in WIDTHS.items():
            table.add_column(heading, justify="right", no_wrap=True, min_width=width)
        for name, each in zip(names, running, strict=False):
            table.add_row(name, *cells(each))
        more = len(running) - MOST_ROWS
        rest = [Text(f"and {counted(more, 'other')}", style="dim")] if more > 0 else []
        return Group(table, *rest, Text(together(self._now), style="bold"))


def cells(trial: Standing) -> tuple[str, str, str]:
    """A running trial's epoch, accuracy and time left."""
    left = "" if trial.seconds_left is None else duration(trial.seconds_left)
    left = "ending" if trial.epoch and trial.epoch == trial.epochs else left
    accuracy = "" if trial.accuracy is None else f"{percent(trial.accuracy)} {trial.split}"
    return f"{trial.epoch}/{trial.epochs}", accuracy, left


def ending(trial: Standing, told: str) -> str:
    """`cutout=8,seed=0: 84.31 % test`, or why it failed or was pruned."""
    if told:
        return f"{trial.name}: failed: {told}"
    if trial.state == "pruned":
        reached = "" if trial.accuracy is None else f": {percent(trial.accuracy)} {trial.split}"
        return f"{trial.name}: pruned after epoch {trial.epoch} of {trial.epochs}{reached}"
    accuracy = "finished" if trial.accuracy is None else percent(trial.accuracy)
    return f"{trial.name}: {accuracy} {trial.split}".rstrip()


def together(now: Overview) -> str:
    """`5 of 12 trials finished, 1 failed, 2 running, 3 min 20 s left`."""
    trials = counted(len(now.trials) + now.to_come, "trial")
    parts = [f"{now.count('finished')} of {trials} finished"]
    states: tuple[State, ...] = ("pruned", "failed", "running")
    parts += [f"{count} {state}" for state in states if (count := now.count(state))]
    if now.seconds_left is not None:
        parts.append(f"{duration(now.seconds_left)} left")
    return ", ".join(parts)
