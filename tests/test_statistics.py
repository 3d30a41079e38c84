"""Intervals and tests against SciPy, against enumeration, and by simulated false alarms."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulated_runs import in_memory

from onecycle.experiments import statistics
from onecycle.experiments.groups import group_runs
from onecycle.experiments.pairs import compare_pairs

VALUES = st.lists(st.floats(0, 1), min_size=2, max_size=8)
COUNTS = st.integers(0, 400)


@given(COUNTS, COUNTS)
def test_mid_p_is_the_exact_p_less_half_of_what_was_seen(first: int, second: int) -> None:
    count = first + second
    exact = stats.binomtest(first, count, 0.5).pvalue if count else 1.0
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
    assert ours.interval is not None
    assert tuple(ours.interval) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-6)


def test_without_any_spread_only_equality_can_be_told() -> None:
    equal = statistics.welch([0.5, 0.5], [0.5, 0.5])
    assert equal is not None
    assert equal.p == 1
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
    assert tuple(statistics.mean_interval(values)) == pytest.approx(tuple(theirs), rel=1e-9)


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_rejects_what_his_procedure_rejects(p_values: list[float]) -> None:
    rejected = set()
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (len(p_values) - rank) >= statistics.LEVEL:
            break
        rejected.add(int(index))
    adjusted = statistics.holm(p_values)
    assert {index for index, p in enumerate(adjusted) if p < statistics.LEVEL} == rejected


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


def alarms(runs_of: "list[list[np.ndarray]]") -> float:
    """Share of simulated comparisons that tell two groups apart; each is the runs of both."""
    found = 0
    for trial in runs_of:
        half = len(trial) // 2
        runs = [
            in_memory(right_N, seed=index % half, cutout=8 * (index // half))
            for index, right_N in enumerate(trial)
        ]
        (pair,) = compare_pairs(group_runs(runs)[0])
        found += bool(pair.distinguishable)
    return found / len(runs_of)


@pytest.mark.parametrize("apart", [0.03, 0.2])
def test_single_runs_that_do_not_differ_are_told_apart_in_5_percent(apart: float) -> None:
    """Two networks of equal accuracy that disagree on few or on many of 400 images."""
    draws = np.random.default_rng(1)
    trials = []
    for which_N in draws.choice(3, size=(TRIALS, 400), p=(1 - apart, apart / 2, apart / 2)):
        trials.append([which_N != 1, which_N != 2])
    assert 0.038 <= alarms(trials) <= 0.055


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.025), (5, 0.038), (10, 0.042)])
def test_recipes_that_do_not_differ_are_told_apart_in_at_most_5_percent(
    seeds: int, least: float
) -> None:
    """Groups whose networks differ in accuracy by their seeds. Welch's is shy with few seeds."""
    draws = np.random.default_rng(2)
    skills = np.clip(
        draws.normal(0.8, 0.02, (TRIALS // 3 if seeds == 10 else TRIALS, 2 * seeds)), 0, 1
    )
    trials = [[np.arange(1000) < round(1000 * skill) for skill in row] for row in skills]
    assert least <= alarms(trials) <= 0.0585


def test_a_family_of_comparisons_raises_a_false_alarm_in_at_most_5_percent() -> None:
    draws = np.random.default_rng(3)
    families = 0
    for _ in range(500):
        runs = [
            in_memory(np.arange(500) < round(500 * skill), seed=seed, cutout=cutout)
            for cutout in (0, 2, 4, 8)
            for seed, skill in enumerate(draws.normal(0.8, 0.02, 4))
        ]
        families += any(pair.distinguishable for pair in compare_pairs(group_runs(runs)[0]))
    assert 0.01 <= families / 500 <= 0.06
