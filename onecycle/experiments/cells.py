"""The formats of figures in a comparison."""

from collections.abc import Sequence
from typing import Any

from onecycle.statistics import Interval
from onecycle.writing import numbers

ENOUGH_DIGITS = 17
"""Significant digits with which no two floats of 64 bits look the same."""


def value_text(value: Any, digits: int = 4) -> str:
    """A recipe's value, floats to so many digits; `none` for an empty text."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if isinstance(value, list | tuple):
        return " ".join(value_text(each, digits) for each in value)
    return str(value) or "none"


def value_texts(values: Sequence[Any]) -> list[str]:
    """Values of one setting as texts, with as many digits as tell them apart, but at least four."""
    different = len(set(map(repr, values)))
    for digits in range(4, ENOUGH_DIGITS):
        texts = [value_text(value, digits) for value in values]
        if len(set(texts)) == different:
            return texts
    return [value_text(value, ENOUGH_DIGITS) for value in values]


def percent(share: float) -> str:
    """`84.31` for 0.8431; the unit is in the heading."""
    return numbers.percent(share, unit="")


def with_spread(mean: float, std: float | None) -> str:
    """`84.31 ± 0.22`, or the mean alone."""
    return percent(mean) if std is None else f"{percent(mean)} ± {percent(std)}"


def range_text(interval: Interval | None) -> str:
    """`83.58 to 85.01`, in percent; a dash where there is none."""
    return "–" if interval is None else f"{percent(interval.low)} to {percent(interval.high)}"


def value_range(values: Sequence[float]) -> str:
    """`0.041 to 0.052`, to two digits; one value if they are equal to two digits."""
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def points(difference: float) -> str:
    """`+0.42` for 0.0042: percentage points, with a sign; `0.00` has none."""
    text = f"{100 * difference:+.2f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def points_range(interval: Interval | None) -> str:
    """`−0.10 to +0.94`, in percentage points; a dash where there is none."""
    return "–" if interval is None else f"{points(interval.low)} to {points(interval.high)}"


def p_text(p: float | None) -> str:
    """A p value to two or three decimals: `0.31`, `0.031`; the smallest as `< 0.001`."""
    if p is None:
        return ""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def count_text(count: int, what: str) -> str:
    """`1 run`, `3 runs`, `10,000 test images`."""
    return numbers.counted(count, what)


def list_text(words: Sequence[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
