"""What the JSON files of a run hold: each record is declared once, for writing and for reading.

A field without a default is in every file of its kind. A field with the default None is not: an
older version did not write it, or not every run has it. It is then left out of the file, unless it
is `NULLABLE`. Undeclared keys are ignored when read. `upgraded` converts the content of older
versions to the present form. Nothing else does.

Accuracies are shares in [0, 1], losses are in nats, times in seconds.
"""

from onecycle.run_dir.records.base import Recorded
from onecycle.run_dir.records.checkpoint import Seal, Sealed, TensorPlace, TrainingState
from onecycle.run_dir.records.measured import (
    Duplicate,
    Duplicates,
    Layer,
    Layers,
    Measured,
    Replayed,
)
from onecycle.run_dir.records.origin import (
    Difference,
    Environment,
    Git,
    Implementation,
    InitialWeights,
    Kernels,
    Network,
    Resumption,
)
from onecycle.run_dir.records.range_test import (
    Band,
    Curve,
    Method,
    Probe,
    Proof,
    RangeTest,
    Rates,
    Suggestion,
)
from onecycle.run_dir.records.results import EpochRow, Result, StepRow, TestFigures

__all__ = [
    "Band",
    "Curve",
    "Difference",
    "Duplicate",
    "Duplicates",
    "Environment",
    "EpochRow",
    "Git",
    "Implementation",
    "InitialWeights",
    "Kernels",
    "Layer",
    "Layers",
    "Measured",
    "Method",
    "Network",
    "Probe",
    "Proof",
    "RangeTest",
    "Rates",
    "Recorded",
    "Replayed",
    "Result",
    "Resumption",
    "Seal",
    "Sealed",
    "StepRow",
    "Suggestion",
    "TensorPlace",
    "TestFigures",
    "TrainingState",
]
