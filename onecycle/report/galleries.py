"""The mistakes: images with the largest loss and likely label errors, with Grad-CAM overlays.

Shapes: N images, M of them with maps, H height, W width, C channels.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from onecycle.evaluate import Evaluation
from onecycle.plots.heat import overlay
from onecycle.report import formats
from onecycle.report.embedding import sheet
from onecycle.report.predicted import Predicted

FIRST = 20
"""Images shown at first; the others on demand."""

SIDE = 64
"""Side in pixels to which smaller images are enlarged, so that the map over them looks smooth."""


def galleries(files: Predicted) -> dict[str, Any]:
    """Both lists of images, and the three sheets that show them: plain, and under each map."""
    evaluation, examples = files.evaluation, files.examples
    if evaluation is None or examples is None:
        return {"losses": None, "losses_title": "", "suspects": None, "mistake_sheets": None}
    places = {int(index): place for place, index in enumerate(examples["cam_indices"])}
    losses, suspects = (
        [_card(files, evaluation, index, places.get(index)) for index in examples[name].tolist()]
        for name in ("losses", "labels")
    )
    return {
        # Runs of earlier versions may list correctly classified images too.
        "losses": [card for card in losses if not card["right"]],
        "losses_title": _title(int((evaluation.predictions_N != evaluation.labels_N).sum())),
        "suspects": suspects,
        "mistake_sheets": _sheets(examples),
    }


def _title(wrong: int) -> str:
    """The title of the first list, when `wrong` images are misclassified."""
    if wrong > FIRST:  # the others follow
        return f"The {FIRST} misclassified images with the largest loss, of {wrong:,}"
    return "The only misclassified image" if wrong == 1 else f"All {wrong} misclassified images"


def _card(
    files: Predicted, evaluation: Evaluation, index: int, place: int | None
) -> dict[str, Any]:
    """An image's place on the sheets, None if it isn't there, and its description."""
    label, predicted = int(evaluation.labels_N[index]), int(evaluation.predictions_N[index])
    return {
        "index": index,
        "place": place,
        "name": files.names[index],
        "actual": files.classes[label],
        "predicted": files.classes[predicted],
        "right": label == predicted,
        "actual_sure": formats.sure(float(np.exp(-evaluation.losses_N[index]))),
        "predicted_sure": formats.sure(float(evaluation.confidence_N[index])),
        "loss": f"{float(evaluation.losses_N[index]):.2f}",
    }


def _sheets(examples: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """The same images in the same places on each sheet, so that the sheets are interchangeable."""
    places = np.searchsorted(examples["indices"], examples["cam_indices"])
    images = [_enlarged(image_HWC) for image_HWC in examples["images"][places]]
    if not images:
        return None
    if not _has_maps(examples):
        return {"plain": sheet(images), "predicted": None, "actual": None}
    heated = {
        name: [overlay(image, map_HW / 255) for image, map_HW in zip(images, maps_MHW, strict=True)]
        for name, maps_MHW in (
            ("predicted", examples["cam_predicted"]),
            ("actual", examples["cam_actual"]),
        )
    }
    return {"plain": sheet(images), **{name: sheet(rows) for name, rows in heated.items()}}


def _has_maps(examples: Mapping[str, np.ndarray]) -> bool:
    """Whether there is any Grad-CAM map; not for a network without a layer that has one."""
    return bool(examples["cam_predicted"].any() or examples["cam_actual"].any())


def _enlarged(image_HWC: np.ndarray) -> np.ndarray:
    """A small image enlarged by a whole factor, its pixels as squares."""
    factor = max(1, SIDE // max(image_HWC.shape[:2]))
    large_HWC = image_HWC.repeat(factor, axis=0).repeat(factor, axis=1)
    return np.broadcast_to(large_HWC, (*large_HWC.shape[:2], 3))
