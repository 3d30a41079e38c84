"""Pairs of groups: the difference in test accuracy, its interval, and whether chance explains it.

Two single runs are compared by McNemar's test on the same test images, which tells two networks
apart, not two recipes. Groups over seeds are compared by Welch's test, and a single run with such a
group by Student's. All p values of one comparison are corrected together, after Holm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from onecycle.experiments import statistics
from onecycle.experiments.groups import Group
from onecycle.experiments.reading import FinishedRun
from onecycle.experiments.statistics import LEVEL, Interval, Outcome

MCNEMAR, WELCH, STUDENT = "McNemar", "Welch", "Student"


@dataclass(frozen=True)
class Pair:
    """Two groups, and how they differ.

    Attributes:
        first, second: their letters.
        difference: mean test accuracy of the second less that of the first, in [-1, 1].
        interval: of the difference, at 95 %, for this pair alone; None where nothing was tested.
        test: `McNemar` (mid-p), `Welch` or `Student`; empty where nothing was tested.
        p: its two-sided p value.
        p_holm: the same, corrected for the number of pairs that were tested.
        first_only, second_only: test images that one alone is right about, for McNemar's test.
        reason: why nothing was tested.
    """

    first: str
    second: str
    difference: float
    interval: Interval | None = None
    test: str = ""
    p: float | None = None
    p_holm: float | None = None
    first_only: int | None = None
    second_only: int | None = None
    reason: str = ""

    @property
    def distinguishable(self) -> bool | None:
        """Whether chance is ruled out at 5 %, all pairs considered; None where none was tested."""
        return None if self.p_holm is None else self.p_holm < LEVEL

    @property
    def verdict(self) -> str:
        """What is to be made of it, in words."""
        if self.distinguishable is None:
            return f"not tested: {self.reason}"
        if not self.distinguishable:
            return "not distinguishable"
        better = self.second if self.difference > 0 else self.first
        return f"{better}'s run is better" if self.test == MCNEMAR else f"{better} is better"


def compare_pairs(groups: Sequence[Group]) -> list[Pair]:
    """All pairs of groups in their order, with p values corrected for their number."""
    pairs = [_pair(first, second) for first, second in combinations(groups, 2)]
    tested = [pair.p for pair in pairs if pair.p is not None]
    corrected = iter(statistics.holm(tested))
    return [pair if pair.p is None else replace(pair, p_holm=next(corrected)) for pair in pairs]


def same_test(first: FinishedRun, second: FinishedRun) -> bool:
    """Whether two runs were tested on the same images: of the same data, or by name and label."""
    same_data = first.fingerprint == second.fingerprint  # of another place, they have other names
    return first.test.same_labels(second.test) and (same_data or first.test.same_names(second.test))


def _pair(first: Group, second: Group) -> Pair:
    difference = second.mean("test_accuracy") - first.mean("test_accuracy")
    pair = Pair(first.letter, second.letter, difference)
    if not same_test(first.runs[0], second.runs[0]):
        return replace(pair, reason="different test images")
    if first.n == second.n == 1:
        return _paired(pair, first.runs[0], second.runs[0])
    values = first.values("test_accuracy"), second.values("test_accuracy")
    if first.n > 1 and second.n > 1:
        return _with(pair, WELCH, statistics.welch(*values))
    if first.n == 1:
        outcome = statistics.one_against_many(values[0][0], values[1])
        if outcome and outcome.interval:
            low, high = outcome.interval
            outcome = Outcome(outcome.p, Interval(-high, -low))
    else:
        outcome = statistics.one_against_many(values[1][0], values[0])
    return _with(pair, STUDENT, outcome)


def _with(pair: Pair, test: str, outcome: Outcome | None) -> Pair:
    if outcome is None:
        return replace(pair, reason="all seeds gave the same accuracy")
    return replace(pair, test=test, p=outcome.p, interval=outcome.interval)


def _paired(pair: Pair, first: FinishedRun, second: FinishedRun) -> Pair:
    first_only = int(np.sum(~first.test.wrong_N & second.test.wrong_N))
    second_only = int(np.sum(first.test.wrong_N & ~second.test.wrong_N))
    return replace(
        pair,
        test=MCNEMAR,
        p=statistics.mcnemar_mid_p(first_only, second_only),
        interval=statistics.paired_interval(first_only, second_only, len(first.test.wrong_N)),
        first_only=first_only,
        second_only=second_only,
    )
