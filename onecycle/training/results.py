"""What a finished training reports of itself: result.json, and the validation split's logits."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import nn

from onecycle import runtime
from onecycle.data import Splits
from onecycle.evaluate import Evaluation
from onecycle.run_dir import RunDir
from onecycle.run_dir.provenance import tensors_sha256
from onecycle.state import Training


def validation(training: Training) -> dict[str, np.ndarray]:
    """The validation split's logits and labels, by which a temperature can be fitted."""
    if training.val is None:
        return {}
    evaluation = training.evaluate(training.val)
    return {"val_logits": evaluation.logits_NK, "val_labels": evaluation.labels_N}


def summary_of(
    training: Training, splits: Splits, evaluation: Evaluation, run: RunDir
) -> dict[str, Any]:
    """The summary that result.json holds."""
    recipe, state = training.recipe, training.state
    last = run.read_rows("metrics.jsonl")[-1]
    images = recipe.epochs * len(splits.train)
    return {
        "recipe": recipe.recipe,
        "data": recipe.data,
        "data_fingerprint": splits.fingerprint,
        "model": recipe.model,
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "seed": recipe.seed,
        "device": recipe.device,
        "precision": recipe.precision,
        "torch": torch.__version__,
        "epochs": recipe.epochs,
        "steps": training.total_steps,
        "batch_size": recipe.batch_size,
        "lr_min": recipe.lr_min,
        "lr_max": recipe.lr_max,
        "lr_final": recipe.lr_final,
        "peak_step": training.peak_step,
        "train_images": len(splits.train),
        "train_loss": last["train_loss"],
        "train_accuracy": last["train_accuracy"],
        **test_figures(training, evaluation),
        **{name: value for name, value in last.items() if name.startswith("val_")},
        "best_test_accuracy": state.best_test_accuracy,
        "best_epoch": state.best_epoch,
        "train_seconds": state.train_seconds,
        "eval_seconds": state.eval_seconds,
        "total_seconds": training.total_seconds(),
        "images_per_second": images / state.train_seconds,
        "peak_memory_bytes": runtime.peak_memory_bytes(training.device),
        "weights_sha256": weights_sha256(training.model),
        "finished": datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
    }


def test_figures(training: Training, evaluation: Evaluation) -> dict[str, Any]:
    """What the network reaches on the test split, and how even that split's classes are."""
    counts_K = training.test.class_counts()
    return {
        "test_images": len(training.test),
        "test_class_sizes": [int(counts_K.min()), int(counts_K.max())],
        "test_loss": evaluation.loss,
        "test_accuracy": evaluation.accuracy,
        "test_balanced_accuracy": evaluation.balanced_accuracy,
        **_with_mirrored(training, evaluation),
    }


def _with_mirrored(training: Training, evaluation: Evaluation) -> dict[str, float]:
    """Test accuracy with test-time augmentation, if asked for: mean logits with the mirror."""
    if not training.recipe.tta:
        return {}
    mirrored = training.evaluate(training.test, mirrored=True)
    both_NK = (evaluation.logits_NK + mirrored.logits_NK) / 2
    return {"test_accuracy_tta": Evaluation(both_NK, evaluation.labels_N).accuracy}


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 of the raw bytes of all parameters and buffers in name order, in hex."""
    return tensors_sha256(model.state_dict())
