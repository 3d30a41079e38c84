"""Proof of a peak rate: the best of several short trainings with rates around it.

A range test reads a rate from one ramp. Probes measure directly: they train with the intended
cycle, only shorter, and compare the results on held-out images.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from onecycle.errors import TrainingError
from onecycle.writing.numbers import counted, duration

FACTOR = 3.0
"""Ratio between neighbouring probes."""

CLIFF = 3.0
"""A diverged probe counts as this many times as far below the best as the other neighbour."""

FEWEST, MOST = 3, 7
"""Smallest number of probes, and the largest, which is used while the best lies at an edge."""


@dataclass(frozen=True)
class Probe:
    """A short training with peak rate `lr`, and its score; None where it diverged."""

    lr: float
    score: float | None


@dataclass(frozen=True)
class Proof:
    """The peak rate that won, and the evidence.

    Attributes:
        lr_max: the top of the parabola through the best probe and its neighbours, over log-LR; the
            best probe itself where it has no neighbour on one side.
        best: the rate of the best probe.
        probes: by rising rate.
        bracketed: whether the best probe has worse ones on both sides.
    """

    lr_max: float
    best: float
    probes: tuple[Probe, ...]
    bracketed: bool

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the same keys."""
        return asdict(self)


def prove(score: Callable[[float], float | None], start: float) -> Proof:
    """Probe at `start` / 3, `start` and 3 `start`, and outward while the best lies at an edge.

    Of equal scores the one nearest to `start` wins. Rates above a diverged one are not tried.
    `lr_max` lies between the best probe and its neighbours, at the top of the parabola through the
    three: probes are few and noisy, and all three carry information.

    Args:
        score: trains with a peak rate and returns a score, higher is better; None if it diverged.
        start: the suggestion, above 0.

    Raises:
        TrainingError: every probe diverged.
    """
    scores = {k: score(start * FACTOR**k) for k in (0, -1, 1)}
    while (outward := _outward(scores)) is not None and len(scores) < MOST:
        scores[outward] = score(start * FACTOR**outward)
    best = _best(scores)
    if best is None:
        rates = f"{start * FACTOR ** min(scores):.2g} to {start * FACTOR ** max(scores):.2g}"
        raise TrainingError(f"every probe from lr_max {rates} diverged; give lr_max yourself")
    return Proof(
        lr_max=start * FACTOR ** (best + _top(scores, best)),
        best=start * FACTOR**best,
        probes=tuple(Probe(start * FACTOR**k, scores[k]) for k in sorted(scores)),
        bracketed=min(scores) < best < max(scores),
    )


def _best(scores: dict[int, float | None]) -> int | None:
    """The index of the highest score; None if there is no score."""
    reached = {k: value for k, value in scores.items() if value is not None}
    return min(reached, key=lambda k: (-reached[k], abs(k))) if reached else None


def _top(scores: dict[int, float | None], best: int) -> float:
    """Distance from the best probe to the top of the parabola through it and its neighbours.

    In steps between probes, at most half a step. A diverged neighbour counts as `CLIFF` times as
    far below the best as the other one.
    """
    middle = scores[best]
    if middle is None or best - 1 not in scores or best + 1 not in scores:
        return 0.0
    falls = [None if (s := scores[k]) is None else middle - s for k in (best - 1, best + 1)]
    left, right = (CLIFF * max((f or 0.0) for f in falls) if f is None else f for f in falls)
    return 0.5 * (left - right) / (left + right) if left + right > 0 else 0.0


def _outward(scores: dict[int, float | None]) -> int | None:
    """The next index to probe; None if the best has neighbours on both sides."""
    best, low, high = _best(scores), min(scores), max(scores)
    if best is None or best == low:
        return low - 1
    return high + 1 if best == high else None


def expected_cost(steps: int, seconds_per_step: float) -> str:
    """The expected cost of probes of `steps` steps each, as text.

    Args:
        seconds_per_step: measured by the range test.
    """
    least, most = FEWEST * steps, MOST * steps
    low, high = (duration(count * seconds_per_step) for count in (least, most))
    return f"{FEWEST} to {MOST} trainings of {counted(steps, 'step')}, {low} to {high}"
