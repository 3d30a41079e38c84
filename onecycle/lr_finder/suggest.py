"""Suggest rates from a curve: named methods that use the part left of its minimum."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from onecycle.lr_finder.curve import LRCurve

RECOMMENDED_FACTOR = 2.5
"""At batch size 512, the recommended peak over the last rate of the valley's floor."""

BATCH_EXPONENT = 0.75
"""Within the batch sizes of the study, the factor grows with this power of the batch size."""

BATCH_SIZES = (64, 512)
"""The range of batch sizes in the study; outside it the factor is constant."""

RECOMMENDED_FACTOR_UNKNOWN = 1.0
"""The factor if the batch size is not known."""

RECOMMENDED_FACTOR_ADAPTIVE = 0.85
"""The factor for optimizers such as Adam, at any batch size."""

MEASURABLE = 3.0
"""Standard errors of the smoothed loss that count as a measurable fall."""

SPAN = (10.0, 1000.0)
"""Bounds of the factor between the suggested LRMAX and LRMIN."""

SLIDE_STEPS = 15
"""Width of the window that `slide` moves, in steps."""

SLIDE_SHARE = 0.01
"""`slide` treats slopes per step as equal if they differ by less than this share of the fall."""

DISAGREEMENT = 3.0
"""Seeds disagree if their rates differ by more than this factor."""

FEW_POINTS = 20
"""A curve with fewer points can't be read."""

SAFE_SGD, SAFE_ADAPTIVE = 0.05, 1e-3
"""Peak rates that are safe, though slow. For SGD with momentum: at batch sizes up to 64; above, it
grows with the root of the batch size. For optimizers such as Adam: at any batch size."""

PLAUSIBLE = 10.0
"""A rate from a flat curve is plausible up to this multiple of the safe rate."""

Doubt = Literal["few points", "still falling", "flat", "flat throughout"]
"""Why a reading can't be trusted."""

DOUBTS: dict[Doubt, str] = {
    "few points": "the curve has only {points} points; raise lr_steps or lower lr_end",
    "still falling": "the loss was still falling at the last rate; raise lr_end",
    "flat throughout": "the loss hardly fell and never rose; raise lr_end or lr_steps",
    "flat": "the loss hardly fell, so the rates are read from where it rises; raise lr_steps",
}
"""The warning for each doubt, with the remedy."""


@dataclass(frozen=True)
class Suggestion:
    """A learning rate by one method, with the lowest and highest of the repeats.

    With repeats, `lr` is the median; for `recommended`, it is read from their mean loss.
    """

    lr: float
    low: float
    high: float


@dataclass(frozen=True)
class LRFinding:
    """The result of one or more range tests.

    Attributes:
        lr_min, lr_max: the recommended rates of a one-cycle training.
        suggestions: by method; the two rates come from `lr_min` and `recommended`.
        curves: one per repeat.
        warnings: one sentence for each thing that a reader of the rates must know.
        doubts: why the rates can't be trusted; empty if they can.
        replaced: the rate read from the curves, if a safe one replaces it as `lr_max`.
    """

    lr_min: float
    lr_max: float
    suggestions: dict[str, Suggestion]
    curves: tuple[LRCurve, ...]
    warnings: tuple[str, ...]
    doubts: tuple[Doubt, ...] = ()
    replaced: float | None = None

    def made_safe(self) -> Self:
        """The finding with a safe rate for the optimizer as its peak, if there are doubts.

        A lower reading is kept if the loss has risen: the network may not tolerate more.
        """
        safe = min(safe_rate(curve) for curve in self.curves)
        has_risen = any(curve.has_risen for curve in self.curves)
        if not self.doubts or self.lr_max == safe or (self.lr_max < safe and has_risen):
            return self
        warnings = "; ".join(self.warnings)
        warning = (
            f"{warnings}; until then lr_max is {safe:.3g}, which is safe, instead of "
            f"{self.lr_max:.3g}; to choose it yourself: --lr-max"
        )
        return replace(
            self,
            lr_max=safe,
            lr_min=self.lr_min_below(safe),
            warnings=(warning,),
            replaced=self.lr_max,
        )

    def lr_min_below(self, lr_max: float) -> float:
        """The lowest rate for a different peak: `lr_min`, kept within `SPAN` of that peak."""
        return _within_span(self.suggestions["lr_min"].lr, lr_max)

    def to_json(self) -> dict[str, Any]:
        """A JSON object: the rates, suggestions, warnings, the middle curve, and every curve."""
        return {
            "lr_min": self.lr_min,
            "lr_max": self.lr_max,
            "suggestions": {name: asdict(s) for name, s in self.suggestions.items()},
            "warnings": list(self.warnings),
            "doubts": list(self.doubts),
            "replaced": self.replaced,
            "curve": self.band(),
            "curves": [curve.to_json() for curve in self.curves],
        }

    def band(self) -> dict[str, list[float]]:
        """Median loss and smoothed loss over the repeats, and the range of the smoothed loss.

        `searched` has the lowest and the highest rate that methods consider, up to the turn.
        """
        length = min(len(curve) for curve in self.curves)
        smoothed_RS = np.array([curve.smoothed[:length] for curve in self.curves])
        loss_RS = np.array([curve.loss[:length] for curve in self.curves])
        band = {
            "lr": list(self.curves[0].lr[:length]),
            "loss": np.median(loss_RS, axis=0).tolist(),
            "smoothed": np.median(smoothed_RS, axis=0).tolist(),
            "searched": [
                min(curve.lr[0] for curve in self.curves),
                max(curve.lr[curve.turn - 1] for curve in self.curves),
            ],
        }
        if len(self.curves) > 1:
            band |= {"low": smoothed_RS.min(axis=0).tolist()}
            band |= {"high": smoothed_RS.max(axis=0).tolist()}
        return band


