"""Intervals and tests for accuracies: over seeds, over test images, and over pairs of networks.

All intervals are at 95 %, all tests two-sided. Each function names its source.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Rate of false alarms of a test, and what an interval leaves out."""
Z = float(stats.norm.ppf(1 - LEVEL / 2))
"""Standard deviations of a normal distribution on either side of the mean that hold 95 %."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class Outcome(NamedTuple):
    """What a test says: the p value, and the difference's interval (None where there is none)."""

    p: float
    interval: Interval | None


def wilson(hits: int, count: int) -> Interval:
    """The interval of the share `hits / count` (Wilson, 1927, "Probable inference")."""
    found = stats.binomtest(hits, count).proportion_ci(1 - LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's t interval of the mean of two or more values, as of accuracies over seeds."""
    half = _quantile(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return Interval(mean - half, mean + half)


def mcnemar_mid_p(first_only: int, second_only: int) -> float:
    """McNemar's test (1947) on paired decisions, with the mid-p value of the exact binomial.

    The exact test is conservative where few images tell the two apart; the mid-p value counts half
    of what is just as likely as what was seen, and holds 5 % without being far below (Fagerland,
    Lydersen and Laake, 2013, "The McNemar test for binary matched-pairs data").

    Args:
        first_only, second_only: images on which one is right and the other wrong, each way.
    """
    fewer, count = min(first_only, second_only), first_only + second_only
    if first_only == second_only:
        return 1 - float(stats.binom.pmf(fewer, count, 0.5)) / 2
    return float(2 * stats.binom.cdf(fewer, count, 0.5) - stats.binom.pmf(fewer, count, 0.5))


def paired_interval(first_only: int, second_only: int, count: int) -> Interval:
    """The interval of the second's share of hits less the first's, on the same `count` images.

    Wald's, with one added to each discordant count and two to the images (Bonett and Price, 2012,
    "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data").
    """
    first, second = (first_only + 1) / (count + 2), (second_only + 1) / (count + 2)
    half = Z * math.sqrt((first + second - (second - first) ** 2) / (count + 2))
    middle = second - first
    return Interval(max(middle - half, -1.0), min(middle + half, 1.0))


def welch(first: Sequence[float], second: Sequence[float]) -> Outcome | None:
    """Welch's t test (1947) of the second mean against the first, which may differ in spread.

    None where neither has any spread but the means differ: then nothing says what chance does.
    """
    spreads = [_variance(values) / len(values) for values in (first, second)]
    difference = float(np.mean(second) - np.mean(first))
    total = sum(spreads)
    if total == 0:
        return Outcome(1.0, Interval(0.0, 0.0)) if difference == 0 else None
    parts = [(v / total) ** 2 / (len(x) - 1) for v, x in zip(spreads, (first, second), strict=True)]
    return _student(difference, math.sqrt(total), 1 / sum(parts))


def one_against_many(one: float, many: Sequence[float]) -> Outcome | None:
    """Student's t test of one value against two or more, which lend it their spread.

    It supposes that the one comes from a distribution as wide as theirs (Crawford and Howell, 1998,
    "Comparing an individual's test score against norms derived from small samples"). The difference
    is that of `one` less the mean of `many`. None where `many` have no spread and the one differs.
    """
    spread = math.sqrt(_variance(many))
    difference = one - float(np.mean(many))
    if spread == 0:
        return Outcome(1.0, Interval(0.0, 0.0)) if difference == 0 else None
    return _student(difference, spread * math.sqrt(1 + 1 / len(many)), len(many) - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values for several tests at once, each as large as the whole family makes it.

    Compared with 5 %, they keep the chance of any false alarm among all tests at 5 % or below
    (Holm, 1979, "A simple sequentially rejective multiple test procedure").
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _variance(values: Sequence[float]) -> float:
    """Of a sample; nothing at all where all values are equal, which rounding would hide."""
    return float(np.var(values, ddof=1)) if min(values) < max(values) else 0.0


def _student(difference: float, error: float, freedom: float) -> Outcome:
    """The t test of a difference with its standard error and degrees of freedom."""
    half = _quantile(freedom) * error
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return Outcome(p, Interval(difference - half, difference + half))


def _quantile(freedom: float) -> float:
    return float(stats.t.ppf(1 - LEVEL / 2, freedom))
