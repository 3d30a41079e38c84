"""Pairs of groups: the difference in test accuracy, its interval, and whether chance explains it.

Two single runs are compared by McNemar's test on the same test images. It compares two networks,
not two recipes. Groups over seeds are compared by Welch's test, and a single run with such a group
by Student's. All p values of one comparison are corrected together by Holm's method. A pair's
interval is at the level at which that method tested the pair, so that both agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np

from onecycle import statistics
from onecycle.experiments.groups import Group
from onecycle.experiments.reading import FinishedRun, same_test
from onecycle.statistics import LEVEL, Interval

MCNEMAR, WELCH, STUDENT = "McNemar", "Welch", "Student"
DIFFERENT_IMAGES, NO_SPREAD = "different test images", "all seeds gave the same accuracy"
"""Why a pair was not tested."""


@dataclass(frozen=True)
class Pair:
    """Two groups, and how they differ.

    Attributes:
        first, second: their letters.
        first_name, second_name: their names.
        difference: mean test accuracy of the second minus that of the first, in [-1, 1].
        interval: of the difference, at 95 %, for this pair alone; None where nothing was tested,
            and where no seed changed anything.
        interval_holm: the same at the level at which Holm's method tested the pair, 95 % or more:
            it excludes 0 exactly where the groups are distinguishable.
        test: `McNemar` (mid-p), `Welch` or `Student`; empty where nothing was tested.
        p: its two-sided p value.
        p_holm: the same, corrected for the number of pairs that were tested.
        first_only, second_only: test images that only one classifies correctly (McNemar's test).
        reason: why nothing was tested.
    """

    first: str
    second: str
    first_name: str
    second_name: str
    difference: float
    interval: Interval | None = None
    interval_holm: Interval | None = None
    test: str = ""
    p: float | None = None
    p_holm: float | None = None
    first_only: int | None = None
    second_only: int | None = None
    reason: str = ""

    @property
    def distinguishable(self) -> bool | None:
        """Whether chance is ruled out at 5 %, corrected for all pairs; None if not tested."""
        return None if self.p_holm is None else self.p_holm < LEVEL

    @property
    def verdict(self) -> str:
        """The conclusion in words."""
        if self.distinguishable is None:
            return f"not tested: {self.reason}"
        if not self.distinguishable:
            return "not distinguishable"
        better = self.second_name if self.difference > 0 else self.first_name
        return f"{better}'s run is better" if self.test == MCNEMAR else f"{better} is better"


def compare_pairs(groups: Sequence[Group], baseline: Group | None = None) -> list[Pair]:
    """All pairs of groups in order, or each other group with the baseline.

    p values and intervals are corrected for the number of pairs.
    """
    if baseline is None:
        pairs = list(combinations(groups, 2))
    else:
        pairs = [(baseline, group) for group in groups if group is not baseline]
    tested = [_tested(first, second) for first, second in pairs]
    p_values = [pair.p for pair, _ in tested if pair.p is not None]
    corrections = zip(statistics.holm(p_values), statistics.holm_levels(p_values), strict=True)
    return [
        pair if pair.p is None else _corrected(pair, interval_at, *next(corrections))
        for pair, interval_at in tested
    ]


IntervalAt = Callable[[float], Interval] | None
"""Gives a difference's interval at a level; None where there is none."""


def _tested(first: Group, second: Group) -> tuple[Pair, IntervalAt]:
    """The pair with the uncorrected p value of its test."""
    values = first.values("test_accuracy"), second.values("test_accuracy")
    names = (first.letter, second.letter, first.name, second.name)
    pair = Pair(*names, statistics.difference_of_means(*values))
    if not same_test(first.runs[0], second.runs[0]):
        return replace(pair, reason=DIFFERENT_IMAGES), None
    if first.n == second.n == 1:
        return _paired(pair, first.runs[0], second.runs[0])
    if first.n > 1 and second.n > 1:
        test, outcome = WELCH, statistics.welch(*values)
    elif first.n == 1:
        test, outcome = STUDENT, statistics.one_against_many(values[0][0], values[1])
    else:
        test, outcome = STUDENT, statistics.one_against_many(values[1][0], values[0])
    if outcome is None:
        return replace(pair, reason=NO_SPREAD), None
    interval_at = outcome.interval_at
    if interval_at and first.n == 1:  # the difference was first minus second
        interval_at = partial(_mirrored, interval_at)
    return replace(pair, test=test, p=outcome.p), interval_at


def _mirrored(interval_at: Callable[[float], Interval], level: float) -> Interval:
    low, high = interval_at(level)
    return Interval(-high, -low)


def _paired(pair: Pair, first: FinishedRun, second: FinishedRun) -> tuple[Pair, IntervalAt]:
    first_only = int(np.sum(~first.test.wrong_N & second.test.wrong_N))
    second_only = int(np.sum(first.test.wrong_N & ~second.test.wrong_N))
    p = statistics.mcnemar_mid_p(first_only, second_only)
    tested = replace(pair, test=MCNEMAR, p=p, first_only=first_only, second_only=second_only)
    images = len(first.test.wrong_N)
    return tested, partial(statistics.paired_interval, first_only, second_only, images)


def _corrected(pair: Pair, interval_at: IntervalAt, p_holm: float, level: float) -> Pair:
    """The pair with its p value and interval corrected for all tested pairs."""
    pair = replace(pair, p_holm=p_holm)
    if interval_at is None:
        return pair
    agreeing = _agreeing(_possible(interval_at(level)), pair)
    return replace(pair, interval=_possible(interval_at(LEVEL)), interval_holm=agreeing)


def _possible(interval: Interval) -> Interval:
    """The part of the interval that a difference of accuracies can lie in."""
    return Interval(max(interval.low, -1.0), min(interval.high, 1.0))


def _agreeing(interval: Interval, pair: Pair) -> Interval:
    """The interval, adjusted to contain 0 exactly where the test does not rule 0 out.

    Student's interval and test always agree. McNemar's test and the interval of paired shares are
    computed in different ways, and may disagree in close cases: there the test decides.
    """
    low, high = interval
    if not pair.distinguishable:
        return Interval(min(low, 0.0), max(high, 0.0))
    return Interval(max(low, 0.0), high) if pair.difference > 0 else Interval(low, min(high, 0.0))
