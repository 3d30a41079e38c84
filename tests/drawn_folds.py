"""The runs of a cross-validation, drawn and not trained: every picture's colour tells its image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from simulated_runs import recipe, result

from onecycle.evaluate import Evaluation
from onecycle.examples import images_of_cells
from onecycle.interpret import likely_label_errors, most_confidently_wrong
from onecycle.run_dir import RunDir
from onecycle.run_dir.records import Environment

HOSTILE = "</script><script>alert(1)</script>"
CLASSES = ("ant", HOSTILE, 'a "bee" & <b>more</b>')
LEVELS = (0, 60, 120, 180, 240)


def make_folds(
    folder: Path, folds: int = 3, count: int = 20, classes: Sequence[str] = CLASSES
) -> Path:
    """A run for each fold in `folder`, with `count` test images each.

    The number of an image is in its name, and as three levels of colour in its picture.
    """
    rng = np.random.default_rng(7)
    for fold in range(folds):
        numbers = rng.permutation(count) * folds + fold
        labels = np.arange(count) % len(classes)
        logits = rng.normal(0, 2.5, (count, len(classes))) + 2 * np.eye(len(classes))[labels]
        evaluation = Evaluation(logits.astype(np.float32), labels)
        _write(folder / f"fold={fold},seed=0", fold, folds, numbers, evaluation, classes)
    return folder


def name_of(number: int) -> str:
    return f"<i>photos</i>/{number:03d}.png"


def colour_of(number: int) -> tuple[int, int, int]:
    """Colours that JPEG keeps apart."""
    return LEVELS[number % 5], LEVELS[number // 5 % 5], LEVELS[number // 25 % 5]


def _write(
    path: Path, fold: int, folds: int, numbers: np.ndarray, evaluation: Evaluation,
    classes: Sequence[str],
) -> None:  # fmt: skip
    path.mkdir(parents=True)
    rates = {"lr_max": 0.1 + fold / 100}
    used, run = recipe(folds=folds, fold=fold, **rates), RunDir(path)
    run.write_recipe(used)
    run.write_record(Environment(device_name="a CPU", threads=2))
    run.save_arrays(
        "predictions.npz",
        logits=evaluation.logits_NK,
        labels=evaluation.labels_N,
        names=np.array([name_of(number) for number in numbers]),
        classes=np.array(classes),
    )
    run.save_arrays("examples.npz", **_examples(numbers, evaluation))
    right_N = evaluation.predictions_N == evaluation.labels_N
    run.write_json("result.json", result(used, right_N, folds=folds, fold=fold))


def _examples(numbers: np.ndarray, evaluation: Evaluation) -> dict[str, np.ndarray]:
    losses = most_confidently_wrong(evaluation, 100)
    labels = likely_label_errors(evaluation, 40)
    mapped = np.union1d(losses, labels)
    kept = np.union1d(mapped, images_of_cells(evaluation))
    colours = np.array([colour_of(number) for number in numbers[kept]], np.uint8)
    maps = np.full((len(mapped), 16, 16), 200, np.uint8)
    return {
        "losses": losses,
        "labels": labels,
        "wrong": losses[:20],
        "indices": kept,
        "images": np.tile(colours[:, None, None], (1, 16, 16, 1)),
        "cam_indices": mapped,
        "cam_predicted": maps,
        "cam_actual": maps,
        "field_stages": np.array(["prep"]),
        "field_sides": np.array([3.0]),
        "fields": np.ones((1, 16, 16), np.float32),
    }
