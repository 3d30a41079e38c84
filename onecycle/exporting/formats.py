"""The formats by name. A new one is a module with a `FORMAT`, and its line here."""

from collections.abc import Mapping

from onecycle.exporting import onnx, pt2, safetensors
from onecycle.exporting.format import Format

FORMATS: Mapping[str, Format] = {
    "onnx": onnx.FORMAT,
    "pt2": pt2.FORMAT,
    "safetensors": safetensors.FORMAT,
}
