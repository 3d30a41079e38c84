"""Did the optimizer use the rate and momentum that the recipe asks for at every step?

The schedule is computed here again, from its knots, by code separate from the training's.
"""

import math
from collections.abc import Sequence

import numpy as np

from onecycle.audit.evidence import Evidence
from onecycle.audit.line import Line, unknown
from onecycle.config import Recipe
from onecycle.writing.numbers import counted, in_full

TOLERANCE = 1e-6
"""Largest deviation, as a share of the largest rate or momentum asked for."""


MOST_STEPS = 50_000_000
"""Longest training, in steps, whose schedule is computed."""


def lines(evidence: Evidence) -> list[Line]:
    """Rate, momentum, the cycle's end, and whether every step was made."""
    recipe, per_epoch = evidence.recipe, evidence.steps_per_epoch
    open_rates = any(isinstance(r, str) for r in (recipe.lr_min, recipe.lr_max, recipe.lr_final))
    if not per_epoch or not len(evidence.steps) or open_rates:
        return [unknown("Learning rate and momentum", "as in the recipe")]
    total = recipe.epochs * per_epoch
    if total > MOST_STEPS:
        asked = f"as in the recipe, at each of {counted(total, 'step')}"
        return [unknown("Learning rate and momentum", asked, "too many steps to check")]
    steps, lr, momentum = evidence.steps.step, evidence.steps.lr, evidence.steps.momentum
    asked_lr, asked_momentum = schedule(recipe, per_epoch)
    cycle = f"{asked_lr[0]:.3g} to {max(asked_lr):.3g} to {asked_lr[-1]:.3g}"
    span = (
        f"{min(asked_momentum):.3g} to {max(asked_momentum):.3g}"
        if recipe.cycle_momentum
        else f"{recipe.momentum:.3g} throughout"
    )
    return [
        _compared("Learning rate", cycle, steps, lr, asked_lr),
        _compared("Momentum", span, steps, momentum, asked_momentum),
        *_head(evidence),
        _end(float(recipe.lr_min), float(asked_lr[-1]), lr, len(steps) == total),
        _every_step(steps, total),
    ]


def _head(evidence: Evidence) -> list[Line]:
    """Whether the head learned faster than the rest by the factor asked for, if there is one."""
    factor, found = evidence.recipe.head_lr_factor, evidence.measured.head_lr_factors
    if factor == 1:
        return []
    name, asked = (
        "Rate of the head",
        f"{in_full(factor)} times that of all other layers, at each step",
    )
    if found is None:
        return [unknown(name, asked)]
    passed = all(math.isclose(ratio, factor, rel_tol=TOLERANCE) for ratio in found)
    low, high = (f"{ratio:g}" for ratio in found)
    words = f"{low} times" if low == high else f"{low} to {high} times"
    return [Line(name, asked, f"{words}, in the optimizer", passed)]


def schedule(recipe: Recipe, steps_per_epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The rate and momentum that the recipe asks for at every step, float64."""
    last = recipe.epochs * steps_per_epoch - 1
    peak = max(0, round(recipe.resolved_peak_epoch * steps_per_epoch) - 1)
    low, high, final = (float(v) for v in (recipe.lr_min, recipe.lr_max, recipe.lr_final))
    places, rates, momenta = [0, peak, last], [low, high, final], [1.0, 0.0, 1.0]
    if recipe.three_phase:
        places[2:2], rates[2:2], momenta[2:2] = [2 * peak], [low], [1.0]
    if peak == 0:  # no rise: the peak is the first step
        places, rates, momenta = places[1:], rates[1:], momenta[1:]
    while len(places) > 1 and places[-1] == places[-2]:  # the cycle ends where it should turn
        places, rates, momenta = places[:-1], rates[:-1], momenta[:-1]
    lr = _curve(np.arange(last + 1), places, rates, recipe.anneal)
    if not recipe.cycle_momentum:
        return lr, np.full(last + 1, recipe.momentum)
    share = _curve(np.arange(last + 1), places, momenta, recipe.anneal)
    return lr, recipe.base_momentum + (recipe.max_momentum - recipe.base_momentum) * share


def _curve(
    steps: np.ndarray, places: Sequence[int], values: Sequence[float], anneal: str
) -> np.ndarray:
    """Straight lines through the knots, or half cosines between them."""
    knot = np.interp(steps, places, range(len(places)))
    left = np.minimum(knot.astype(int), len(places) - 2) if len(places) > 1 else 0 * steps
    share = knot - left
    if anneal == "cosine":
        share = (1 - np.cos(math.pi * share)) / 2
    values_ = np.asarray(values, dtype=float)
    right = np.minimum(left + 1, len(places) - 1)
    return values_[left] + (values_[right] - values_[left]) * share


def _compared(
    name: str, span: str, steps: np.ndarray, found: np.ndarray, asked: np.ndarray
) -> Line:
    name, asked_words = f"{name} in the optimizer", f"{span}, at each step"
    if steps.max() >= len(asked):
        return Line(name, asked_words, f"has a step {steps.max()}, of only {len(asked):,}", False)
    apart = np.abs(found - asked[steps])
    worst, largest = int(apart.argmax()), float(np.abs(asked).max())
    if apart[worst] <= TOLERANCE * largest:
        words = f"the same at {len(steps):,} of {counted(len(steps), 'step')}"
        return Line(name, asked_words, words, True)
    off = int((apart > TOLERANCE * largest).sum())
    words = (
        f"different at {off:,} of {counted(len(steps), 'step')}; most at step {steps[worst]}: "
        f"{found[worst]:.4g} instead of {asked[steps[worst]]:.4g}"
    )
    return Line(name, asked_words, words, False)


def _end(low: float, final: float, lr: np.ndarray, finished: bool) -> Line:
    """Whether the last rate is `final`, with an annihilation phase only if it was asked for."""
    level = final >= low or math.isclose(final, low, rel_tol=TOLERANCE)  # but for rounding
    phase = "no annihilation phase" if level else f"an annihilation phase from {low:.3g}"
    asked = f"{final:.3g}: {phase}"
    if not finished:
        return unknown("Rate of the last step", asked, "not reached yet")
    passed = math.isclose(lr[-1], final, rel_tol=1e-6, abs_tol=1e-12)
    words = f"{lr[-1]:.3g}"
    if not passed and lr[-1] < low:
        words += f", {low / max(lr[-1], 1e-300):,.0f} times below lr_min: an annihilation phase"
    return Line("Rate of the last step", asked, words, passed)


def _every_step(steps: np.ndarray, total: int) -> Line:
    name, asked = "Steps made", f"{total:,}, each once"
    complete = np.array_equal(steps, np.arange(len(steps)))
    if complete and len(steps) < total:
        return unknown(name, asked, f"{len(steps):,} so far")
    return Line(name, asked, f"{len(steps):,}", complete and len(steps) == total)
