"""Confusion with too many classes for a matrix: the worst classes, and a search by name.

Shapes: N images, K classes, P pairs of an actual and a predicted class.
"""

import json
from functools import lru_cache
from typing import Any

import numpy as np

from onecycle.evaluate import Evaluation
from onecycle.examples import MATRIX, NAMED
from onecycle.report import formats
from onecycle.report.embedding import sheet
from onecycle.report.matrix import Cells, cells_of, most_frequent, pairs, rows_of_classes
from onecycle.report.predicted import Predicted

LISTED = NAMED
"""How many classes of lowest accuracy, and how many frequent confusions, are listed."""

CONFUSIONS = 5
"""How many confusions the search has for each class, as the actual and as the predicted one."""

IMAGES = 600
"""Maximum number of images in the cells that the lists open."""


def many(files: Predicted) -> dict[str, Any]:
    """The lists with their images, and the data of the search; None with fewer classes."""
    evaluation, examples = files.evaluation, files.examples
    if evaluation is None or len(files.classes) <= MATRIX:
        return {"many": None}
    worst = rows_of_classes(evaluation, files.classes, LISTED)
    cells: Cells = {}
    if examples is not None:
        cells = _listed(cells_of(files, evaluation, examples), evaluation, worst)
    right_N = evaluation.predictions_N == evaluation.labels_N
    return {
        "many": {
            "classes": f"{len(files.classes):,}",
            "worst": worst,
            "pairs": pairs(evaluation, files.classes, cells, LISTED),
            "wrong": f"{int((~right_N).sum()):,}",
            "total": f"{len(right_N):,}",
            "none": int((evaluation.class_counts_2K[0] == 0).sum()),
            "data": _embedded(_searched(evaluation, files.classes)),
        },
        "cells": list(cells.values()),
        "cells_sheet": None if examples is None else _sheet(cells, examples["images"]),
    }


def _listed(cells: Cells, evaluation: Evaluation, worst: list[dict[str, Any]]) -> Cells:
    """The cells of the listed confusions, then those of the worst classes, while there is room."""
    ranks = {row["class"]: rank for rank, row in enumerate(worst)}
    order = [(row, column) for row, column, _ in most_frequent(evaluation, LISTED)]
    order += sorted((cell for cell in cells if cell[0] in ranks), key=lambda c: (ranks[c[0]], c))
    found, room = {}, IMAGES
    for cell in order:
        if cell in cells and cell not in found and room > 0:
            found[cell] = cells[cell] | {"images": cells[cell]["images"][:room]}
            found[cell]["shown"] = len(found[cell]["images"])
            room -= found[cell]["shown"]
    return found


def _sheet(cells: Cells, images_EHWC: np.ndarray) -> Any:
    """Only the images of these cells, with their places renumbered."""
    shown = [image for cell in cells.values() for image in cell["images"]]
    places = [image["place"] for image in shown]
    for place, image in enumerate(shown):
        image["place"] = place
    return sheet(images_EHWC[places])


def _searched(evaluation: Evaluation, names: list[str]) -> dict[str, Any]:
    """Figures and most frequent confusions of all classes, each a list in class order."""
    counts, hits = evaluation.class_counts_2K.tolist()
    errors_P3 = evaluation.confusion_P3
    errors_P3 = errors_P3[errors_P3[:, 0] != errors_P3[:, 1]]
    return {
        "names": names,
        "images": counts,
        "right": hits,
        "intervals": [_interval(hit, count) for hit, count in zip(hits, counts, strict=True)],
        "as": _most_frequent(errors_P3, len(names)),
        "of": _most_frequent(errors_P3[:, [1, 0, 2]], len(names)),
    }


@lru_cache(maxsize=2**12)
def _interval(hits: int, count: int) -> str:
    """The 95 % interval; empty for a class without images."""
    return formats.wilson(hits, count) if count else ""


def _most_frequent(pairs_P3: np.ndarray, classes: int) -> list[list[int]]:
    """For each class of the first column: others and their counts, highest first."""
    found: list[list[int]] = [[] for _ in range(classes)]
    order = np.lexsort((pairs_P3[:, 1], -pairs_P3[:, 2]))
    for own, other, count in pairs_P3[order].tolist():
        if len(found[own]) < 2 * CONFUSIONS:
            found[own] += [other, count]
    return found


def _embedded(value: dict[str, Any]) -> str:
    """JSON that is safe inside a script element, whatever the names are."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
