"""Weights from a file, loaded into a network as far as they fit.

Files are only read as tensors: no code in them is run.
"""

from onecycle.models.weights.fitting import Fitting, fit
from onecycle.models.weights.reading import Kind, read

__all__ = ["Fitting", "Kind", "fit", "read"]
