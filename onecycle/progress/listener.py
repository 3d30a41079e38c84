"""What long work reports its progress to. The base class is silent; subclasses show it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from onecycle.writing.numbers import counted


class Progress:
    """A silent listener: long work calls these methods, and a subclass may show what they report.

    The library never prints. Functions that take long accept a `progress` and report to it.
    """

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        """A stage of `total` units of work begins, e.g. `("training", 2352, "steps")`.

        `total` is 0 if it is not known.
        """

    def advance(self, count: int = 1, **figures: float) -> None:
        """`count` more units are done. `figures` are the newest readings.

        Known keys: `images` (number of them in these units), `epoch` (epochs done so far, a
        float), `step`, `loss`, `accuracy` (a fraction), `lr`.
        """

    def step(self, row: Mapping[str, float]) -> None:
        """A step of the training is done; `row` is its line of `steps.jsonl`.

        On a GPU, several steps are reported together.
        """

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch has ended; `row` is its line of `metrics.jsonl`."""

    def picture(self, path: Path) -> None:
        """A plot of the finished training has been drawn; `path` is its PNG file."""

    def finish(self) -> None:
        """The stage that began last is done."""

    def note(self, line: str) -> None:
        """One line that the user should see, e.g. where the run folder is, or a warning."""


SILENT = Progress()
"""Shows nothing, not even in notebooks."""


class Log(Progress):
    """Writes stages, epochs and notes as lines of a log."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        self._write(f"{title}: {counted(total, unit.removesuffix('s'))}")

    def epoch(self, row: Mapping[str, float]) -> None:
        self._write("  ".join(f"{name} {value:.6g}" for name, value in row.items()))

    def note(self, line: str) -> None:
        self._write(line)


class Together(Progress):
    """Passes everything on to several listeners, in their order."""

    def __init__(self, *listeners: Progress) -> None:
        self._listeners = listeners

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        for each in self._listeners:
            each.start(title, total, unit)

    def advance(self, count: int = 1, **figures: float) -> None:
        for each in self._listeners:
            each.advance(count, **figures)

    def step(self, row: Mapping[str, float]) -> None:
        for each in self._listeners:
            each.step(row)

    def epoch(self, row: Mapping[str, float]) -> None:
        for each in self._listeners:
            each.epoch(row)

    def picture(self, path: Path) -> None:
        for each in self._listeners:
            each.picture(path)

    def finish(self) -> None:
        for each in self._listeners:
            each.finish()

    def note(self, line: str) -> None:
        for each in self._listeners:
            each.note(line)
