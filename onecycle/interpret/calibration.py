"""Calibration: whether a confidence of 80 % means 80 % of predictions are right. No torch.

Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv:1706.04599).

Shapes: N images, K classes, M bins.
"""

from dataclasses import dataclass

import numpy as np

from onecycle.evaluate import Evaluation, fitted_temperature

BINS = 15
"""Equally wide bins of confidence, as in Guo et al."""


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, by bins of confidence.

    Attributes:
        edges: the M + 1 edges of the bins, from 0 to 1; a bin includes its upper edge.
        counts_M: images in each bin, int64.
        confidence_M: mean confidence of each bin; NaN for an empty one.
        accuracy_M: accuracy of each bin; NaN for an empty one.
    """

    edges: np.ndarray
    counts_M: np.ndarray
    confidence_M: np.ndarray
    accuracy_M: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| over images, in [0, 1]."""
        gaps_M = np.abs(self.accuracy_M - self.confidence_M)
        return float(np.nansum(gaps_M * self.counts_M) / self.counts_M.sum())


def reliability(evaluation: Evaluation, bins: int = BINS) -> Reliability:
    """The numbers of a reliability diagram.

    Args:
        evaluation: of at least one image.
        bins: number of bins, all equally wide.
    """
    edges = np.linspace(0, 1, bins + 1)
    places_N = np.clip(np.searchsorted(edges, evaluation.confidence_N, side="left") - 1, 0, None)
    places_N = np.minimum(places_N, bins - 1)  # a confidence rounded above 1
    right_N = evaluation.predictions_N == evaluation.labels_N
    counts_M = np.bincount(places_N, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence_M = np.bincount(places_N, evaluation.confidence_N, bins) / counts_M
        accuracy_M = np.bincount(places_N, right_N, bins) / counts_M
    return Reliability(edges, counts_M, confidence_M, accuracy_M)


def expected_calibration_error(evaluation: Evaluation, bins: int = BINS) -> float:
    """Mean gap between confidence and accuracy over equally wide bins, in [0, 1]."""
    return reliability(evaluation, bins).error


__all__ = [
    "BINS",
    "Reliability",
    "expected_calibration_error",
    "fitted_temperature",
    "reliability",
]