def steepest(curve: LRCurve) -> float:
    """The rate at which the smoothed loss falls fastest along the ramp's own axis (log-LR)."""
    last = curve.minimum
    if last < 2:
        return curve.lr[last]
    slope = np.gradient(curve.smoothed[: last + 1], curve.position[: last + 1])
    return curve.lr[int(np.argmin(slope))]


def valley(curve: LRCurve) -> float:
    """The middle, by steps, of the longest run of falling losses left of the minimum.

    The run may skip readings: it is the longest falling subsequence, so noise does not split it.
    """
    run = _longest_falling(curve.smoothed[: curve.minimum + 1])
    return curve.lr[(run[0] + run[-1]) // 2]


def slide(curve: LRCurve) -> float:
    """The left end of a window, slid left from the minimum, whose two ends fall equally fast.

    At first its right end lies on the floor and its left end on the slope. Once both ends fall
    equally fast, the window spans the steep part, and its left end is where the fall begins. After
    fastai's interval slide rule; the threshold is a share of the fall, so that it does not depend
    on the loss's scale.
    """
    smoothed = curve.smoothed[: curve.minimum + 1]
    if len(smoothed) <= SLIDE_STEPS:
        return curve.lr[0]
    slope = np.gradient(smoothed)
    apart = np.abs(slope[SLIDE_STEPS:] - slope[:-SLIDE_STEPS])
    equal = np.flatnonzero(apart < SLIDE_SHARE * (smoothed.max() - smoothed[-1]))
    return curve.lr[int(equal[-1]) if len(equal) else 0]


def minimum_over_ten(curve: LRCurve) -> float:
    """A tenth of the rate of the lowest smoothed loss."""
    return curve.lr[curve.minimum] / 10


def recommended(curve: LRCurve) -> float:
    """The project's own method: a factor times the last rate of the valley's floor.

    The floor's end is more stable than its lowest point, which noise moves. The ramp shows which
    rate the network tolerates, but not how much gradient noise a whole cycle tolerates; so the
    factor depends on the batch size. Factors and exponent have the lowest regret over the
    development problems of `benchmarks/lr_finder_regret`. If the ramp ended before the loss blew
    up, no rate above those tried is recommended.
    """
    rate = curve.lr[curve.floor_end] * recommended_factor(curve)
    return min(rate, curve.lr[-1]) if curve.stopped == "completed" else rate


def recommended_factor(curve: LRCurve) -> float:
    """The factor that `recommended` applies to the end of the floor."""
    if curve.adaptive:
        return RECOMMENDED_FACTOR_ADAPTIVE
    if curve.is_flat:  # the steps were too few to learn, so the reading is cautious already
        return RECOMMENDED_FACTOR
    if not curve.batch_size:
        return RECOMMENDED_FACTOR_UNKNOWN
    low, high = BATCH_SIZES
    share = min(max(curve.batch_size, low), high) / high
    return RECOMMENDED_FACTOR * share**BATCH_EXPONENT


def falling_from(curve: LRCurve) -> float:
    """LRMIN: the rate from which the smoothed loss stays measurably below its start.

    Measurably means by `MEASURABLE` standard errors of the smoothed loss, estimated from the
    scatter of the readings before the fall, and by at least 2 % of the whole fall.
    """
    smoothed, last = curve.smoothed, curve.minimum
    threshold = curve.start - max(MEASURABLE * curve.noise, 0.02 * (curve.start - smoothed[last]))
    above = np.flatnonzero(smoothed[: last + 1] > threshold)
    first = int(above[-1]) + 1 if len(above) else 0
    return curve.lr[min(first, last)]


METHODS = {
    "steepest": steepest,
    "valley": valley,
    "slide": slide,
    "minimum/10": minimum_over_ten,
    "recommended": recommended,
    "lr_min": falling_from,
}


def suggest(curves: LRCurve | Sequence[LRCurve]) -> LRFinding:
    """Every method's suggestion over one or more repeats, and the recommended pair of rates.

    It always returns a finding: for a curve that is too short, never falls or never turns, with a
    warning that says so.
    """
    curves = (curves,) if isinstance(curves, LRCurve) else tuple(curves)
    suggestions = {name: _over(method, curves) for name, method in METHODS.items()}
    suggestions["recommended"] = _of_the_mean(recommended, curves, suggestions["recommended"])
    lr_max = suggestions["recommended"].lr
    lr_min = _within_span(suggestions["lr_min"].lr, lr_max)
    doubts = _doubts(curves, lr_max)
    warnings = _warnings(curves, doubts, suggestions["recommended"])
    return LRFinding(lr_min, lr_max, suggestions, curves, tuple(warnings), doubts)


def _within_span(lr_min: float, lr_max: float) -> float:
    return min(max(lr_min, lr_max / SPAN[1]), lr_max / SPAN[0])


def _over(method: Any, curves: tuple[LRCurve, ...]) -> Suggestion:
    rates = sorted(method(curve) for curve in curves)
    middle = math.exp(float(np.median(np.log(rates))))  # halfway on the log axis when even
    return Suggestion(middle if len(rates) > 1 else rates[0], rates[0], rates[-1])


def _of_the_mean(method: Any, curves: tuple[LRCurve, ...], found: Suggestion) -> Suggestion:
    """The method's rate for the mean of the repeats' losses, which has less noise than each."""
    length = min(map(len, curves))
    if any(curve.lr[:length] != curves[0].lr[:length] for curve in curves):
        return found
    losses = np.mean([curve.loss[:length] for curve in curves], axis=0)
    lr = method(replace(curves[0], lr=curves[0].lr[:length], loss=tuple(losses.tolist())))
    return Suggestion(lr, min(lr, found.low), max(lr, found.high))


def safe_rate(curve: LRCurve) -> float:
    """A peak rate that is safe, though slow, for the curve's type of optimizer and batch size."""
    if curve.adaptive:
        return SAFE_ADAPTIVE
    low, high = BATCH_SIZES
    return SAFE_SGD * math.sqrt(min(max(curve.batch_size, low), high) / low)


def _doubts(curves: tuple[LRCurve, ...], lr_max: float) -> tuple[Doubt, ...]:
    """Why the `lr_max` read from the curves can't be trusted; empty if it can."""
    found: list[Doubt] = []
    if min(map(len, curves)) < FEW_POINTS:
        found.append("few points")
    if any(curve.minimum >= len(curve) - 2 and curve.stopped == "completed" for curve in curves):
        found.append("still falling")
    if any(curve.is_flat and not _plausible(curve, lr_max) for curve in curves):
        found.append("flat" if any(curve.has_risen for curve in curves) else "flat throughout")
    return tuple(found)


def _plausible(curve: LRCurve, lr_max: float) -> bool:
    """Whether a flat curve's rate is plausible: the loss rises, and the rate is not too high."""
    known = curve.adaptive or curve.batch_size > 0
    return known and curve.has_risen and lr_max <= PLAUSIBLE * safe_rate(curve)


def _warnings(
    curves: tuple[LRCurve, ...], doubts: tuple[Doubt, ...], recommended: Suggestion
) -> list[str]:
    """A sentence for each doubt, and one if the repeats' peak rates are far apart."""
    lines = [DOUBTS[doubt].format(points=min(map(len, curves))) for doubt in doubts]
    if recommended.high > DISAGREEMENT * recommended.low:
        lines.append(
            f"seeds disagree on 'recommended': from {recommended.low:.2g} to {recommended.high:.2g}"
        )
    return lines


def _longest_falling(values: np.ndarray) -> list[int]:
    """Indices of the longest strictly falling subsequence; the earliest of equally long ones."""
    length = np.ones(len(values), dtype=int)
    previous = np.full(len(values), -1)
    for index in range(1, len(values)):
        candidates = np.flatnonzero(values[:index] > values[index])
        if len(candidates):
            best = candidates[int(np.argmax(length[candidates]))]
            length[index], previous[index] = length[best] + 1, best
    run = [int(np.argmax(length))]
    while previous[run[0]] >= 0:
        run.insert(0, int(previous[run[0]]))
    return run
