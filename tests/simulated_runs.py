"""Run folders whose predictions are drawn, for tests of comparisons."""

from pathlib import Path
from typing import Any

import numpy as np

from onecycle.config import Recipe, override
from onecycle.experiments.reading import FinishedRun, TestImages
from onecycle.recipes import RECIPES
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import from_json
from onecycle.run_dir.records import Environment, InitialWeights, Result

CLASSES = ("ant", "bee", "cat|dog")
RATES = {"lr_max": 0.1, "lr_min": 0.01, "lr_final": 0.01}


def labels(count: int) -> np.ndarray:
    return np.arange(count) % len(CLASSES)


def predictions(right_N: np.ndarray) -> np.ndarray:
    """The class of the images that are right, the next one for the others."""
    actual_N = labels(len(right_N))
    return np.where(right_N, actual_N, (actual_N + 1) % len(CLASSES))


def recipe(**changes: Any) -> Recipe:
    return override(RECIPES["demo"].recipe, **(RATES | {"epochs": 2} | changes))


RESULT = {
    "recipe": "demo", "data": "shapes", "data_fingerprint": "0123456789abcdef",
    "model": "custom-resnet", "parameters": 6_573_130, "seed": 0, "device": "cpu",
    "precision": "fp32", "torch": "2.13.0", "epochs": 2, "steps": 16, "batch_size": 512,
    "lr_min": 0.01, "lr_max": 0.1, "lr_final": 0.01, "peak_step": 6, "train_images": 4000,
    "train_loss": 0.3, "train_accuracy": 0.9, "test_images": 400, "test_loss": 0.5,
    "test_accuracy": 0.8, "best_test_accuracy": 0.8, "best_epoch": 2, "train_seconds": 50.0,
    "eval_seconds": 5.0, "total_seconds": 60.0, "images_per_second": 1000.0,
    "peak_memory_bytes": None, "weights_sha256": "0" * 64,
    "finished": "2026-11-26T12:00:00+00:00",
}  # fmt: skip
"""What result.json holds of every run."""

EPOCH = {
    "epoch": 1, "step": 8, "lr": 0.01, "momentum": 0.9, "train_loss": 2.0, "train_accuracy": 0.4,
    "test_loss": 1.5, "test_accuracy": 0.375, "seconds": 7.5,
}  # fmt: skip
"""What a row of metrics.jsonl holds of every run."""


def result(used: Recipe, right_N: np.ndarray, **changes: Any) -> dict[str, Any]:
    accuracy = float(np.mean(right_N))
    return (
        RESULT
        | {name: getattr(used, name) for name in ("recipe", "seed", "lr_min", "lr_max")}
        | {"test_accuracy": accuracy, "best_test_accuracy": accuracy, "test_images": len(right_N)}
        | {"finished": f"2026-11-26T12:00:{used.seed % 60:02d}+00:00"}
        | changes
    )


def in_memory(right_N: np.ndarray, *, seed: int = 0, **changes: Any) -> FinishedRun:
    """A run that was never written."""
    used, count = recipe(seed=seed, **changes), len(right_N)
    names_N = np.array([f"test/{index:04d}" for index in range(count)])
    test = TestImages(names_N, labels(count), predictions(right_N), CLASSES)
    figures = from_json(result(used, right_N), Result)
    return FinishedRun(Path("r"), used, figures, Environment(), {}, [], test)


def write_run(
    path: Path,
    right_N: np.ndarray,
    *,
    figures: dict[str, Any] | None = None,
    found: dict[str, Any] | None = None,
    names: np.ndarray | None = None,
    weights: dict[str, Any] | None = None,
    started: str | None = None,
    **changes: Any,
) -> Path:
    """A finished run's folder at `path`, with these test images right."""
    path.mkdir(parents=True)
    used, count, run = recipe(**changes), len(right_N), RunDir(path)
    run.write_recipe(used)
    versions = {"onecycle": "0.1.0"}
    initial = from_json(weights, InitialWeights) if weights else None
    environment = Environment(
        device_name="a CPU", threads=2, versions=versions, initial_weights=initial, started=started
    )
    run.write_record(environment)
    if found is not None:
        run.write_json("lr_range_test.json", {"asked": found})
    with run.lock():
        for epoch in (1, 2):
            run.append(
                "metrics.jsonl",
                EPOCH | {"epoch": epoch, "test_loss": 1 / epoch, "test_accuracy": 0.4 * epoch},
            )
    run.save_arrays(
        "predictions.npz",
        logits=np.eye(len(CLASSES), dtype=np.float32)[predictions(right_N)],
        labels=labels(count),
        names=np.array([f"test/{i:04d}" for i in range(count)]) if names is None else names,
        classes=np.array(CLASSES),
    )
    run.write_json("result.json", result(used, right_N, **(figures or {})))
    return path
