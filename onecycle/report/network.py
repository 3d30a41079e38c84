"""The section on the network: its layers, and the receptive field of a unit of each stage.

Shapes: H height, W width, C channels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onecycle.audit.evidence import Evidence
from onecycle.plots.heat import COLOURS
from onecycle.report.embedding import png
from onecycle.report.overview import started_from
from onecycle.run_dir.records import Layer, Layers
from onecycle.writing.numbers import counted


def network(files: Evidence) -> dict[str, Any] | None:
    """The table of layers, the totals, and a picture for each stage; None for an older run."""
    found = files.measured.network
    if found is None:
        return None
    norms = files.measured.weight_norms or {}
    initial = files.environment.initial_weights
    return {
        "layers": [_layer(layer, norms) for layer in found.layers],
        "norms": bool(norms),
        "parameters": f"{found.parameters:,}",
        "trained": _trained(found),
        "started_from": started_from(initial) if initial else "",
        "macs": f"{found.macs:,}",
        "fields": _fields(files, found),
        "shape": " × ".join(map(str, found.image_shape[:2])),
    }


def _trained(found: Layers) -> str:
    """The number of trained parameters; empty if it is that of all, or isn't known."""
    trained = found.trainable_parameters
    return "" if trained in (None, found.parameters) else f"{trained:,}"


def _layer(layer: Layer, norms: Mapping[str, float]) -> dict[str, str]:
    norm = norms.get(f"{layer.name}.weight")
    return {
        "name": layer.name,
        "kind": layer.kind,
        "shape": " × ".join(map(str, layer.output_shape)),
        "parameters": f"{layer.parameters:,}" if layer.parameters else "",
        "frozen": _frozen(layer),
        "macs": f"{layer.macs:,}" if layer.macs else "",
        "norm": "" if norm is None else f"{norm:.3g}",
        "field": str(layer.receptive_field),
        "jump": str(layer.jump),
    }


def _frozen(layer: Layer) -> str:
    """Whether its parameters are frozen; empty if none is, or it has none."""
    if layer.trainable in (None, layer.parameters):
        return ""
    return "partly frozen" if layer.trainable else "frozen"


def _fields(files: Evidence, found: Layers) -> dict[str, Any] | None:
    """The same image for each stage, with the theoretical field as a square, all at one scale."""
    examples = files.examples
    if examples is None or not len(examples["field_stages"]) or not len(examples["images"]):
        return None
    height, width, _ = found.image_shape
    stages = [
        (stage, side, influence_HW, layer)
        for stage, side, influence_HW in zip(
            examples["field_stages"].tolist(),
            examples["field_sides"].tolist(),
            examples["fields"],
            strict=True,
        )
        if (layer := _last_layer(found.layers, stage)) is not None
    ]
    boxes = [_box(layer, height, width) for *_, layer in stages]
    if not boxes:
        return None
    return {
        "image": png(examples["images"][_clearest(files)]),
        "width": width,
        "height": height,
        "view": _view(boxes, height, width),
        "stages": [
            {
                "name": stage,
                "heat": _heat(influence_HW),
                "box": box,
                "theoretical": counted(layer.receptive_field, "pixel"),
                "effective": f"{side:.1f}",
            }
            for (stage, side, influence_HW, layer), box in zip(stages, boxes, strict=True)
        ],
    }


def _last_layer(layers: Sequence[Layer], stage: str) -> Layer | None:
    """The layer whose output is the output of the stage."""
    maps = [layer for layer in layers if len(layer.output_shape) > 2]
    own = [layer for layer in maps if f"{layer.name}.".startswith(f"{stage}.")]
    return own[-1] if own else None


def _box(layer: Layer, height: int, width: int) -> dict[str, float]:
    """The theoretical field of the stage's middle unit, in pixels of the image."""
    side, jump = layer.receptive_field, layer.jump
    rows, columns = layer.output_shape[-2:]
    return {
        "x": (columns // 2 + 0.5) * jump - side / 2,
        "y": (rows // 2 + 0.5) * jump - side / 2,
        "side": side,
    }


def _view(boxes: Sequence[Mapping[str, float]], height: int, width: int) -> str:
    """An SVG view box that contains the image and every square: x, y, width, height."""
    left = min(0.0, *(box["x"] for box in boxes)) - 1
    top = min(0.0, *(box["y"] for box in boxes)) - 1
    right = max(float(width), *(box["x"] + box["side"] for box in boxes)) + 1
    bottom = max(float(height), *(box["y"] + box["side"] for box in boxes)) + 1
    return f"{left:g} {top:g} {right - left:g} {bottom - top:g}"


def _heat(influence_HW: np.ndarray) -> str:
    """The influence as a PNG, transparent where it is zero; its root, to show the flanks."""
    strength_HW = np.sqrt(np.clip(influence_HW, 0, 1))
    colours_HW3 = 255 * COLOURS[np.rint(255 * strength_HW).astype(int)]
    pixels_HW4 = np.concatenate([colours_HW3, 235 * strength_HW[..., None]], axis=2)
    return png(np.rint(pixels_HW4).astype(np.uint8))


def _clearest(files: Evidence) -> int:
    """The place of the kept image that is classified correctly with the most confidence."""
    evaluation, indices = files.evaluation, (files.examples or {})["indices"]
    if evaluation is None:
        return 0
    right = evaluation.predictions_N[indices] == evaluation.labels_N[indices]
    return int(np.argmax(np.where(right, evaluation.confidence_N[indices], -1.0)))
