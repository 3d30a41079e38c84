"""The section on the training: the figures of each epoch, and the gap between train and test."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onecycle.report import words
from onecycle.report.files import Files
from onecycle.report.overview import telling
from onecycle.report.pictures import sheet


def training(files: Files) -> dict[str, Any]:
    """The table of epochs, and the gap in the last of them."""
    rows = _own_seconds([telling(row, files.result) for row in files.epochs])
    gap = _gap(rows[-1]) if rows else None
    return {"epochs": _epochs(rows), "gap": gap, "samples": _samples(files)}


def _samples(files: Files) -> dict[str, Any] | None:
    """Training images beside augmented versions, a row of a sheet for each; None in older runs."""
    kept = files.examples or {}
    if not len(kept.get("sample_labels", ())):
        return None
    originals_NHWC, versions_NRHWC = kept["sample_images"], kept["sample_versions"]
    rows_NRHWC = np.concatenate([originals_NHWC[:, None], versions_NRHWC], axis=1)
    return {
        "names": [files.classes[label] for label in kept["sample_labels"]],
        "sheet": sheet(rows_NRHWC.reshape(-1, *originals_NHWC.shape[1:]), rows_NRHWC.shape[1]),
    }


def _gap(last: Mapping[str, float]) -> dict[str, str]:
    """How far train lies above or below test."""
    points = 100 * (last["train_accuracy"] - last["test_accuracy"])
    return {
        "train": words.percent(last["train_accuracy"]),
        "test": words.percent(last["test_accuracy"]),
        "points": f"{abs(points):.2f}",
        "side": "above" if points >= 0 else "below",
    }


def _own_seconds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with what each epoch took; the log's `seconds` are those since the beginning."""
    found, before = [], 0.0
    for row in rows:
        own = dict(row)
        if "seconds" in own:
            own["seconds_of_this_epoch"] = row["seconds"] - before
            before = own.pop("seconds")
        found.append(own)
    return found


def _epochs(rows: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    if not rows:
        return None
    numbers = set(rows[0]).intersection(*rows)
    numbers = {n for n in numbers if all(isinstance(row[n], int | float) for row in rows)}
    names = [name for name in rows[0] if name in numbers and name != "step"]
    return {
        "names": [name.replace("_", " ") for name in names],
        "rows": [[_cell(name, row[name]) for name in names] for row in rows],
    }


def _cell(name: str, value: float) -> str:
    if name.endswith("accuracy"):
        return words.percent(value)
    if name.endswith("loss"):
        return f"{value:.4f}"
    if name == "seconds_of_this_epoch":
        return f"{value:.1f}"
    return f"{value:.0f}" if name == "epoch" else f"{value:.3g}"
