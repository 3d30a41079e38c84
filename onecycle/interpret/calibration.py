"""Calibration: whether a confidence of 80 % means 80 % of predictions are right. No torch.

Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv:1706.04599).

Shapes: N images, K classes, M bins.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from onecycle.evaluate import Evaluation

BINS = 15
"""Equally wide bins of confidence, as in Guo et al."""

MOST_LOGITS = 2**23
"""A temperature is fitted on at most this many logits, of images evenly spread over the set.

It is a single number: 840 images of 10,000 classes determine it within one percent, and all images
would take minutes.
"""

TEMPERATURES = (0.05, 20.0)
"""Lower and upper bound of a fitted temperature."""


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


def fitted_temperature(evaluation: Evaluation) -> float:
    """The divisor of the logits with the lowest mean cross-entropy, within [0.05, 20].

    Above 1 the network is overconfident. Predicted classes and accuracy don't change. Fit it on
    other images than those it is judged on. With more than `MOST_LOGITS` logits, only every
    second, third, … image is used.
    """
    every = -(-evaluation.logits_NK.size // MOST_LOGITS) or 1
    logits_NK = evaluation.logits_NK[::every].astype(np.float64)
    logits_NK -= logits_NK.max(axis=1, keepdims=True)
    own_N = logits_NK[np.arange(len(logits_NK)), evaluation.labels_N[::every]]

    def mean_loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((np.log(np.exp(scale * logits_NK).sum(axis=1)) - scale * own_N).mean())

    found = minimize_scalar(
        mean_loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue]
