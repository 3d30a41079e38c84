"""Which images the network gets wrong, ranked."""

import numpy as np

from onecycle.evaluate import Evaluation


def most_confidently_wrong(evaluation: Evaluation, count: int = 20) -> np.ndarray:
    """Indices of the misclassified images, the greatest cross-entropy first: the top losses.

    These are the images to whose actual class the network gives the least probability. This is the
    one ranking of mistakes: `plots/misclassified.png` and the report show its first images in this
    order. An image that is classified rightly is never among them, whatever its loss.

    Args:
        evaluation: of any split.
        count: how many at the most.

    Returns:
        int64, at most `count`: fewer where fewer are wrong. Images of equal loss are in the order
        of their indices.
    """
    wrong = np.flatnonzero(evaluation.predictions_N != evaluation.labels_N)
    order = np.argsort(-evaluation.losses_N[wrong], kind="stable")
    return wrong[order[:count]]


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
    return wrong[evaluation.confidence_N[wrong] >= sure][:count]


def _usual_confidence(evaluation: Evaluation) -> np.ndarray:
    """Mean probability that each class gets on images labelled so, float64 K; 1 where none are."""
    own_N = np.exp(-evaluation.losses_N)
    classes = evaluation.logits_NK.shape[1]
    counts_K = np.bincount(evaluation.labels_N, minlength=classes)
    sums_K = np.bincount(evaluation.labels_N, weights=own_N, minlength=classes)
    return np.where(counts_K > 0, sums_K / np.maximum(counts_K, 1), 1.0)
