"""Intervals and tests against SciPy, against enumeration, and by simulated false alarms."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulated_runs import in_memory, predictions

from onecycle import statistics
from onecycle.experiments.groups import Group
from onecycle.experiments.pairs import Pair, compare_pairs
from onecycle.experiments.reading import FinishedRun

VALUES = st.lists(st.floats(0, 1), min_size=2, max_size=8)
COUNTS = st.integers(0, 400)


@given(COUNTS, COUNTS)
def test_mid_p_is_the_exact_p_less_half_of_what_was_seen(first: int, second: int) -> None:
    count = first + second
    if count == 0:  # the same answers: nothing speaks for a difference
        assert statistics.mcnemar_mid_p(first, second) == 1
        return
    exact = stats.binomtest(first, count, 0.5).pvalue
    tie = 2 if first != second else 1  # both tails hold an outcome as likely as the one seen
    expected = exact - tie * stats.binom.pmf(first, count, 0.5) / 2
    assert statistics.mcnemar_mid_p(first, second) == pytest.approx(expected, abs=1e-12)


def test_mid_p_by_enumeration() -> None:
    # 1 against 5: of the 64 equally likely outcomes of six coins, 2 have no head or no tail and
    # 12 have one of either.
    outcomes = [sum(coins) for coins in product((0, 1), repeat=6)]
    extreme = sum(heads in (0, 6) for heads in outcomes)
    equal = sum(heads in (1, 5) for heads in outcomes)
    assert statistics.mcnemar_mid_p(1, 5) == pytest.approx((extreme + equal / 2) / 64)


@pytest.mark.filterwarnings("ignore:Precision loss")  # SciPy's, about values that are equal
@given(VALUES, VALUES)
def test_welch_is_scipys(first: list[float], second: list[float]) -> None:
    ours = statistics.welch(first, second)
    spread = np.var(first, ddof=1) / len(first) + np.var(second, ddof=1) / len(second)
    if spread < 1e-12:
        return
    theirs = stats.ttest_ind(second, first, equal_var=False)
    assert ours is not None
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-6, abs=1e-12)
    assert ours.interval_at is not None
    for level in (0.05, 0.01):
        found = tuple(ours.interval_at(level))
        assert found == pytest.approx(tuple(theirs.confidence_interval(1 - level)), rel=1e-6)


def test_without_any_spread_only_equality_can_be_told() -> None:
    equal = statistics.welch([0.5, 0.5], [0.5, 0.5])
    assert equal == statistics.Outcome(1.0, None)
    assert statistics.one_against_many(0.5, [0.5, 0.5]) == statistics.Outcome(1.0, None)
    assert statistics.welch([0.1, 0.1, 0.1], [0.7, 0.7, 0.7]) is None
    assert statistics.one_against_many(0.7, [0.1, 0.1, 0.1]) is None


@given(st.floats(0, 1), VALUES)
def test_one_against_many_is_students_with_their_spread(one: float, many: list[float]) -> None:
    if np.var(many) < 1e-12:  # rounding alone
        return
    ours = statistics.one_against_many(one, many)
    statistic = (one - np.mean(many)) / (np.std(many, ddof=1) * math.sqrt(1 + 1 / len(many)))
    assert ours is not None
    expected = 2 * stats.t.cdf(-abs(statistic), len(many) - 1)
    assert ours.p == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.mark.filterwarnings("ignore:Precision loss")
@given(VALUES)
def test_the_interval_of_a_mean_is_scipys(values: list[float]) -> None:
    if np.var(values) < 1e-12:
        return
    theirs = stats.ttest_1samp(values, 0).confidence_interval()
    ours = statistics.mean_interval(values)
    assert ours is not None
    assert tuple(ours) == pytest.approx(tuple(theirs), rel=1e-9)


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_rejects_what_his_procedure_rejects(p_values: list[float]) -> None:
    rejected = set()
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (len(p_values) - rank) >= statistics.LEVEL:
            break
        rejected.add(int(index))
    adjusted = statistics.holm(p_values)
    assert {index for index, p in enumerate(adjusted) if p < statistics.LEVEL} == rejected


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=9))
def test_each_p_value_is_held_to_the_level_of_its_step_of_holms_procedure(
    p_values: list[float],
) -> None:
    """By the procedure's words: at each step the smallest that is left is held to 5 % / left."""
    left, expected = sorted(p_values), {}
    while left:
        level = 0.05 / len(left)
        if left[0] >= level:
            expected |= dict.fromkeys(left, level)
            break
        expected.setdefault(left.pop(0), level)
    levels = statistics.holm_levels(p_values)
    rejected = [p < level for p, level in zip(p_values, levels, strict=True)]
    assert rejected == [p < statistics.LEVEL for p in statistics.holm(p_values)]
    for p, level in zip(p_values, levels, strict=True):
        if p_values.count(p) == 1:
            assert level == pytest.approx(expected[p])


