"""A finished run's folder with everything that a report can show, made without a training."""

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from simulated_runs import EPOCH, RESULT

from onecycle.audit.cycle import schedule
from onecycle.config import override
from onecycle.evaluate import Evaluation
from onecycle.examples import images_of_cells
from onecycle.interpret import likely_label_errors, most_confidently_wrong
from onecycle.recipes import RECIPES
from onecycle.report import PLOTS
from onecycle.report.embedding import png
from onecycle.run_dir import Checkpoint, RunDir
from onecycle.run_dir.provenance import tensors_sha256
from onecycle.run_dir.records import Environment

CLASSES = ("airplane", "cat", 'a "long" <name> of a class', "Ünï")


def make_run(
    folder: Path, classes: Sequence[str] = CLASSES, count: int = 400, lead: float = 2.0
) -> RunDir:
    """A run on drawn predictions for `count` test images.

    Args:
        folder: where its folder is made.
        lead: by how much the actual class's logit is ahead on average.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(count) % len(classes)
    logits = rng.normal(0, 1.5, (count, len(classes))) + lead * np.eye(len(classes))[labels]
    logits[labels == 0, -1] -= 20.0  # a cell without images
    evaluation = Evaluation(logits.astype(np.float32), labels)
    run = RunDir.create(folder, RECIPES["demo"].recipe)
    recipe = override(RECIPES["demo"].recipe, epochs=2, lr_min=0.01, lr_max=0.1, lr_final=0.01)
    run.write_recipe(recipe)
    run.save_arrays(
        "predictions.npz", logits=evaluation.logits_NK, labels=labels, classes=np.array(classes),
        names=np.array([f"test/a folder with a long name/{i:05d}.jpg" for i in range(count)]),
    )  # fmt: skip
    mistakes = {
        "wrong": most_confidently_wrong(evaluation, 20),
        "losses": most_confidently_wrong(evaluation, 60),
        "labels": likely_label_errors(evaluation, 40, confidence=0.5),
    }
    mapped = np.unique(np.concatenate(list(mistakes.values())))
    kept = np.union1d(mapped, images_of_cells(evaluation))
    run.save_arrays(
        "examples.npz", **mistakes, cam_indices=mapped, indices=kept,
        images=rng.integers(0, 256, (len(kept), 16, 16, 3), dtype=np.uint8),
        cam_predicted=rng.integers(0, 256, (len(mapped), 16, 16), dtype=np.uint8),
        cam_actual=rng.integers(0, 256, (len(mapped), 16, 16), dtype=np.uint8),
        field_stages=np.array(["prep"]), field_sides=np.array([3.0]),
        fields=rng.random((1, 16, 16)).astype(np.float32),
        sample_images=rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8),
        sample_versions=rng.integers(0, 256, (3, 7, 16, 16, 3), dtype=np.uint8),
        sample_labels=np.arange(3) % len(classes),
    )  # fmt: skip
    layer = {"name": "prep.conv", "kind": "Conv2d", "output_shape": [8, 16, 16], "macs": 9}
    layer |= {"parameters": 216, "receptive_field": 3, "jump": 1}
    network = {"layers": [layer], "parameters": 216, "macs": 9, "image_shape": [16, 16, 3]}
    run.write_json("audit.json", {"network": network})
    run.write_record(Environment(command=["onecycle", "train", "demo"], versions={"torch": "2"}))
    rates = np.geomspace(1e-4, 1, 50)
    losses = 2 + (np.log10(rates) + 1.5) ** 2 / 9
    curve = {"lr": rates, "loss": losses + rng.normal(0, 0.02, 50), "smoothed": losses}
    found = {"steepest": 0.004, "recommended": 0.1}
    run.write_json("lr_range_test.json", {
        "curve": {name: values.tolist() for name, values in curve.items()},
        "suggestions": {n: {"lr": lr, "low": lr / 2, "high": 2 * lr} for n, lr in found.items()},
        "chosen": {"lr_min": 0.01, "lr_max": 0.1},
    })  # fmt: skip
    with run.lock():
        for step, (lr, momentum) in enumerate(zip(*schedule(recipe, 8), strict=True)):
            row = {"step": step, "lr": float(lr), "momentum": float(momentum), "loss": 2.0}
            run.append("steps.jsonl", row)
        for epoch in (1, 2):
            row = EPOCH | {"epoch": epoch, "step": 8 * epoch, "test_loss": evaluation.loss}
            run.append(
                "metrics.jsonl",
                row | {"test_accuracy": evaluation.accuracy, "seconds": 7.5 * epoch},
            )
    for name in PLOTS:
        (run.plots / f"{name}.png").write_bytes(plot())
        weights = torch.ones(1)
        run.save_checkpoint(Checkpoint(16, {"model.w": weights}, {"step": 16}))
    figures = {"test_accuracy": evaluation.accuracy, "test_loss": evaluation.loss}
    figures["test_images"] = count
    figures |= {"weights_sha256": tensors_sha256({"w": weights})}
    run.write_json("result.json", RESULT | figures)
    return run


def plot() -> bytes:
    return base64.b64decode(png(np.full((80, 120, 3), 255, np.uint8)))
