"""What long work reports its progress to. The base class is silent; subclasses show it."""

from collections.abc import Callable, Mapping

from onecycle.writing.numbers import counted


class Progress:
    """A silent listener: long work calls these methods, and a subclass may show what they report.

    The library never prints. Functions that take long accept a `progress` and report to it.
    """

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        """A stage of `total` units of work begins, e.g. `("training", 2352, "steps")`."""

    def advance(self, count: int = 1, **figures: float) -> None:
        """`count` more units are done. `figures` are the newest readings.

        Known keys: `images` (number of them in these units), `epoch` (epochs done so far, a
        float), `step`, `loss`, `accuracy` (a fraction), `lr`.
        """

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch has ended; `row` is its line of `metrics.jsonl`."""

    def finish(self) -> None:
        """The stage that began last is done."""

    def note(self, line: str) -> None:
        """One line that the user should see, e.g. where the run folder is, or a warning."""


SILENT = Progress()
"""Shows nothing, not even in notebooks."""


class Logged(Progress):
    """Passes everything on to another listener, and writes stages, epochs and notes to a log."""

    def __init__(self, inner: Progress, write: Callable[[str], None]) -> None:
        self._inner = inner
        self._write = write

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        self._write(f"{title}: {counted(total, unit.removesuffix('s'))}")
        self._inner.start(title, total, unit)

    def advance(self, count: int = 1, **figures: float) -> None:
        self._inner.advance(count, **figures)

    def epoch(self, row: Mapping[str, float]) -> None:
        self._write("  ".join(f"{name} {value:.6g}" for name, value in row.items()))
        self._inner.epoch(row)

    def finish(self) -> None:
        self._inner.finish()

    def note(self, line: str) -> None:
        self._write(line)
        self._inner.note(line)
