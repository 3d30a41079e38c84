"""Small ONNX files in the form of `onecycle export`, made by hand: no training, no torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = ["airplane", "lorry", "cat", "dog", "frog", "ship"]
TEMPERATURE = 1.25


def write_onnx(
    path: Path,
    *,
    classes: list[str] = CLASSES,
    side: int = 32,
    channels: int = 3,
    resize: str = "crop",
    **metadata: Any,
) -> Path:
    """A file whose network is random and answers each pixel in its own way, wherever it is."""
    random = np.random.default_rng(side * channels)
    weights = random.normal(0, 1.0, (side * side * channels, len(classes))).astype(np.float32)
    weights /= np.float32(side)
    constants = {
        "white": np.float32(255),
        "mean": np.linspace(0.4, 0.5, channels, dtype=np.float32),
        "std": np.linspace(0.2, 0.3, channels, dtype=np.float32),
        "weights": weights,
        "bias": random.normal(0, 1.0, len(classes)).astype(np.float32),
        "temperature": np.float32(TEMPERATURE),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "white"], ["shares"]),
        helper.make_node("Sub", ["shares", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalised"]),
        helper.make_node("Flatten", ["normalised"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
        helper.make_node("Div", ["logits", "temperature"], ["calibrated"]),
        helper.make_node("Softmax", ["calibrated"], ["probabilities"], axis=1),
    ]
    shape = ["N", side, side, channels]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(classes)])
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(
        model,
        {
            "onecycle": "1",
            "onecycle_version": "0.1.0",
            "classes": json.dumps(classes),
            "image_size": json.dumps([side, side]),
            "channels": str(channels),
            "mean": json.dumps(constants["mean"].tolist()),
            "std": json.dumps(constants["std"].tolist()),
            "resize": resize,
            "temperature": str(TEMPERATURE),
            "recipe": "quick",
            "data": "holiday",
            "checkpoint": "last",
            "test_accuracy": "0.9412",
            "test_accuracy_interval": "[0.9364, 0.9456]",
            "test_images": "10000",
            **metadata,
        },
    )
    onnx.save(model, path)
    return path
