"""Do the rates come from the range test, and did that test use this training's settings?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onecycle.audit.evidence import Evidence
from onecycle.audit.line import Line, unknown
from onecycle.lr_finder.curve import LRCurve, smooth
from onecycle.lr_finder.suggest import SPAN
from onecycle.run_dir.records import Method, RangeTest

BLOWN_UP = 0.8
"""Share of the way from the start to the curve's ceiling from which a loss has blown up."""

SMOOTHING = 0.5
"""Less than for reading a curve: a blow-up is steep, and its place matters."""


def lines(evidence: Evidence) -> list[Line]:
    """None where both rates were given, so that there was no range test."""
    recipe, found = evidence.recipe, evidence.search
    if found is None:
        if isinstance(recipe.lr_max, str) or recipe.lr_min == "auto":
            return [unknown("Range test", "run before the training", "it has not finished")]
        return []
    return [
        *_chosen(recipe.lr_min, recipe.lr_max, found),
        _peak_in_range(found, evidence.curves),
        _same_optimizer(evidence, found),
    ]


def _chosen(lr_min: float | str, lr_max: float | str, found: RangeTest) -> list[Line]:
    """A line for each rate that was left to the range test."""
    suggestions, by = found.suggestions, found.by
    rows = []
    if "lr_max" in by and "recommended" in suggestions:
        rows.append(_rate_line("Peak rate", *_best(by["lr_max"], found), lr_max))
    if "lr_min" in by and "lr_min" in suggestions and not isinstance(lr_max, str):
        low = min(max(suggestions["lr_min"].lr, lr_max / SPAN[1]), lr_max / SPAN[0])
        if "lr_max" not in by:  # the peak was given
            low = min(low if found.lr_min is None else found.lr_min, lr_max)
        rows.append(_rate_line("First rate", low, "where the loss starts to fall", lr_min))
    return rows


def _best(method: Method, found: RangeTest) -> tuple[float, str]:
    """The peak rate, and how it was found."""
    if method == "proven" and found.proof:
        return found.proof.lr_max, "short trainings"
    if method == "safe" and found.lr_max is not None:
        return found.lr_max, "the safe default, as the curve can't be trusted"
    return found.suggestions["recommended"].lr, "'recommended'"


def _rate_line(name: str, asked: float, by: str, used: float | str) -> Line:
    if isinstance(used, str):
        return unknown(name, f"{asked:.4g}, found by {by}", f"still {used}")
    passed = math.isclose(asked, used, rel_tol=1e-6)
    return Line(f"{name}: searched for", f"{asked:.4g}, found by {by}", f"{used:.4g} used", passed)


def _peak_in_range(found: RangeTest, curves: Sequence[LRCurve]) -> Line:
    """A rate above where the loss blew up, or above all rates tried, does not count as found."""
    name, asked = "Peak rate on the curve", "left of where the loss has blown up"
    if found.proof:
        return Line(name, "proven by short trainings", f"{found.proof.lr_max:.3g}", True)
    if not curves or found.chosen is None:
        return unknown(name, asked)
    lr_max = found.chosen.lr_max
    ends = [_blow_up(curve) for curve in curves]
    blown = [rate for rate in ends if rate is not None]
    if len(blown) == len(curves):
        end = max(blown)
        return Line(name, asked, f"{lr_max:.3g}; it has blown up at {end:.3g}", lr_max < end)
    last = max(curve.lr[-1] for curve in curves)
    words = f"{lr_max:.3g}; the loss has not blown up by {last:.3g}"
    if found.by.get("lr_max") == "safe" and _same(lr_max, found.lr_max):
        return Line(name, "a safe default, as the curve can't be read", words, True)
    return Line(name, f"{asked}, or among the rates tried", words, lr_max <= last)


def _blow_up(curve: LRCurve) -> float | None:
    """The first rate after the lowest point, or after the start, at which the loss is near the top.

    None where there is none.
    """
    top = curve.start + BLOWN_UP * (curve.ceiling - curve.start)
    first = max(3, len(curve) // 10)
    readings = smooth(np.minimum(curve.loss, curve.ceiling), SMOOTHING)
    return next(
        (curve.lr[i] for i in range(first, len(curve)) if readings[i] > top),
        curve.lr[-1] if curve.stopped in ("diverged", "non-finite") else None,
    )


def _same_optimizer(evidence: Evidence, found: RangeTest) -> Line:
    """Compare the range test's settings with the training's; momentum with that at the peak."""
    name = "Optimizer of the range test"
    tested, trained = found.optimizer, evidence.measured.optimizer
    if not tested or not trained:
        return unknown(name, "that of the training")
    trained = dict(trained)
    if len(evidence.steps):  # a cycled momentum: the value at the peak rate
        peak = float(evidence.steps.momentum[evidence.steps.lr.argmax()])
        betas = trained.get("betas")
        if "momentum" in trained:
            trained["momentum"] = peak
        elif isinstance(betas, list):
            trained["betas"] = [peak, *betas[1:]]
    differing = [key for key in {**trained, **tested} if not _equal(tested, trained, key)]
    if not differing:
        return Line(name, _told(trained), "the same", True)
    words = ", ".join(f"{_name(key)} {_value(tested.get(key))}" for key in differing)
    asked = ", ".join(f"{_name(key)} {_value(trained.get(key))}" for key in differing)
    return Line(name, f"that of the training: {asked}", words, False)


def _equal(tested: Mapping[str, Any], trained: Mapping[str, Any], key: str) -> bool:
    one, other = tested.get(key), trained.get(key)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return _same(one, other)


def _same(one: object, other: object) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9)
    return one == other


def _told(settings: Mapping[str, Any]) -> str:
    shown = ("name", "momentum", "betas", "nesterov", "weight_decay")
    parts = [f"{_name(key)} {_value(settings[key])}".strip() for key in shown if key in settings]
    return ", ".join(parts)


def _name(key: str) -> str:
    return "" if key == "name" else key.replace("_", " ")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return " and ".join(map(_value, value))
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
