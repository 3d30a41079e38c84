"""Which images the network gets wrong, ranked."""

import numpy as np

from onecycle.evaluate import Evaluation


def most_confidently_wrong(evaluation: Evaluation, count: int = 20) -> np.ndarray:
    """Indices of the wrongly classified images, those with the most probable wrong class first.

    Args:
        evaluation: of any split.
        count: how many at the most.

    Returns:
        int64, at most `count`; images of equal confidence in the order of their indices.
    """
    wrong = np.flatnonzero(evaluation.predictions_N != evaluation.labels_N)
    order = np.argsort(-evaluation.confidence_N[wrong], kind="stable")
    return wrong[order[:count]]


def top_losses(evaluation: Evaluation, count: int = 20) -> np.ndarray:
    """Indices of the images with the greatest cross-entropy, right or wrong, the greatest first."""
    return np.argsort(-evaluation.losses_N, kind="stable")[:count]


def likely_label_errors(
    evaluation: Evaluation, count: int = 20, *, confidence: float = 0.95
) -> np.ndarray:
    """Indices of images whose label is likely wrong: the network is sure of another class.

    The rule is that of confident learning in its simplest form (Northcutt et al., 2021): an image
    is listed if the probability of the class predicted reaches what the network usually gives to
    images of that class (the mean over those labelled so), and `confidence` besides. Those whose
    own label is least probable come first.

    Args:
        evaluation: of any split.
        count: how many at the most.
        confidence: least probability of the other class, in [0, 1].

    Returns:
        int64, at most `count`; ties in the order of their indices.
    """
    usual_K = _usual_confidence(evaluation)
    wrong = most_confidently_wrong(evaluation, len(evaluation.labels_N))
    sure = np.maximum(usual_K[evaluation.predictions_N[wrong]], confidence)
    listed = wrong[evaluation.confidence_N[wrong] >= sure]
    return listed[np.lexsort((listed, -evaluation.losses_N[listed]))][:count]


def _usual_confidence(evaluation: Evaluation) -> np.ndarray:
    """Mean probability that each class gets on images labelled so, float64 K; 1 where none are."""
    own_N = np.exp(-evaluation.losses_N)
    classes = evaluation.logits_NK.shape[1]
    counts_K = np.bincount(evaluation.labels_N, minlength=classes)
    sums_K = np.bincount(evaluation.labels_N, weights=own_N, minlength=classes)
    return np.where(counts_K > 0, sums_K / np.maximum(counts_K, 1), 1.0)