@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 30))
def test_equal_accuracies_are_equal_however_many_seeds_have_them(
    right: int, first: int, second: int
) -> None:
    value = right / 10_000
    assert statistics.mean_of([value] * first) == value
    assert statistics.difference_of_means([value] * first, [value] * second) == 0
    assert statistics.mean_interval([value] * first) is None
    assert statistics.welch([value] * first, [value] * second) == (1.0, None)


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=6), st.randoms())
def test_equal_means_of_different_seeds_are_equal(right: list[int], draws: random.Random) -> None:
    """The same counts in another order and twice over, or their mean: exact in integers."""
    first = [count / 1000 for count in right]
    second = draws.sample(first, len(first)) * 2
    mean = sum(right) / len(right) / 1000
    assert statistics.difference_of_means(first, second) == 0
    assert statistics.difference_of_means(first, [mean, mean]) == 0
    moved = [*first[:-1], first[-1] + 1e-6]  # one image in a million
    assert statistics.difference_of_means(first, moved) > 0


def test_wilson_and_the_paired_interval_cover_the_truth() -> None:
    draws = np.random.default_rng(0)
    count, trials = 500, 2000
    covered = np.zeros(2)
    for hits in draws.binomial(count, 0.9, trials):
        low, high = statistics.wilson(int(hits), count)
        covered[0] += low <= 0.9 <= high
    for _, first_only, second_only in draws.multinomial(count, (0.9, 0.06, 0.04), trials):
        low, high = statistics.paired_interval(int(first_only), int(second_only), count)
        covered[1] += low <= -0.02 <= high
    assert covered / trials == pytest.approx(0.95, abs=0.012)


# -------------------------------------------------------------------------------- false alarms

TRIALS = 3000
"""A rate of 5 % has a standard error of 0.4 points over so many."""

BASE = in_memory(np.ones(400, dtype=bool))


def drawn(accuracy: float, right_N: np.ndarray | None = None) -> FinishedRun:
    """A run of this accuracy; single runs are tested by the images that are right."""
    result = replace(BASE.result, test_accuracy=accuracy)
    if right_N is None:
        return replace(BASE, result=result)
    test = replace(BASE.test, predicted_N=predictions(right_N))
    return replace(BASE, result=result, test=test)


def told_apart(*groups: Sequence[FinishedRun]) -> bool:
    """Whether any two of these groups are said to differ."""
    return any(pair.distinguishable for pair in pairs_of(*groups))


def pairs_of(*groups: Sequence[FinishedRun]) -> list[Pair]:
    letters = "ABCDEFGH"[: len(groups)]
    made = [
        Group(letter, letter, tuple(runs), {}, {})
        for letter, runs in zip(letters, groups, strict=True)
    ]
    return compare_pairs(made)


@pytest.mark.parametrize("apart", [0.03, 0.2])
def test_single_runs_that_do_not_differ_are_told_apart_in_5_percent(apart: float) -> None:
    """Two networks of equal accuracy that disagree on few or on many of 400 images."""
    draws = np.random.default_rng(1)
    alarms = 0
    for which_N in draws.choice(3, size=(TRIALS, 400), p=(1 - apart, apart / 2, apart / 2)):
        pair = [[drawn(float(right_N.mean()), right_N)] for right_N in (which_N != 1, which_N != 2)]
        alarms += told_apart(*pair)
    assert 0.04 <= alarms / TRIALS <= 0.055


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.025), (5, 0.038), (10, 0.042)])
def test_recipes_that_do_not_differ_are_told_apart_in_at_most_5_percent(
    seeds: int, least: float
) -> None:
    """Groups whose networks differ in accuracy by their seeds. Welch's is shy with few seeds."""
    draws = np.random.default_rng(2)
    alarms = 0
    for first, second in draws.normal(0.8, 0.02, (TRIALS, 2, seeds)).tolist():
        alarms += told_apart([drawn(x) for x in first], [drawn(x) for x in second])
    assert least <= alarms / TRIALS <= 0.055


def test_one_run_that_does_not_differ_from_several_is_told_apart_in_5_percent() -> None:
    draws = np.random.default_rng(4)
    alarms = 0
    for one, *many in draws.normal(0.8, 0.02, (TRIALS, 5)).tolist():
        alarms += told_apart([drawn(one)], [drawn(x) for x in many])
    assert 0.04 <= alarms / TRIALS <= 0.06


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_holds_0_just_where_the_two_are_not_distinguishable(seeds: int) -> None:
    """Over many families of four recipes, some better than others: tests and intervals agree."""
    draws = np.random.default_rng(5)
    counted = dict.fromkeys((True, False), 0)
    for _ in range(150):
        accuracies = draws.normal(0.8, 0.02, (4, 1)) + draws.normal(0, 0.01, (4, seeds))
        images = draws.random((4, seeds, 400)) < accuracies[..., None]
        family = [[drawn(run.mean(), run) for run in group] for group in images]
        for pair in pairs_of(*family):
            assert pair.interval_holm is not None
            low, high = pair.interval_holm
            assert pair.distinguishable is (low >= 0 or high <= 0) or low == high == 0
            assert pair.interval.low >= low - 1e-12 or pair.test == "McNemar"
            counted[pair.distinguishable] += 1
    assert min(counted.values()) >= 20


def test_a_family_of_comparisons_raises_a_false_alarm_in_at_most_5_percent() -> None:
    """Six pairs of four recipes: Holm's correction keeps the rate, which would be 20 % without."""
    draws = np.random.default_rng(3)
    alarms = sum(
        told_apart(*([drawn(x) for x in group] for group in family))
        for family in draws.normal(0.8, 0.02, (500, 4, 4)).tolist()
    )
    assert 0.01 <= alarms / 500 <= 0.06
