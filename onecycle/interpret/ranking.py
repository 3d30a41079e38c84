"""Which images the network gets wrong, ranked."""

import numpy as np

from onecycle.evaluate import Evaluation


def most_confidently_wrong(evaluation: Evaluation, count: int = 20) -> np.ndarray:
    """Indices of the misclassified images, the highest cross-entropy first: the top losses.

    These are the images whose actual class gets the lowest probability. It is the only ranking of
    mistakes: `plots/misclassified.png` and the report show its first images in this order. A
    correctly classified image is never among them, whatever its loss.

    Args:
        evaluation: of any split.
        count: the largest number of indices to return.

    Returns:
        int64, at most `count`: fewer if fewer are wrong. Images of equal loss are in the order of
        their indices.
    """
    wrong = np.flatnonzero(evaluation.predictions_N != evaluation.labels_N)
    order = np.argsort(-evaluation.losses_N[wrong], kind="stable")
    return wrong[order[:count]]


def likely_label_errors(
    evaluation: Evaluation, count: int = 20, *, confidence: float = 0.95
) -> np.ndarray:
    """Indices of images whose label is likely wrong: the network is sure of another class.

    The rule is the simplest form of confident learning (Northcutt et al., 2021). An image is
    listed if the probability of its predicted class reaches `confidence` and also the mean
    probability that images labelled with that class get for it. The least probable labels come
    first.

    Args:
        evaluation: of any split.
        count: the largest number of indices to return.
        confidence: the lowest probability of the other class, in [0, 1].

    Returns:
        int64, at most `count`; ties in the order of their indices.
    """
    usual_K = _usual_confidence(evaluation)
    wrong = most_confidently_wrong(evaluation, len(evaluation.labels_N))
    sure = np.maximum(usual_K[evaluation.predictions_N[wrong]], confidence)
    return wrong[evaluation.confidence_N[wrong] >= sure][:count]


def _usual_confidence(evaluation: Evaluation) -> np.ndarray:
    """Each class's mean probability on images with that label, float64 K; 1 without images."""
    own_N = np.exp(-evaluation.losses_N)
    classes = evaluation.logits_NK.shape[1]
    counts_K = np.bincount(evaluation.labels_N, minlength=classes)
    sums_K = np.bincount(evaluation.labels_N, weights=own_N, minlength=classes)
    return np.where(counts_K > 0, sums_K / np.maximum(counts_K, 1), 1.0)
