"""Using a trained network: load it, and classify new images."""

from onecycle.inference.classifier import Classifier, Predictions, load

__all__ = ["Classifier", "Predictions", "load"]
