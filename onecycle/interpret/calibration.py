"""Does a confidence of 80 % mean right in 80 % of the cases? No torch.

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
"""A temperature is fitted on this many logits at the most, of images evenly spread over all.

It is one number: 840 images of 10,000 classes tell it to a percent, and all would take minutes.
"""

TEMPERATURES = (0.05, 20.0)
"""Bounds between which a temperature is sought."""


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, by bins of confidence.

    Attributes:
        edges: M + 1 borders of the bins, from 0 to 1; a bin holds its upper border.
        counts_M: images in each bin, int64.
        confidence_M: their mean confidence; NaN in an empty bin.
        accuracy_M: the share of them that is right; NaN in an empty bin.
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
    """The reliability diagram's numbers.

    Args:
        evaluation: of at least one image.
        bins: how many, all equally wide.
    """
    edges = np.linspace(0, 1, bins + 1)
    places_N = np.clip(np.searchsorted(edges, evaluation.confidence_N, side="left") - 1, 0, None)
    places_N = np.minimum(places_N, bins - 1)  # a confidence of 1 and a last bit
    right_N = evaluation.predictions_N == evaluation.labels_N
    counts_M = np.bincount(places_N, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence_M = np.bincount(places_N, evaluation.confidence_N, bins) / counts_M
        accuracy_M = np.bincount(places_N, right_N, bins) / counts_M
    return Reliability(edges, counts_M, confidence_M, accuracy_M)


def expected_calibration_error(evaluation: Evaluation, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy over equally wide bins, in [0, 1]."""
    return reliability(evaluation, bins).error


def fitted_temperature(evaluation: Evaluation) -> float:
    """The number by which to divide the logits for the least mean cross-entropy, within [0.05, 20].

    Above 1 the network is overconfident. Classes and accuracy stay as they are. To be used, it
    must be fitted on images apart from those that it's judged on. Of more than `MOST_LOGITS`
    logits, every second, third, … image is looked at.
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
