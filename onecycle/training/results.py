"""The results of a finished training: result.json, and the validation split's logits."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import nn

from onecycle import runtime
from onecycle.data import Splits
from onecycle.engine.plan import Plan
from onecycle.engine.state import Training
from onecycle.evaluate import Evaluation
from onecycle.run_dir import RunDir
from onecycle.run_dir.checking import to_json
from onecycle.run_dir.provenance import tensors_sha256
from onecycle.run_dir.records import Result, TestFigures
from onecycle.training.reproducibility import allowed_differences

MOST_IN_MATRIX = 1000
"""Largest number of classes for which JSON has the confusion matrix."""


def validation(evaluation: Evaluation | None) -> dict[str, np.ndarray]:
    """The validation split's logits and labels, to which a temperature can be fitted."""
    if evaluation is None:
        return {}
    return {"val_logits": evaluation.logits_NK, "val_labels": evaluation.labels_N}


def summary_of(
    training: Training,
    plan: Plan,
    splits: Splits,
    evaluation: Evaluation,
    mirrored: Evaluation | None,
    run: RunDir,
) -> Result:
    """The summary that result.json holds.

    `evaluation`: of the test split; `mirrored`: of its mirror images, if the recipe asks for them.
    """
    recipe, state = plan.recipe, training.state
    last = run.epochs()[-1]
    images = recipe.epochs * len(splits.train)
    return Result(
        recipe=recipe.recipe,
        data=recipe.data,
        data_fingerprint=splits.fingerprint,
        model=recipe.model,
        parameters=sum(p.numel() for p in training.evaluated.parameters()),
        trainable_parameters=sum(p.numel() for p in training.model.parameters() if p.requires_grad),
        seed=recipe.seed,
        device=recipe.device,
        precision=recipe.precision,
        torch=torch.__version__,
        epochs=recipe.epochs,
        steps=plan.total_steps,
        batch_size=int(recipe.batch_size),
        processes=training.processes.count,
        lr_min=plan.lr_min,
        lr_max=plan.lr_max,
        lr_final=plan.lr_final,
        peak_step=plan.peak_step,
        train_images=len(splits.train),
        train_loss=last.train_loss,
        train_accuracy=last.train_accuracy,
        **to_json(test_figures(evaluation, mirrored)),
        val_loss=last.val_loss,
        val_accuracy=last.val_accuracy,
        val_balanced_accuracy=last.val_balanced_accuracy,
        best_test_accuracy=state.best_test_accuracy,
        best_epoch=state.best_epoch,
        train_seconds=state.train_seconds,
        eval_seconds=state.eval_seconds,
        total_seconds=training.total_seconds(),
        images_per_second=images / state.train_seconds,
        peak_memory_bytes=runtime.peak_memory_bytes(training.device),
        weights_sha256=weights_sha256(training.evaluated),
        finished=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        allowed_differences=allowed_differences(run) or None,
    )


def test_figures(evaluation: Evaluation, mirrored: Evaluation | None) -> TestFigures:
    """The figures of the test split, and the sizes of its classes.

    Args:
        evaluation: of the split.
        mirrored: of its mirror images. Test-time augmentation takes the mean of both logits.
    """
    counts = np.bincount(evaluation.labels_N)
    sizes = counts[counts > 0]
    tta = None
    if mirrored is not None:
        both_NK = (evaluation.logits_NK + mirrored.logits_NK) / 2
        tta = Evaluation(both_NK, evaluation.labels_N).accuracy
    return TestFigures(
        test_images=len(evaluation.labels_N),
        test_class_sizes=(int(sizes.min()), int(sizes.max())),
        test_loss=evaluation.loss,
        test_accuracy=evaluation.accuracy,
        test_balanced_accuracy=evaluation.balanced_accuracy,
        test_accuracy_tta=tta,
    )


def class_figures(evaluation: Evaluation, classes: Sequence[str]) -> dict[str, Any]:
    """The figures of each class, and the confusion matrix.

    Returns:
        `classes`: their names. `per_class`, in that order: `class`; `images`; `accuracy`, the share
        of its images that are classified correctly (recall); `predicted`, the number of images
        classified as it; `precision`, the share of those that belong to it. A share of no images
        is None. `confusion`: K rows of K counts, one row for each actual class, one column for each
        predicted class; None for more than `MOST_IN_MATRIX` classes.
    """
    counts_KK = evaluation.confusion_KK
    columns = (counts_KK.diagonal(), counts_KK.sum(axis=1), counts_KK.sum(axis=0))
    per_class = [
        {
            "class": name,
            "images": images,
            "accuracy": right / images if images else None,
            "predicted": predicted,
            "precision": right / predicted if predicted else None,
        }
        for name, right, images, predicted in zip(
            classes, *(column.tolist() for column in columns), strict=True
        )
    ]
    return {
        "classes": list(classes),
        "per_class": per_class,
        "confusion": counts_KK.tolist() if len(classes) <= MOST_IN_MATRIX else None,
    }


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 of the raw bytes of all parameters and buffers in name order, in hex."""
    return tensors_sha256(model.state_dict())
