"""The confusion matrix, with cells that open their images, and the accuracy of each class.

With more classes than a page can show as a matrix, see `many`.

Shapes: N images, E of them kept, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onecycle import statistics
from onecycle.evaluate import Evaluation
from onecycle.examples import MATRIX, PER_CELL, ranked_in_cells
from onecycle.report import formats
from onecycle.report.embedding import sheet
from onecycle.report.predicted import Predicted
from onecycle.writing.numbers import counted

FEW, SOME = 12, 30
"""Cells are large up to the first number of classes; beyond the second they have no numbers."""

PAIRS = 10
"""How many of the most frequent confusions are listed by name."""

Cells = dict[tuple[int, int], dict[str, Any]]
"""The images kept for each cell of the matrix, by its actual and predicted class."""


def matrix(files: Predicted) -> dict[str, Any]:
    """The matrix's rows, the images of its cells, the most frequent confusions, the classes.

    All empty where there are no predictions, or too many classes.
    """
    evaluation, examples = files.evaluation, files.examples
    if evaluation is None or len(files.classes) > MATRIX:
        return {"matrix": None, "classes": [], "cells": [], "cells_sheet": None}
    cells = cells_of(files, evaluation, examples) if examples is not None else {}
    return {
        "matrix": _matrix(evaluation, files.classes, cells) if examples is not None else None,
        "classes": rows_of_classes(evaluation, files.classes),
        "cells": list(cells.values()),
        "cells_sheet": sheet(examples["images"]) if examples is not None else None,
    }


def _matrix(evaluation: Evaluation, classes: Sequence[str], cells: Cells) -> dict[str, Any]:
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
        "pairs": pairs(evaluation, classes, cells, PAIRS),
    }


def _shade(share: float, largest: float) -> str:
    """The strength of a cell's colour, in [0, 1]; the root keeps rare errors visible."""
    return f"{(share / largest) ** 0.6:.2f}"


def _said(count: int, actual: str, predicted: str) -> str:
    images = counted(count, "image")
    if actual == predicted:
        return f"{actual}, classified correctly: {images}"
    return f"{actual} taken for {predicted}: {images}"


def most_frequent(evaluation: Evaluation, count: int) -> list[list[int]]:
    """Actual class, predicted class and number of images of the most frequent confusions."""
    errors_P3 = evaluation.confusion_P3
    errors_P3 = errors_P3[errors_P3[:, 0] != errors_P3[:, 1]]
    return errors_P3[np.argsort(-errors_P3[:, 2], kind="stable")[:count]].tolist()


def pairs(
    evaluation: Evaluation, classes: Sequence[str], cells: Cells, count: int
) -> list[dict[str, Any]]:
    """The most frequent confusions, at most `count`."""
    return [
        {
            "id": f"cell-{row}-{column}" if (row, column) in cells else "",
            "actual": classes[row],
            "predicted": classes[column],
            "classes": (row, column),
            "count": f"{images:,}",
            "images": counted(images, "image"),
        }
        for row, column, images in most_frequent(evaluation, count)
    ]


def cells_of(files: Predicted, evaluation: Evaluation, examples: Mapping[str, np.ndarray]) -> Cells:
    """The images of each cell that has any, in display order."""
    place_of = {index: place for place, index in enumerate(examples["indices"].tolist())}
    order, rank_N = ranked_in_cells(evaluation)
    counts = {(row, column): images for row, column, images in evaluation.confusion_P3.tolist()}
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    confidence_N, predictions_N = evaluation.confidence_N, evaluation.predictions_N
    for index in order[rank_N[order] < PER_CELL].tolist():
        if index not in place_of:
            continue
        cell = (int(evaluation.labels_N[index]), int(predictions_N[index]))
        found.setdefault(cell, []).append(
            {
                "place": place_of[index],
                "name": files.names[index],
                "sure": formats.sure(float(confidence_N[index])),
            }
        )
    return {
        (row, column): {
            "id": f"cell-{row}-{column}",
            "label": _said(counts[row, column], files.classes[row], files.classes[column]),
            "shown": len(images),
            "count": counts[row, column],
            "right": row == column,
            "images": images,
        }
        for (row, column), images in found.items()
    }


def rows_of_classes(
    evaluation: Evaluation, names: Sequence[str], most: int | None = None
) -> list[dict[str, Any]]:
    """Accuracy of each class that has images, lowest first; ties: the class with more images first.

    Args:
        most: how many of them; None: all.
    """
    counts, hits = evaluation.class_counts_2K.tolist()
    rows = enumerate(zip(names, hits, counts, strict=True))
    present = [(index, *row) for index, row in rows if row[2]]
    present.sort(key=lambda row: (row[2] / row[3], -row[3]))
    return [
        {
            "class": index,
            "name": name,
            **bar(hit, count),
        }
        for index, name, hit, count in present[:most]
    ]


def bar(hit: int, count: int) -> dict[str, str]:
    """An accuracy with its 95 % interval, and both in percent of the bar that shows them."""
    low, high = statistics.wilson(hit, count)
    return {
        "count": f"{count:,}",
        "accuracy": formats.percent(hit / count),
        "share": f"{100 * hit / count:.1f}",
        "interval": formats.wilson(hit, count),
        "low": f"{100 * low:.1f}",
        "width": f"{100 * (high - low):.1f}",
    }
