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
