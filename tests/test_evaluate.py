"""Metrics against PyTorch and SciPy, predictions against a plain loop."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from torch import nn
from torch.nn import functional as F

from onecycle.data.image_set import ImageSet
from onecycle.evaluate import BATCH_SIZE, Evaluation, predict


def random_evaluation(seed: int, count: int = 200, classes: int = 7) -> Evaluation:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (count, classes)).astype(np.float32)
    return Evaluation(logits, rng.integers(0, classes, count))


@given(seed=st.integers(0, 10_000))
def test_metrics_agree_with_other_libraries(seed):
    evaluation = random_evaluation(seed)
    logits, labels = torch.tensor(evaluation.logits_NK).double(), torch.tensor(evaluation.labels_N)
    assert evaluation.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-12)
    expected = softmax(evaluation.logits_NK.astype(np.float64), axis=1)
    np.testing.assert_allclose(evaluation.probabilities_NK, expected, rtol=1e-10)
    np.testing.assert_allclose(evaluation.confidence_N, expected.max(axis=1), rtol=1e-10)


def test_confusion_counts_each_pair():
    evaluation = random_evaluation(1)
    expected = np.zeros((7, 7), int)
    for label, prediction in zip(evaluation.labels_N, evaluation.predictions_N, strict=True):
        expected[label, prediction] += 1
    assert np.array_equal(evaluation.confusion_KK, expected)
    assert evaluation.accuracy == expected.trace() / expected.sum()
    for label in range(7):
        of_class = evaluation.labels_N == label
        share = (evaluation.predictions_N[of_class] == label).mean()
        assert evaluation.class_accuracy_K[label] == pytest.approx(share)


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 9))
def test_balanced_accuracy_is_the_accuracy_with_equally_weighted_classes(seed, classes):
    """Exactly, in fractions: an image of a class with n images weighs 1 / n; some are absent."""
    evaluation = random_evaluation(seed, count=30, classes=classes)
    labels = evaluation.labels_N.tolist()
    weights = [Fraction(1, labels.count(label)) for label in labels]
    hits = [max(range(classes), key=row.__getitem__) for row in evaluation.logits_NK.tolist()]
    right = sum(w for w, hit, label in zip(weights, hits, labels, strict=True) if hit == label)
    assert evaluation.balanced_accuracy == pytest.approx(float(right / sum(weights)), rel=1e-12)


def test_balanced_accuracy_is_accuracy_if_classes_have_equally_many_images():
    evaluation = replace(random_evaluation(3, count=210), labels_N=np.arange(210) % 7)
    assert evaluation.balanced_accuracy == pytest.approx(evaluation.accuracy, rel=1e-12)


def test_always_predicting_the_commonest_class_is_balanced_to_chance():
    evaluation = Evaluation(np.eye(2, dtype=np.float32)[[0] * 20], np.array([0] * 19 + [1]))
    assert (evaluation.accuracy, evaluation.balanced_accuracy) == (0.95, 0.5)


def test_a_class_without_images_has_no_accuracy():
    evaluation = Evaluation(np.eye(3, dtype=np.float32)[[0, 1]], np.array([0, 1]))
    assert np.isnan(evaluation.class_accuracy_K[2])
    assert evaluation.accuracy == 1.0


def test_huge_logits_stay_finite():
    evaluation = Evaluation(np.array([[1e30, -1e30]], np.float32), np.array([0]))
    assert evaluation.loss == 0.0


class Recorder(nn.Module):
    """A linear model on the mean colour that records its mode and batch size at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.calls: list[tuple[bool, int]] = []

    def forward(self, batch_BCHW):
        self.calls.append((self.training, len(batch_BCHW)))
        weight = torch.linspace(0, 1, batch_BCHW.shape[3])
        return self.linear((batch_BCHW * weight).mean((2, 3)))


@pytest.mark.parametrize("mirrored", [False, True])
def test_predictions_are_the_plain_loop_in_order(mirrored):
    rng = np.random.default_rng(0)
    count = BATCH_SIZE * 2 + 7
    pixels = rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
    images = ImageSet(pixels, np.zeros(count, np.int64), ("a", "b", "c", "d"), ("",) * count)
    model = Recorder().train()
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    logits = predict(
        model, images, mean=mean, std=std, device=torch.device("cpu"), precision="fp32",
        mirrored=mirrored,
    )  # fmt: skip
    assert [mode for mode, _ in model.calls] == [False] * 3
    assert model.training
    assert sum(size for _, size in model.calls) == count
    floats = (torch.tensor(pixels) / 255 - torch.tensor(mean)) / torch.tensor(std)
    if mirrored:
        floats = floats.flip(2)
    with torch.no_grad():
        expected = model(floats.permute(0, 3, 1, 2))
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-4, atol=1e-5)
