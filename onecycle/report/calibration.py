"""The section on calibration: does the network's confidence match its accuracy?"""

from typing import Any

import numpy as np

from onecycle.evaluate import Evaluation
from onecycle.interpret.calibration import Reliability, fitted_temperature, reliability
from onecycle.report import formats
from onecycle.report.predicted import Predicted
from onecycle.writing.numbers import counted

SIDE = 300
"""Units of the diagram's side."""


def calibration(files: Predicted) -> dict[str, Any] | None:
    """The reliability diagram's bars, the error, and the temperature that would reduce it."""
    evaluation = files.evaluation
    if evaluation is None:
        return None
    found = reliability(evaluation)
    temperature = fitted_temperature(files.validation or evaluation)
    cooled = Evaluation(evaluation.logits_NK / temperature, evaluation.labels_N)
    confidence = float(evaluation.confidence_N.mean())
    return {
        "bars": _bars(found),
        "side": SIDE,
        "bins": len(found.counts_M),
        "error": formats.percent(found.error),
        "cooled_error": formats.percent(reliability(cooled).error),
        "loss": f"{evaluation.loss:.4f}",
        "cooled_loss": f"{cooled.loss:.4f}",
        "temperature": f"{temperature:.2f}",
        "confidence": formats.percent(confidence),
        "accuracy": formats.percent(evaluation.accuracy),
        "points": f"{100 * abs(confidence - evaluation.accuracy):.1f}",
        "leaning": "overconfident" if confidence > evaluation.accuracy else "underconfident",
        "on_validation": files.validation is not None,
    }


def _bars(found: Reliability) -> list[dict[str, Any]]:
    """A bar for each bin that has images: its position, its height, its share of all images."""
    width, largest = SIDE / len(found.counts_M), found.counts_M.max()
    return [
        {
            "x": f"{place * width:.1f}",
            "width": f"{width - 1.5:.1f}",
            "y": f"{SIDE * (1 - accuracy):.1f}",
            "height": f"{SIDE * accuracy:.1f}",
            "mean_x": f"{SIDE * confidence:.1f}",
            "mean_y": f"{SIDE * (1 - confidence):.1f}",
            "middle": f"{SIDE * (1 - accuracy):.1f}",
            "weight": f"{60 * count / largest:.1f}",
            "said": f"confidence {formats.percent(confidence)}, right {formats.percent(accuracy)}, "
            f"{counted(int(count), 'image')}",
        }
        for place, (count, accuracy, confidence) in enumerate(
            zip(found.counts_M, found.accuracy_M, found.confidence_M, strict=True)
        )
        if not np.isnan(accuracy)
    ]
