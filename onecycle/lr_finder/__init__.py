"""LR range test for any model, and learning rates suggested by its curve."""

from onecycle.lr_finder.curve import LRCurve, smooth
from onecycle.lr_finder.proof import Probe, Proof, prove
from onecycle.lr_finder.ramp import lr_range_test
from onecycle.lr_finder.suggest import METHODS, LRFinding, Suggestion, suggest
from onecycle.lr_finder.untouched import untouched

__all__ = [
    "METHODS",
    "LRCurve",
    "LRFinding",
    "Probe",
    "Proof",
    "Suggestion",
    "lr_range_test",
    "prove",
    "smooth",
    "suggest",
    "untouched",
]
