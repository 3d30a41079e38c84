"""Static quantization of an ONNX file to 8-bit weights and activations, by onnxruntime."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onecycle import runtime
from onecycle.data import ImageSet, Splits
from onecycle.errors import TrainingError
from onecycle.exporting import onnx as float32
from onecycle.exporting.answers import batches
from onecycle.exporting.deployed import Facts
from onecycle.statistics import wilson
from onecycle.writing.numbers import in_full, percent

CALIBRATION_IMAGES = 512
"""Training images whose activations set the ranges."""

OPERATIONS = ("Conv", "Gemm", "Add", "MaxPool", "ReduceMax", "Relu")
"""What is computed in 8 bits. The normalisation of the pixels and the softmax stay in float32."""


@dataclass(frozen=True)
class Measurement:
    """A network on the whole test split, by onnxruntime."""

    test_accuracy: float
    images_per_second: float


@dataclass(frozen=True)
class Comparison:
    """A network in 8 bits against the same one in float32.

    Attributes:
        calibration_images: number of training images that set the ranges of the activations.
        test_images: number of images on which both were measured.
        float32, int8: their figures.
    """

    calibration_images: int
    test_images: int
    float32: Measurement
    int8: Measurement

    @property
    def drop(self) -> float:
        """Percentage points of test accuracy that int8 loses; negative if it gains."""
        return round(100 * (self.float32.test_accuracy - self.int8.test_accuracy), 9)


def quantized(
    source: Path, target: Path, facts: Facts, splits: Splits, seed: int, allow_drop: float
) -> tuple[Facts, Comparison]:
    """Write the file `source` in 8 bits at `target`; return its own facts, and the comparison.

    Args:
        source: an ONNX file in float32.
        target: where to write.
        facts: of `source`.
        splits: calibration uses training images, the comparison all test images.
        seed: of the choice of the images for calibration.
        allow_drop: largest drop in test accuracy, in percentage points.

    Raises:
        TrainingError: the accuracy drops by more.
    """
    import onnx

    images_NHWC = _calibration_images(splits.train, seed)
    _quantize(source, target, images_NHWC)
    found = Comparison(
        len(images_NHWC),
        len(splits.test),
        _measured(source, splits.test),
        _measured(target, splits.test),
    )
    if found.drop > allow_drop:
        before, after = (percent(each.test_accuracy) for each in (found.float32, found.int8))
        raise TrainingError(
            f"export: int8 lowers the test accuracy from {before} to {after}, by "
            f"{found.drop:.2f} points, and --allow-drop permits {in_full(allow_drop)}; raise it, "
            "or leave out --int8"
        )
    hits = round(found.int8.test_accuracy * len(splits.test))
    facts = replace(
        facts,
        weights="int8",
        test_accuracy=found.int8.test_accuracy,
        test_accuracy_interval=wilson(hits, len(splits.test)),
    )
    model = onnx.load(target)
    float32.describe(model, facts)
    onnx.save(model, target)
    return facts, found


def _calibration_images(train: ImageSet, seed: int) -> np.ndarray:
    """Training images chosen at random, the same ones for the same seed; uint8 N H W C."""
    rng = np.random.default_rng(runtime.seed_of(seed, "calibration"))
    count = min(CALIBRATION_IMAGES, len(train))
    return train.images_NHWC[np.sort(rng.choice(len(train), count, replace=False))]


def _quantize(source: Path, target: Path, images_NHWC: np.ndarray) -> None:
    """Write the quantized form of `source` at `target`.

    Weights have a scale for each channel, and 7 bits: with 8, processors without VNNI overflow.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = batches(images_NHWC)

        def get_next(self) -> Mapping[str, np.ndarray] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    with tempfile.TemporaryDirectory(prefix="onecycle-") as work:
        prepared = Path(work) / "prepared.onnx"  # with norms folded into convolutions
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATIONS),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def _measured(path: Path, test: ImageSet) -> Measurement:
    """Accuracy on the test images, and the speed of one pass over them after a first one."""
    float32.answers(path, test.images_NHWC[:256])
    began = time.perf_counter()
    predicted_N = float32.answers(path, test.images_NHWC).logits_NK.argmax(1)
    seconds = time.perf_counter() - began
    return Measurement(float((predicted_N == test.labels_N).mean()), len(test) / seconds)
