"""Intervals and tests for accuracies: over seeds, over test images, and over pairs of networks.

Intervals are at 95 % unless another level is given, all tests two-sided. Each function names its
source.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05
"""Rate of false alarms of a test, and what an interval leaves out."""
ROUNDING = 1e-12
"""Accuracies, or means of them, that are closer than this are equal. Means that do differ, of up to
100 seeds each over a million images, differ by 1e-10 or more; rounding is below 1e-15."""


class Interval(NamedTuple):
    """An interval, at 95 % unless something else is said."""

    low: float
    high: float


class Outcome(NamedTuple):
    """What a test says.

    Attributes:
        p: the two-sided p value.
        interval_at: gives the difference's interval at a level, 0.05 for 95 %; None where nothing
            has any spread.
    """

    p: float
    interval_at: Callable[[float], Interval] | None


def wilson(hits: int, count: int) -> Interval:
    """The interval of the share `hits / count` (Wilson, 1927, "Probable inference")."""
    found = stats.binomtest(hits, count).proportion_ci(1 - LEVEL, method="wilson")
    return Interval(float(found.low), float(found.high))


def mean_of(values: Sequence[float]) -> float:
    """The mean, rounded once: that of equal values is their value, however many there are."""
    return float(statistics.mean(values))


def difference_of_means(first: Sequence[float], second: Sequence[float]) -> float:
    """The mean of `second` less that of `first`; 0 where only rounding sets them apart."""
    difference = mean_of(second) - mean_of(first)
    return 0.0 if abs(difference) < ROUNDING else difference


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's t interval of the mean of two or more values, as of accuracies over seeds.

    None where all values are equal: they show nothing about random spread.
    """
    variance = _variance(values)
    if not variance:
        return None
    half = _quantile(len(values) - 1) * math.sqrt(variance / len(values))
    mean = mean_of(values)
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
    if count == 0:
        return 1.0
    if first_only == second_only:
        return 1 - float(stats.binom.pmf(fewer, count, 0.5)) / 2
    return float(2 * stats.binom.cdf(fewer, count, 0.5) - stats.binom.pmf(fewer, count, 0.5))


def paired_interval(
    first_only: int, second_only: int, count: int, level: float = LEVEL
) -> Interval:
    """The interval of the second's share of hits less the first's, on the same `count` images.

    Wald's, with one added to each discordant count and two to the images (Bonett and Price, 2012,
    "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data").
    """
    first, second = (first_only + 1) / (count + 2), (second_only + 1) / (count + 2)
    half = _normal(level) * math.sqrt((first + second - (second - first) ** 2) / (count + 2))
    middle = second - first
    return Interval(max(middle - half, -1.0), min(middle + half, 1.0))


def welch(first: Sequence[float], second: Sequence[float]) -> Outcome | None:
    """Welch's t test (1947) of the second mean against the first, which may differ in spread.

    None where neither has any spread but the means differ: then chance can't be estimated.
    """
    spreads = [_variance(values) / len(values) for values in (first, second)]
    difference = difference_of_means(first, second)
    total = sum(spreads)
    if total == 0:
        return Outcome(1.0, None) if difference == 0 else None
    parts = [(v / total) ** 2 / (len(x) - 1) for v, x in zip(spreads, (first, second), strict=True)]
    return _student(difference, math.sqrt(total), 1 / sum(parts))


def one_against_many(one: float, many: Sequence[float]) -> Outcome | None:
    """Student's t test of one value against two or more, which lend it their spread.

    It supposes that the one comes from a distribution as wide as theirs (Crawford and Howell, 1998,
    "Comparing an individual's test score against norms derived from small samples"). The difference
    is that of `one` less the mean of `many`. None where `many` have no spread and the one differs.
    """
    spread = math.sqrt(_variance(many))
    difference = difference_of_means(many, [one])
    if spread == 0:
        return Outcome(1.0, None) if difference == 0 else None
    return _student(difference, spread * math.sqrt(1 + 1 / len(many)), len(many) - 1)


BINS = 15
"""Equally wide bins of confidence, as in Guo et al."""


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, by bins of confidence.

    Attributes:
        edges: the M + 1 edges of the bins, from 0 to 1; a bin includes its upper edge.
        counts_M: images in each bin, int64.
        confidence_M: mean confidence of each bin; NaN for an empty one.
        accuracy_M: accuracy of each bin; NaN for an empty one.
    """

    edges: np.ndarray
    counts_M: np.ndarray
    confidence_M: np.ndarray
    accuracy_M: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| over images, in [0, 1]."""
        gaps_M = np.abs(self.accuracy_M - self.confidence_M)
        return float(np.nansum(gaps_M * self.counts_M) / self.counts_M.sum())


def reliability(confidence_N: np.ndarray, right_N: np.ndarray, bins: int = BINS) -> Reliability:
    """The numbers of a reliability diagram (Guo et al., 2017, arXiv:1706.04599).

    Shapes: N images, M bins.

    Args:
        confidence_N: probability of each image's predicted class, in [0, 1]; of at least one image.
        right_N: whether the prediction is right, bool.
        bins: number of bins, all equally wide.
    """
    edges = np.linspace(0, 1, bins + 1)
    places_N = np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, None)
    places_N = np.minimum(places_N, bins - 1)  # a confidence rounded above 1
    counts_M = np.bincount(places_N, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence_M = np.bincount(places_N, confidence_N, bins) / counts_M
        accuracy_M = np.bincount(places_N, right_N, bins) / counts_M
    return Reliability(edges, counts_M, confidence_M, accuracy_M)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values for several tests at once, each as large as the whole family makes it.

    Compared with 5 %, they keep the chance of any false alarm among all tests at 5 % or below
    (Holm, 1979, "A simple sequentially rejective multiple test procedure").
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(_rising(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def holm_levels(p_values: Sequence[float]) -> list[float]:
    """The level at which Holm's method tests each of several p values.

    The smallest of m is held to 5 % / m, the next to 5 % / (m - 1), and so on up to the first that
    is not below its level; the ones after it are held to that same level. An interval at its pair's
    level leaves out 0 just where Holm's method rejects equality.
    """
    levels, tests, stopped = [0.0] * len(p_values), len(p_values), False
    for index in _rising(p_values):
        levels[index] = LEVEL / tests
        stopped = stopped or p_values[index] * tests >= LEVEL
        tests -= not stopped
    return levels


def _rising(p_values: Sequence[float]) -> list[int]:
    """The places of the p values, the smallest value's first."""
    return sorted(range(len(p_values)), key=lambda index: p_values[index])


def _variance(values: Sequence[float]) -> float:
    """Of a sample; 0 where all values are equal but for rounding."""
    return float(np.var(values, ddof=1)) if max(values) - min(values) >= ROUNDING else 0.0


def _student(difference: float, error: float, freedom: float) -> Outcome:
    """The t test of a difference with its standard error and degrees of freedom."""
    p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    return Outcome(p, partial(_student_interval, difference, error, freedom))


def _student_interval(difference: float, error: float, freedom: float, level: float) -> Interval:
    half = _quantile(freedom, level) * error
    return Interval(difference - half, difference + half)


def _quantile(freedom: float, level: float = LEVEL) -> float:
    """Standard errors on either side of an estimate that hold all but `level` of Student's t."""
    return float(stats.t.isf(level / 2, freedom))


def _normal(level: float) -> float:
    """The same for a normal distribution."""
    return float(stats.norm.isf(level / 2))
