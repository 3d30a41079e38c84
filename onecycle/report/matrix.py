"""The confusion matrix whose cells open their images, and the accuracy of each class.

Shapes: N images, E of them kept, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onecycle.evaluate import Evaluation
from onecycle.examples import PER_CELL, ranked_in_cells
from onecycle.report import words
from onecycle.report.files import Files
from onecycle.report.pictures import sheet

FEW, SOME = 12, 30
"""Up to the first of these many classes cells are large; beyond the second they have no numbers."""

PAIRS = 10
"""Confusions listed by name, the most frequent ones."""


def matrix(files: Files) -> dict[str, Any]:
    """The matrix's rows, the images of its cells, the most frequent confusions, the classes."""
    evaluation, examples = files.evaluation, files.examples
    if evaluation is None:
        return {"matrix": None, "classes": [], "cells": [], "cells_sheet": None}
    cells = _cells(files, evaluation, examples) if examples is not None else {}
    return {
        "matrix": _matrix(evaluation, files.classes, cells) if examples is not None else None,
        "classes": _classes(evaluation, files.classes),
        "cells": list(cells.values()),
        "cells_sheet": sheet(examples["images"]) if examples is not None else None,
    }


def _matrix(
    evaluation: Evaluation, classes: Sequence[str], cells: Mapping[tuple[int, int], Any]
) -> dict[str, Any]:
    counts_KK = evaluation.confusion_KK
    shares_KK = counts_KK / np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    errors_KK = np.where(np.eye(len(counts_KK), dtype=bool), 0, shares_KK)
    largest = errors_KK.max() or 1.0
    count = len(classes)
    rows = [
        {
            "name": classes[row],
            "cells": [
                {
                    "count": int(counts_KK[row, column]),
                    "id": f"cell-{row}-{column}" if (row, column) in cells else "",
                    "right": row == column,
                    "shade": _shade(shares_KK[row, column], 1 if row == column else largest),
                    "label": _said(int(counts_KK[row, column]), classes[row], classes[column]),
                }
                for column in range(count)
            ],
        }
        for row in range(count)
    ]
    wrong = int(counts_KK.sum() - counts_KK.trace())
    return {
        "names": list(classes),
        "rows": rows,
        "size": "few" if count <= FEW else "some" if count <= SOME else "many",
        "wrong": f"{wrong:,}",
        "total": f"{int(counts_KK.sum()):,}",
        "pairs": _pairs(counts_KK, classes, cells),
    }


def _shade(share: float, largest: float) -> str:
    """How strong a cell's colour is, in [0, 1]; the root lets rare errors be seen."""
    return f"{(share / largest) ** 0.6:.2f}"


def _said(count: int, actual: str, predicted: str) -> str:
    images = words.counted(count, "image")
    if actual == predicted:
        return f"{actual}, classified rightly: {images}"
    return f"{actual} taken for {predicted}: {images}"


def _pairs(
    counts_KK: np.ndarray, classes: Sequence[str], cells: Mapping[tuple[int, int], Any]
) -> list[dict[str, str]]:
    """The most frequent confusions."""
    errors_KK = counts_KK * ~np.eye(len(counts_KK), dtype=bool)
    order = np.argsort(-errors_KK, axis=None, kind="stable")[:PAIRS]
    places = [tuple(map(int, divmod(place, len(classes)))) for place in order.tolist()]
    return [
        {
            "id": f"cell-{row}-{column}" if (row, column) in cells else "",
            "actual": classes[row],
            "predicted": classes[column],
            "count": f"{int(errors_KK[row, column]):,}",
        }
        for row, column in places
        if errors_KK[row, column]
    ]


def _cells(
    files: Files, evaluation: Evaluation, examples: Mapping[str, np.ndarray]
) -> dict[tuple[int, int], Any]:
    """The images of each cell that has any, in the order shown."""
    place_of = {index: place for place, index in enumerate(examples["indices"].tolist())}
    order, rank_N = ranked_in_cells(evaluation)
    counts_KK, found = evaluation.confusion_KK, {}
    confidence_N, predictions_N = evaluation.confidence_N, evaluation.predictions_N
    for index in order[rank_N[order] < PER_CELL].tolist():
        if index not in place_of:
            continue
        cell = (int(evaluation.labels_N[index]), int(predictions_N[index]))
        found.setdefault(cell, []).append(
            {
                "place": place_of[index],
                "name": files.image_name(index),
                "sure": words.sure(float(confidence_N[index])),
            }
        )
    return {
        (row, column): {
            "id": f"cell-{row}-{column}",
            "label": _said(int(counts_KK[row, column]), files.classes[row], files.classes[column]),
            "shown": len(images),
            "count": int(counts_KK[row, column]),
            "right": row == column,
            "images": images,
        }
        for (row, column), images in found.items()
    }


def _classes(evaluation: Evaluation, names: Sequence[str]) -> list[dict[str, str]]:
    """Accuracy of each class that has images, the lowest first."""
    counts = evaluation.confusion_KK.sum(axis=1).tolist()
    hits = evaluation.confusion_KK.diagonal().tolist()
    present = [row for row in zip(names, hits, counts, strict=True) if row[2]]
    return [
        {
            "name": name,
            "count": f"{count:,}",
            "accuracy": words.percent(hit / count),
            "share": f"{100 * hit / count:.1f}",
            "interval": words.wilson(hit, count),
            **_whisker(hit, count),
        }
        for name, hit, count in sorted(present, key=lambda row: row[1] / row[2])
    ]


def _whisker(hit: int, count: int) -> dict[str, str]:
    """Where the interval begins and how wide it is, as percent of the bar."""
    low, high = words.wilson_bounds(hit, count)
    return {"low": f"{100 * low:.1f}", "width": f"{100 * (high - low):.1f}"}
