"""Proving a peak rate: the search against brute force, and real probes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onecycle.errors import TrainingError
from onecycle.lr_finder import Probe, prove
from onecycle.lr_finder.proof import FACTOR, MOST, expected_cost


@given(
    peak=st.floats(-2.4, 2.4).filter(lambda x: abs(x - round(x)) != 0.5),
    start=st.floats(1e-6, 10),
    scale=st.floats(0.1, 100),
)
def test_it_finds_the_best_of_all_probes_on_a_hill(peak, start, scale):
    """On a single hill, climbing outward must find the same as trying every place."""

    def hill(lr):
        return -scale * abs(math.log(lr / start, FACTOR) - peak)

    proof = prove(hill, start)
    places = [start * FACTOR**k for k in range(-5, 6)]
    assert proof.best == pytest.approx(max(places, key=hill))
    assert FACTOR**-0.5 <= proof.lr_max / proof.best <= FACTOR**0.5
    assert proof.bracketed
    assert len(proof.probes) <= MOST
    assert [p.lr for p in proof.probes] == sorted(p.lr for p in proof.probes)
    assert all(probe == Probe(probe.lr, hill(probe.lr)) for probe in proof.probes)


@given(
    peak=st.floats(-0.45, 0.45),
    start=st.floats(1e-6, 10),
    scale=st.floats(0.01, 100),
    height=st.floats(-5, 5),
)
def test_on_a_parabola_the_rate_is_its_top(peak, start, scale, height):
    proof = prove(lambda lr: height - scale * (math.log(lr / start, FACTOR) - peak) ** 2, start)
    assert proof.lr_max == pytest.approx(start * FACTOR**peak, rel=1e-3)


def test_the_rate_moves_away_from_a_neighbour_that_diverged():
    proof = prove(lambda lr: None if lr > 0.2 else (0.5 if lr > 0.05 else 0.4), 0.1)
    assert proof.best == 0.1
    assert 0.1 / FACTOR**0.5 < proof.lr_max < 0.1


def test_three_probes_suffice_if_the_suggestion_is_best():
    tried = []
    proof = prove(lambda lr: tried.append(lr) or -abs(math.log(lr / 0.1)), 0.1)
    assert tried == pytest.approx([0.1, 0.1 / 3, 0.3])
    assert proof.lr_max == pytest.approx(0.1)


def test_it_gives_up_at_the_most_probes_and_says_that_it_is_not_bracketed():
    proof = prove(lambda lr: lr, 1.0)
    assert len(proof.probes) == MOST
    assert proof.lr_max == pytest.approx(3.0**5)
    assert not proof.bracketed


def test_no_rate_above_a_divergence_is_tried():
    tried = []

    def score(lr):
        tried.append(lr)
        return None if lr > 0.05 else lr

    proof = prove(score, 0.1)
    assert max(tried) == pytest.approx(0.3)
    assert proof.best == pytest.approx(0.1 / 3)
    assert proof.bracketed


def test_among_equals_the_one_nearest_to_the_suggestion_wins():
    assert prove(lambda lr: 0.5, 0.1).lr_max == 0.1


def test_all_diverged_is_an_error_with_a_remedy():
    with pytest.raises(TrainingError, match=r"from lr_max 0.00041 to 0.3 diverged; give lr_max"):
        prove(lambda lr: None, 0.1)


def test_the_cost_in_words():
    assert expected_cost(100, 0.01) == "3 to 7 trainings of 100 steps, 3.0 s to 7.0 s"
    assert expected_cost(1000, 0.5) == "3 to 7 trainings of 1,000 steps, 25 min 00 s to 58 min 20 s"
