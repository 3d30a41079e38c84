"""A trained network's mistakes, its calibration, and the parts of images that it looks at."""

from onecycle.interpret.calibration import (
    Reliability,
    expected_calibration_error,
    fitted_temperature,
    reliability,
)
from onecycle.interpret.grad_cam import grad_cam, last_map
from onecycle.interpret.ranking import likely_label_errors, most_confidently_wrong
from onecycle.interpret.receptive_field import EffectiveField, effective_receptive_fields

__all__ = [
    "EffectiveField",
    "Reliability",
    "effective_receptive_fields",
    "expected_calibration_error",
    "fitted_temperature",
    "grad_cam",
    "last_map",
    "likely_label_errors",
    "most_confidently_wrong",
    "reliability",
]
