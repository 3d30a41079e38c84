"""Speeds, ratios with their spread over the rounds, and the table in Markdown."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.catalogue import CONTENDERS, OURS
from benchmarks.peers.referee import Turn
from benchmarks.peers.work import Setting


@dataclass(frozen=True)
class Row:
    """A contender in one setting, and its turns, one per round.

    Attributes:
        name: in the catalogue.
        kind: default or best, or both where they are the same.
        first: its first step, before the rounds.
    """

    name: str
    kind: str
    setting: Setting
    startup_seconds: float
    first: Turn
    turns: list[Turn]

    @property
    def speeds(self) -> list[float]:
        """Images per second of each turn."""
        return [turn.images_per_second for turn in self.turns]

    @property
    def losses(self) -> list[float]:
        """Of every step that was seen, the first included."""
        return [loss for turn in (self.first, *self.turns) for loss in turn.losses]

    @property
    def learns(self) -> bool:
        """Whether the last turn's mean loss lies below the first step's."""
        return statistics.mean(self.turns[-1].losses) < self.losses[0]


def ratios(ours: Row, theirs: Row) -> list[float]:
    """How many times as fast the first is, round by round."""
    return [a / b for a, b in zip(ours.speeds, theirs.speeds, strict=True)]


def spread(values: Sequence[float], digits: int) -> str:
    """Median and, in brackets, lowest and highest."""
    low, middle, high = (
        f"{each:,.{digits}f}" for each in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def markdown(rows: Sequence[Row]) -> str:
    """The table, with onecycle's speed over each row's."""
    ours = next((row for row in rows if row.name == OURS), None)
    lines = [
        "| trainer | | setting | images/s | onecycle is … times as fast | start, s | loss |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        ratio = spread(ratios(ours, row), 2) if ours and row is not ours else "–"
        losses = f"{row.losses[0]:.2f} → {row.losses[-1]:.2f}"
        lines.append(
            f"| {CONTENDERS[row.name].label} | {row.kind} | {setting_text(row)} "
            f"| {spread(row.speeds, 0)} | {ratio} | {row.startup_seconds:.0f} | {losses} |"
        )
    return "\n".join(lines)


def setting_text(row: Row) -> str:
    """In words; onecycle has neither workers nor transforms per image to choose."""
    return row.setting.precision if CONTENDERS[row.name].module == "engine" else row.setting.text()


def doubts(rows: Sequence[Row]) -> list[str]:
    """What would make the comparison worthless: a network that does not learn, unequal work."""
    found = [f"{row.name} ({row.kind}): its loss does not fall" for row in rows if not row.learns]
    images = {turn.images / len(turn.losses) for row in rows for turn in row.turns}
    if len(images) > 1:
        counts = ", ".join(f"{count:g}" for count in sorted(images))
        found.append(f"not all steps had as many images: {counts}")
    return found


def best_peer(rows: Sequence[Row]) -> Row | None:
    """The fastest of the others, by the median."""
    others = [row for row in rows if CONTENDERS[row.name].module != "engine"]
    return max(others, key=lambda row: statistics.median(row.speeds), default=None)
