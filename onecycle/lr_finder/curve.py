"""The loss over a ramp of learning rates, and lag-free smoothing."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from onecycle.errors import InputError

SMOOTHING = 0.8
"""Weight of a neighbour relative to the point; about 9 steps contribute to a smoothed value."""

KERNEL_NORM = math.sqrt(
    ((1 - SMOOTHING) / (1 + SMOOTHING)) ** 2 * (1 + SMOOTHING**2) / (1 - SMOOTHING**2)
)
"""Ratio of a smoothed value's standard error to a reading's: the norm of the weights."""

RISE = 6.0
"""Standard errors that count as a measurable rise."""

BLOW_UP = 12.0
"""Standard deviations above the start at which a reading counts as a blow-up and is capped.
One such reading does not make a measurable rise of the smoothed loss; two neighbours do."""

BACK, BUMP = 0.05, 0.25
"""A loss that rises by at most `BUMP` of its whole fall, and comes back to within `BACK` of it, has
not left the valley."""

LITTLE = 0.02
"""A fall by less than this share of the starting loss does not count as learning."""


@dataclass(frozen=True)
class LRCurve:
    """Loss against learning rate, as a range test measured it.

    Attributes:
        lr: rate of each step, rising.
        loss: mean loss of each step's batch before its update.
        ramp: `exponential` (equal factors between steps) or `linear` (equal differences).
        stopped: why the ramp ended: `completed`, `diverged`, `non-finite` or `out of batches`.
        planned: number of steps requested.
        adaptive: whether the optimizer scales its updates by past gradients, as Adam does.
        batch_size: inputs per step; 0 if not known.
        optimizer: name and settings of the optimizer at the last step, without its rate.
    """

    lr: tuple[float, ...]
    loss: tuple[float, ...]
    ramp: Literal["exponential", "linear"] = "exponential"
    stopped: str = "completed"
    planned: int = 0
    adaptive: bool = False
    batch_size: int = 0
    optimizer: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if len(self.lr) != len(self.loss):
            raise InputError(f"curve: {len(self.lr)} rates but {len(self.loss)} losses")
        if not self.lr:
            raise InputError("curve: it has no readings")
        if not all(math.isfinite(value) for value in (*self.lr, *self.loss)):
            raise InputError("curve: rates and losses must be finite; cut the curve before them")

    def __len__(self) -> int:
        return len(self.lr)

    @cached_property
    def smoothed(self) -> np.ndarray:
        """The loss smoothed in both directions, float64; see `smooth`.

        Readings above `ceiling` count as `ceiling`, so that a blow-up can't distort the valley.
        """
        return smooth(np.minimum(self.loss, self.ceiling))

    @cached_property
    def start(self) -> float:
        """The loss before learning: the median of the first fifth of the steps, at least 3."""
        return float(np.median(self.loss[: max(3, len(self) // 5)]))

    @cached_property
    def ceiling(self) -> float:
        """As far above the starting loss as the lowest reading lies below it."""
        lowest = float(np.min(smooth(np.asarray(self.loss))))
        spread = float(np.std(self.loss[: max(3, len(self) // 10)]))
        return self.start + max(self.start - lowest, 3 * spread, 1e-12)

    @cached_property
    def noise(self) -> float:
        """Standard error of a smoothed value.

        Estimated from the median absolute difference of neighbouring readings, which a slow trend
        hardly changes, up to the lowest point (but at least over half of the curve).
        """
        count = max(len(self) // 2, int(np.argmin(self.smoothed)) + 1, 3)
        differences = np.abs(np.diff(self.loss[:count]))
        return 1.4826 * float(np.median(differences)) / math.sqrt(2) * KERNEL_NORM

    @cached_property
    def turn(self) -> int:
        """The first index with a loss measurably above the start; the length if there is none.

        Everything to the right of it is past the valley. A network that the ramp has broken may
        well give a low loss again.
        """
        fall = self.start - float(np.min(self.smoothed))
        ceiling = max(self.ceiling, self.start + BLOW_UP * self.noise / KERNEL_NORM)
        smoothed = smooth(np.minimum(self.loss, ceiling))
        risen = smoothed > self.start + max(RISE * self.noise, 0.1 * fall)
        risen[: max(3, len(self) // 10)] = False  # the start itself
        return int(np.argmax(risen)) if risen.any() else len(self)

    @property
    def has_risen(self) -> bool:
        """Whether the ramp went far enough to see the loss rise above its start, or blow up."""
        return self.turn < len(self) or self.stopped in ("diverged", "non-finite")

    @cached_property
    def minimum(self) -> int:
        """Index of the lowest smoothed loss left of the turn."""
        return int(np.argmin(self.smoothed[: self.turn]))

    @property
    def is_flat(self) -> bool:
        """Whether the loss never fell clearly below its start: by more than noise and `LITTLE`."""
        fall = self.start - float(self.smoothed[self.minimum])
        return fall < max(RISE * self.noise, LITTLE * abs(self.start))

    @cached_property
    def floor_end(self) -> int:
        """Index of the last reading left of the turn that still lies on the valley's floor.

        On a clear curve the floor is the minimum plus or minus twice the noise, and every later
        low to which the loss comes back after a bump. On a flat one the lowest point is chance, so
        the floor is the middle of all readings. Its end is where the loss begins to rise, the only
        information in such a curve.
        """
        left = self.smoothed[: self.turn]
        lowest, margin = left[self.minimum], 2 * self.noise
        if self.is_flat:
            bound = max(lowest + margin, float(np.median(left)) + self.noise)
            return _last(left <= bound)
        end, fall = _last(left <= lowest + margin), self.start - lowest
        for low in _lows(left):
            back = left[low] <= lowest + BACK * fall
            if low > end and back and left[end:low].max() <= lowest + BUMP * fall:
                end = _last(left <= left[low] + margin)
        return end

    @property
    def position(self) -> np.ndarray:
        """The ramp's own axis, on which steps are even: log10 of the rate, or the rate."""
        rates = np.asarray(self.lr)
        return np.log10(rates) if self.ramp == "exponential" else rates

    def to_json(self) -> dict[str, Any]:
        """A JSON object, which `from_json` reads back. `smoothed` is included for information."""
        return {**asdict(self), "smoothed": [float(value) for value in self.smoothed]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The curve from the JSON object of `to_json`.

        Raises:
            InputError: a key is missing, or the numbers do not make a curve.
        """
        try:
            return cls(
                lr=tuple(map(float, values["lr"])),
                loss=tuple(map(float, values["loss"])),
                ramp=values["ramp"],
                stopped=str(values["stopped"]),
                planned=int(values["planned"]),
                adaptive=bool(values.get("adaptive", False)),
                batch_size=int(values.get("batch_size", 0)),
                optimizer=dict(values.get("optimizer", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"curve: not a result of LRCurve.to_json: {error}") from None


def _last(true_N: np.ndarray) -> int:
    """The last index that is true; there must be one."""
    return int(np.flatnonzero(true_N)[-1])


def _lows(values_N: np.ndarray) -> list[int]:
    """Indices of the local minima between the two ends."""
    falls_N = np.diff(values_N) < 0
    return (np.flatnonzero(falls_N[:-1] & ~falls_N[1:]) + 1).tolist()


def smooth(values: Sequence[float] | np.ndarray, weight: float = SMOOTHING) -> np.ndarray:
    """A two-sided exponential average: no lag, and no bias at the ends.

    Each value becomes the weighted mean of all, with weight `weight ** k` at a distance of k steps.
    An average of the past alone lags `weight / (1 - weight)` steps behind; this one uses both
    sides. Dividing by the sum of the available weights corrects the bias at both ends.

    Args:
        values: evenly spaced readings.
        weight: in [0, 1); 0 leaves the values as they are.
    """
    values = np.asarray(values, dtype=np.float64)
    ones = np.ones_like(values)
    past, future = _running(values, weight), _running(values[::-1], weight)[::-1]
    past_weights, future_weights = _running(ones, weight), _running(ones, weight)[::-1]
    return (past + future - values) / (past_weights + future_weights - ones)


def _running(values: np.ndarray, weight: float) -> np.ndarray:
    """Exponentially weighted sums over the past, including the present."""
    sums, total = np.empty_like(values), 0.0
    for index, value in enumerate(values):
        total = value + weight * total
        sums[index] = total
    return sums
