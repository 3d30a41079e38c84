"""A stage of long work as people see it: its progress, its speed, and its epochs as a table."""

from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING

from onecycle.progress.listener import Progress
from onecycle.writing.numbers import amount, counted, duration, percent

if TYPE_CHECKING:
    from rich.text import Text

BAR_WIDTH = 20
"""Columns of the live line's bar."""


class Stage:
    """How far one stage of the work is, and how fast it goes."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        self.figures: dict[str, float] = {}
        self.began = self._mark = perf_counter()
        self._images = self._busy = 0.0
        self._first: tuple[int, float] | None = None  # (done, time) at first; a resumed run is > 0

    def advance(self, now: float, count: int, figures: Mapping[str, float]) -> None:
        """Take in a report made at the time `now`."""
        self.done += count
        if self._first is None or count < 0:  # a download may have to start again
            self._first = self.done, now
        if "images" in figures:
            self._images += figures["images"]
            self._busy += now - self._mark
        self._mark = now
        self.figures.update(figures)

    def pause_over(self, now: float) -> None:
        """Don't count the time since the last report as steps: it went, say, into an evaluation."""
        self._mark = now

    @property
    def images_per_second(self) -> float | None:
        """Over the steps of this stage, without pauses; None before the first one."""
        return self._images / self._busy if self._images and self._busy else None

    @property
    def count(self) -> str:
        """How much is done, e.g. `700/2,352 steps`."""
        if self.unit == "bytes":
            return f"{amount(self.done)} of {amount(self.total)}"
        if not self.total:  # not known
            return counted(self.done, self.unit.removesuffix("s"))
        return f"{self.done:,}/{counted(self.total, self.unit.removesuffix('s'))}"

    def rate(self, now: float) -> float | None:
        """Units per second so far; None if not known yet."""
        if self._first is None or self.done <= self._first[0] or now <= self._first[1]:
            return None
        done, since = self._first
        return (self.done - done) / (now - since)

    def seconds_left(self, now: float) -> float | None:
        """At the speed so far; None if not known yet."""
        rate = self.rate(now) if self.total else None
        return None if rate is None else max(0, self.total - self.done) / rate

    @property
    def epochs(self) -> str | None:
        """`epoch 2.31/8`, where the work has epochs."""
        epoch, step = self.figures.get("epoch"), self.figures.get("step")
        if not epoch or not step:
            return None
        return f"epoch {epoch:.2f}/{round(self.total * epoch / step)}"

    def readings(self, now: float) -> dict[str, str]:
        """The texts to show, by name, in reading order."""
        figures = self.figures
        texts = {"epoch": self.epochs or "", "count": self.count}
        if speed := self.images_per_second:
            texts["speed"] = f"{speed:,.0f} images/s"
        if self.unit == "bytes" and (rate := self.rate(now)) is not None:
            texts["speed"] = f"{amount(rate)}/s"
        if "loss" in figures:
            texts["loss"] = f"loss {figures['loss']:.3f}"
        if "accuracy" in figures:
            texts["accuracy"] = f"accuracy {percent(figures['accuracy'])}"
        if "lr" in figures:
            texts["lr"] = f"lr {figures['lr']:.3g}"
        if (left := self.seconds_left(now)) is not None:
            texts["left"] = f"{duration(left)} left"
        return {name: text for name, text in texts.items() if text}


class LiveProgress(Progress):
    """A listener with a live line about the innermost stage of the work. Subclasses draw it."""

    interval: float
    """Seconds between two drawings of the live line, at least."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._has_header = False
        self._drawn = 0.0

    def start(self, title: str, total: int, unit: str = "steps") -> None:
        self._stages.append(Stage(title, total, unit))
        self._draw(perf_counter())

    def advance(self, count: int = 1, **figures: float) -> None:
        if not self._stages:
            return
        now = perf_counter()
        self._stages[-1].advance(now, count, figures)
        if now - self._drawn >= self.interval:
            self._draw(now)

    def _draw(self, now: float) -> None:
        """Draw the live line at the time `now`, and note the time in `_drawn`."""
        raise NotImplementedError


def live_line(stage: Stage, now: float, width: int, bars: str = "━─") -> "Text":
    """The stage in one line of at most `width` columns; the least important parts go first."""
    from rich.text import Text

    texts = stage.readings(now)
    if "epoch" in texts:
        texts["count"] = f"step {stage.done:,}/{stage.total:,}"
    room = width - 1 - len(stage.title)
    for name in ("count" if "epoch" in texts else "", "lr", "speed", "accuracy", "loss", "left"):
        if sum(len(text) + 2 for text in texts.values()) <= room:
            break
        texts.pop(name, None)
    spare = room - sum(len(text) + 2 for text in texts.values()) - 1
    bar = min(BAR_WIDTH, spare // 5 * 5)  # in steps, so that it does not twitch with every digit
    line = Text(stage.title, style="bold", no_wrap=True)
    if bar > 0 and stage.total:
        filled = round(bar * min(1.0, stage.done / stage.total))
        line.append(" ").append(bars[0] * filled, style="cyan not bold")
        line.append(bars[1] * (bar - filled), style="dim not bold")
    for text in texts.values():
        line.append(f"  {text}", style="not bold")
    line.truncate(width, overflow="ellipsis")
    return line


def epoch_readings(row: Mapping[str, float]) -> Iterator[str]:
    """An epoch's figures as texts, for a line of a log."""
    for split in splits_of(row):
        yield f"{split} loss {row[f'{split}_loss']:.4f}"
        yield f"{split} accuracy {percent(row[f'{split}_accuracy'])}"
    yield f"lr {row['lr']:.3g}"
    yield duration(row["seconds"])


def splits_of(row: Mapping[str, float]) -> list[str]:
    """The splits that the epoch was measured on."""
    return [split for split in ("train", "val", "test") if f"{split}_loss" in row]


def header(row: Mapping[str, float]) -> tuple[str, str]:
    """The two header lines of the table of epochs, for rows like `row`."""
    splits = splits_of(row)
    names = {"train": "train", "val": "validation", "test": "test"}
    above = " " * 5 + "".join(f"{names[split]:>18}" for split in splits)
    below = "epoch" + f"{'loss':>9}{'accuracy':>9}" * len(splits)
    return above, below + f"{'lr':>9}{'time':>12}"


def table_row(row: Mapping[str, float]) -> str:
    """One epoch, in the columns of `header`."""
    figures = "".join(
        f"{row[f'{split}_loss']:>9.4f}{percent(row[f'{split}_accuracy']):>9}"
        for split in splits_of(row)
    )
    return f"{row['epoch']:>5.0f}{figures}{row['lr']:>9.3g}{duration(row['seconds']):>12}"
