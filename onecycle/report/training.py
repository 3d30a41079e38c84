"""The section on the training: the figures of each epoch, and the gap between train and test."""

from collections.abc import Mapping, Sequence
from typing import Any

from onecycle.report import words
from onecycle.report.files import Files
from onecycle.report.overview import telling


def training(files: Files) -> dict[str, Any]:
    """The table of epochs, and the gap in the last of them."""
    rows = [telling(row, files.result) for row in files.epochs]
    return {"epochs": _epochs(rows), "gap": _gap(rows[-1]) if rows else None}


def _gap(last: Mapping[str, float]) -> dict[str, str]:
    """How far train lies above or below test."""
    points = 100 * (last["train_accuracy"] - last["test_accuracy"])
    return {
        "train": words.percent(last["train_accuracy"]),
        "test": words.percent(last["test_accuracy"]),
        "points": f"{abs(points):.2f}",
        "side": "above" if points >= 0 else "below",
    }


def _epochs(rows: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    if not rows:
        return None
    names = [name for name in rows[0] if name != "step"]
    return {
        "names": [name.replace("_", " ") for name in names],
        "rows": [[_cell(name, row[name]) for name in names] for row in rows],
    }


def _cell(name: str, value: float) -> str:
    if name.endswith("accuracy"):
        return words.percent(value)
    if name.endswith("loss"):
        return f"{value:.4f}"
    return f"{value:.0f}" if name in ("epoch", "seconds") else f"{value:.3g}"
