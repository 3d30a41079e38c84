"""Calibration and likely label errors against loops over plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from onecycle.evaluate import Evaluation
from onecycle.interpret import (
    expected_calibration_error,
    fitted_temperature,
    likely_label_errors,
    reliability,
)


def random_evaluation(count: int, classes: int, scale: float, seed: int) -> Evaluation:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (count, classes)).astype(np.float32)
    return Evaluation(logits, rng.integers(0, classes, count))


@given(
    count=st.integers(1, 200), classes=st.integers(2, 5), scale=st.floats(0.1, 20),
    bins=st.integers(1, 20), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_error_is_the_sum_over_bins(count, classes, scale, bins, seed):
    evaluation = random_evaluation(count, classes, scale, seed)
    confidence, total = evaluation.confidence_N, 0.0
    right = evaluation.predictions_N == evaluation.labels_N
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        inside = (confidence > low) & (confidence <= high)
        if place == bins - 1:
            inside |= confidence > 1  # by rounding
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += gap * inside.sum() / count
    assert expected_calibration_error(evaluation, bins) == pytest.approx(total, abs=1e-9)
    assert reliability(evaluation, bins).counts_M.sum() == count


def test_a_network_that_knows_nothing_and_says_so_is_calibrated():
    evaluation = Evaluation(np.zeros((400, 4), np.float32), np.arange(400) % 4)
    assert expected_calibration_error(evaluation) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_factor_on_the_logits(factor):
    """Labels drawn from the softmax itself are calibrated at temperature 1."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (40_000, 5))
    shares = np.exp(log_softmax(logits, axis=1)).cumsum(1)
    labels = np.minimum((rng.random((len(logits), 1)) > shares).sum(1), 4)
    evaluation = Evaluation((factor * logits).astype(np.float32), labels)
    assert fitted_temperature(evaluation) == pytest.approx(factor, rel=0.03)


def test_images_without_a_mistake_say_nothing_about_the_temperature():
    """The lower the temperature, the lower their loss: the fit would end at its bound."""
    logits = np.random.default_rng(0).normal(0, 2, (50, 3)).astype(np.float32)
    assert fitted_temperature(Evaluation(logits, logits.argmax(axis=1))) == 1


@given(seed=st.integers(0, 99), confidence=st.sampled_from([0.0, 0.5, 0.9]))
def test_likely_label_errors_are_those_of_the_rule(seed, confidence):
    evaluation = random_evaluation(60, 3, 4.0, seed)
    probabilities = evaluation.probabilities_NK
    labels, predictions = evaluation.labels_N.tolist(), evaluation.predictions_N.tolist()
    usual = [
        np.mean([probabilities[i, k] for i in range(60) if labels[i] == k] or [1]) for k in range(3)
    ]
    expected = [
        i
        for i in range(60)
        if predictions[i] != labels[i]
        and probabilities[i, predictions[i]] >= max(usual[predictions[i]], confidence)
    ]
    expected.sort(key=lambda i: probabilities[i, labels[i]])
    found = likely_label_errors(evaluation, 10, confidence=confidence)
    assert found.tolist() == expected[:10]
