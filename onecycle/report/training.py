"""The section on the training: the figures of each epoch, and the gap between train and test."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onecycle.audit.evidence import Evidence
from onecycle.report import formats
from onecycle.report.embedding import sheet
from onecycle.run_dir.records import EpochRow


def training(files: Evidence) -> dict[str, Any]:
    """The table of epochs, and the gap in the last of them."""
    rows = files.epochs
    return {
        "epochs": _table(rows, uneven=files.result is not None and files.result.uneven),
        "gap": _gap(rows[-1]) if rows else None,
        "samples": _samples(files),
    }


def _samples(files: Evidence) -> dict[str, Any] | None:
    """Training images and augmented versions, one row of a sheet for each; None for older runs."""
    kept = files.examples or {}
    if not len(kept.get("sample_labels", ())):
        return None
    originals_NHWC, versions_NRHWC = kept["sample_images"], kept["sample_versions"]
    rows_NRHWC = np.concatenate([originals_NHWC[:, None], versions_NRHWC], axis=1)
    return {
        "names": [files.classes[label] for label in kept["sample_labels"]],
        "sheet": sheet(rows_NRHWC.reshape(-1, *originals_NHWC.shape[1:]), rows_NRHWC.shape[1]),
    }


def _gap(last: EpochRow) -> dict[str, str]:
    """How far train accuracy is above or below test accuracy."""
    points = 100 * (last.train_accuracy - last.test_accuracy)
    return {
        "train": formats.percent(last.train_accuracy),
        "test": formats.percent(last.test_accuracy),
        "points": f"{abs(points):.2f}",
        "side": "above" if points >= 0 else "below",
    }


def _table(rows: Sequence[EpochRow], uneven: bool) -> dict[str, Any] | None:
    """A row for each epoch; `uneven`: the classes differ in size, so add balanced accuracies.

    The log counts seconds from the beginning; the table shows those of each epoch alone.
    """
    seconds = np.diff([0.0, *(row.seconds for row in rows)])
    columns: dict[str, tuple[Sequence[float | None], Callable[[Any], str]]] = {
        "epoch": ([row.epoch for row in rows], str),
        "lr": ([row.lr for row in rows], formats.rate),
        "momentum": ([row.momentum for row in rows], formats.rate),
        "train loss": ([row.train_loss for row in rows], formats.loss),
        "train accuracy": ([row.train_accuracy for row in rows], formats.percent),
        "test loss": ([row.test_loss for row in rows], formats.loss),
        "test accuracy": ([row.test_accuracy for row in rows], formats.percent),
        "test balanced accuracy": (
            [row.test_balanced_accuracy if uneven else None for row in rows],
            formats.percent,
        ),
        "val loss": ([row.val_loss for row in rows], formats.loss),
        "val accuracy": ([row.val_accuracy for row in rows], formats.percent),
        "val balanced accuracy": (
            [row.val_balanced_accuracy if uneven else None for row in rows],
            formats.percent,
        ),
        "seconds of this epoch": (seconds.tolist(), "{:.1f}".format),
    }
    cells = {
        name: [show(value) for value in values]
        for name, (values, show) in columns.items()
        if None not in values
    }
    shown = [list(row) for row in zip(*cells.values(), strict=True)]
    return {"names": list(cells), "rows": shown} if rows else None
