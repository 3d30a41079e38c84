"""ONNX: one file for onnxruntime and others, at the opset `OPSET`."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from onecycle.exporting.answers import Answers, of_batches
from onecycle.exporting.deployed import Deployable, Facts
from onecycle.exporting.format import Format

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""Version of ONNX's operations: that of 2022, which PyTorch's exporter writes."""

OUTPUTS = ("logits", "probabilities")


def write(deployable: Deployable, path: Path) -> None:
    """Write the file at `path`."""
    import onnx

    with _quiet():
        program = torch.onnx.export(
            deployable.network,
            (deployable.example,),
            dynamo=True,
            input_names=["images"],
            output_names=OUTPUTS,
            opset_version=OPSET,
            dynamic_shapes={"images": {0: torch.export.Dim("N")}},
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_sources(model)
    describe(model, deployable.facts)
    onnx.save(model, path)


def describe(model: "ModelProto", facts: Facts) -> None:
    """Put the facts into the model: texts as they are, all other values as JSON."""
    import onnx

    texts = {
        name: value.encode("utf-8", "backslashreplace").decode()
        if isinstance(value, str)
        else json.dumps(value)
        for name, value in asdict(facts).items()
    }
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model)


def answers(path: Path, images_NHWC: np.ndarray) -> Answers:
    """The answers by onnxruntime on the CPU, with as many threads as PyTorch uses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return of_batches(lambda batch: tuple(session.run(OUTPUTS, {"images": batch})), images_NHWC)  # pyright: ignore[reportArgumentType]


def _forget_sources(model: "ModelProto") -> None:
    """Drop the exporter's notes on where each operation comes from: they hold paths."""
    graph = model.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what PyTorch's exporter says to its own developers."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")  # torchvision is missing
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Copying a program makes PyTorch (2.13) use a class that it has deprecated itself.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)", FutureWarning)
            yield
    finally:
        log.setLevel(level)


FORMAT = Format("model.onnx", write, answers, ("onnx", "onnxruntime", "onnxscript"))
