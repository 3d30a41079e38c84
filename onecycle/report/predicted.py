"""What the sections on predictions are made from: a run, or several that were joined."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onecycle.audit.evidence import Evidence
from onecycle.evaluate import Evaluation


@dataclass(frozen=True)
class Predicted:
    """The predictions for a set of images.

    Attributes:
        evaluation: logits and actual classes; None where there are none yet.
        validation: those of other images, on which a temperature can be fitted.
        classes: names of the classes.
        names: names of the images.
        examples: what is shown of the images, in the form of examples.npz. `losses` and `labels`
            may have images that `indices` lacks; these are shown without a picture.
    """

    evaluation: Evaluation | None
    validation: Evaluation | None
    classes: list[str]
    names: list[str]
    examples: Mapping[str, np.ndarray] | None

    @classmethod
    def by(cls, run: Evidence) -> "Predicted":
        """What a run predicted for its test split."""
        return cls(run.evaluation, run.validation, run.classes, run.names, run.examples)
