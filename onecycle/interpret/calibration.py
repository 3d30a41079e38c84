"""Calibration: whether a confidence of 80 % means 80 % of predictions are right.

Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv:1706.04599).

Shapes: N images, K classes.
"""

from onecycle import statistics
from onecycle.evaluate import Evaluation, fitted_temperature
from onecycle.statistics import BINS, Reliability


def reliability(evaluation: Evaluation, bins: int = BINS) -> Reliability:
    """The numbers of a reliability diagram.

    Args:
        evaluation: of at least one image.
        bins: number of bins, all equally wide.
    """
    right_N = evaluation.predictions_N == evaluation.labels_N
    return statistics.reliability(evaluation.confidence_N, right_N, bins)


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
