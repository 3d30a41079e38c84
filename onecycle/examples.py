"""The images of a report and its pictures, with Grad-CAM maps: examples.npz.

Shapes: N images of the test split, E of them kept, M of these with maps, T tile side, C channels,
H height, W width; S images of the train split, R versions of each.
"""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from onecycle.engine.state import Training
from onecycle.errors import InputError
from onecycle.evaluate import Evaluation
from onecycle.interpret import (
    effective_receptive_fields,
    grad_cam,
    likely_label_errors,
    most_confidently_wrong,
)

TILE = 64
"""Maximum length of a thumbnail's longer side, in pixels."""

PICTURE = 150
"""Maximum length of the longer side of an image kept for a picture, in pixels."""

SAMPLES = 10
"""Training images kept with their augmented versions; with no more classes, each is shown."""

VERSIONS = 7
"""Augmented versions kept of each training image."""

PER_CELL = 24
"""Maximum number of images kept for each cell of the confusion matrix."""

MOST = 2400
"""Maximum for all cells together. Beyond it, each cell gets its first image, then its second, …

The largest cells come first, so that among thousands of cells the important ones have images.
"""

MATRIX = 100
"""With more classes, the picture and the report list the worst classes instead of a matrix."""

NAMED = 20
"""How many frequent confusions are listed then; their images come first."""

LOSSES, LABELS, WRONG = 100, 40, 20
"""Images kept: mistakes, likely label errors, and mistakes that the picture shows."""

FIELD_IMAGES = 32
"""Images over which effective receptive fields are averaged."""

MAP_BATCH = 50


def gather(training: Training, evaluation: Evaluation) -> dict[str, np.ndarray]:
    """The content of examples.npz.

    Returns:
        `indices` (int64 E, rising) and `images` (uint8 E T T C) of the images kept; `losses`:
        the misclassified ones with the largest loss in that order, `wrong` the first of these,
        `labels`: likely label errors; `cam_indices` (M) with `cam_predicted` and `cam_actual`
        (uint8 M T T), the maps for the class predicted and the
        actual one; `field_stages`, `field_sides` and `fields` (float32, stage T T): effective
        receptive fields, the sides in pixels of the images; `wrong_images` (uint8 N T T C), the
        `wrong` ones larger; and what `samples` gives.
    """
    losses = most_confidently_wrong(evaluation, LOSSES)
    mistakes = {
        "wrong": losses[:WRONG],
        "losses": losses,
        "labels": likely_label_errors(evaluation, LABELS),
    }
    mapped = np.unique(np.concatenate(list(mistakes.values())))
    kept = np.union1d(mapped, images_of_cells(evaluation))
    return {
        **mistakes,
        "indices": kept,
        "images": thumbnails(training.test.images_NHWC[kept]),
        "cam_indices": mapped,
        **_maps(training, evaluation, mapped),
        **_fields(training),
        "wrong_images": thumbnails(training.test.images_NHWC[mistakes["wrong"]], PICTURE),
        **samples(training),
    }


def samples(training: Training) -> dict[str, np.ndarray]:
    """A few training images, from as many classes as possible, as the training saw them.

    Returns:
        `sample_images` (uint8 S T T C), `sample_versions` (uint8 S R T T C) and `sample_labels`
        (int64 S).
    """
    train = training.batches.train
    chosen = over_classes(train.labels_N, SAMPLES)
    versions = [
        thumbnails(augmented(training, chosen, version), PICTURE) for version in range(VERSIONS)
    ]
    return {
        "sample_images": thumbnails(np.asarray(train.images_NHWC[chosen]), PICTURE),
        "sample_versions": np.stack(versions, axis=1),
        "sample_labels": train.labels_N[chosen],
    }


def augmented(training: Training, indices: np.ndarray, version: int) -> np.ndarray:
    """uint8 images as the training would see them in epoch `version`, with its own draws."""
    batches = training.batches
    step = version * batches.steps_per_epoch
    rows = torch.arange(len(indices)) % len(batches.indices(step))
    picked = tuple(drawn_B[rows] for drawn_B in batches.draws(step))
    batch_BHWC = batches.transformed(batches.images.normalised(indices), picked)
    pixels = batch_BHWC.cpu().numpy() * np.array(batches.std) + np.array(batches.mean)
    return np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8)


def over_classes(labels_N: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` indices, in the order of classes, each class equally often or once more.

    With more classes than `count`, these are spread evenly over them, the first image of each.
    """
    present = np.unique(labels_N)
    if len(present) > count:
        present = present[np.arange(count) * len(present) // count]
    order = np.argsort(labels_N, kind="stable")
    order = order[np.isin(labels_N[order], present)]
    place_N = np.arange(len(order)) - np.searchsorted(labels_N[order], labels_N[order])
    chosen = np.lexsort((labels_N[order], place_N))[:count]
    return order[np.sort(chosen)]


def images_of_cells(evaluation: Evaluation, most: int = MOST) -> np.ndarray:
    """Indices of the images that stand for the confusion matrix's cells, int64, rising.

    In each cell, the most confident errors or the least confident correct images come first.
    """
    order, rank_N = ranked_in_cells(evaluation)
    classes = evaluation.logits_NK.shape[1]
    cells_N = evaluation.labels_N * classes + evaluation.predictions_N
    _, cell_N, sizes = np.unique(cells_N, return_inverse=True, return_counts=True)
    size_N = sizes[cell_N]
    listed_N = np.zeros(len(size_N), dtype=bool)
    if classes > MATRIX:
        listed_N = _of_frequent_confusions(evaluation, cell_N, sizes)
    chosen = order[rank_N[order] < PER_CELL]
    keys = (-size_N[chosen], rank_N[chosen], ~listed_N[chosen])
    return np.sort(chosen[np.lexsort(keys)][:most])


def _of_frequent_confusions(
    evaluation: Evaluation, cell_N: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Whether each image is of one of the most frequent confusions, which a report names."""
    right_N = evaluation.labels_N == evaluation.predictions_N
    errors = sizes.copy()
    errors[cell_N[right_N]] = 0
    return np.isin(cell_N, np.argsort(-errors, kind="stable")[:NAMED]) & ~right_N


def ranked_in_cells(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """All indices, cell by cell in display order, and each image's place in its cell."""
    labels_N, predictions_N = evaluation.labels_N, evaluation.predictions_N
    cell_N = labels_N * evaluation.logits_NK.shape[1] + predictions_N
    right_N = labels_N == predictions_N
    key_N = np.where(right_N, evaluation.confidence_N, -evaluation.confidence_N)
    order = np.lexsort((key_N, cell_N))
    starts = np.flatnonzero(np.diff(cell_N[order], prepend=-1))
    rank_N = np.empty(len(order), dtype=np.int64)
    rank_N[order] = np.arange(len(order)) - np.repeat(
        starts, np.diff(np.append(starts, len(order)))
    )
    return order, rank_N


def thumbnails(images_NHWC: np.ndarray, most: int = TILE) -> np.ndarray:
    """The images with their longer side at most `most` pixels, uint8."""
    _, height, width, _ = images_NHWC.shape
    scale = most / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(images_NHWC)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = [_shrunk(image_HWC, size) for image_HWC in images_NHWC]
    return np.stack(small) if small else images_NHWC[:, : size[1], : size[0]]


def _shrunk(image_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    grey = image_HWC.shape[2] == 1
    image = Image.fromarray(image_HWC[..., 0] if grey else image_HWC)
    pixels = np.asarray(image.resize(size, Image.Resampling.BOX))
    return pixels[..., None] if grey else pixels


def _maps(training: Training, evaluation: Evaluation, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Grad-CAM at the network's last stage with a height and a width above 1.

    All maps are 0 for a network without such a stage.
    """
    asked = {"cam_predicted": evaluation.predictions_N, "cam_actual": evaluation.labels_N}
    maps: dict[str, list[np.ndarray]] = {name: [] for name in asked}
    for part, batch_BCHW in _batches(training, indices):
        for name, classes_N in asked.items():
            classes_B = torch.from_numpy(classes_N[part]).to(training.device)
            maps_BHW = _grad_cam(training.evaluated, batch_BCHW, classes_B)
            maps[name].append((255 * maps_BHW).round().byte().cpu().numpy())
    height, width, _ = training.test.image_shape
    none = [np.zeros((0, height, width), np.uint8)]
    return {
        name: thumbnails(np.concatenate(none + parts)[..., None])[..., 0]
        for name, parts in maps.items()
    }


def _grad_cam(model: nn.Module, batch_BCHW: Tensor, classes_B: Tensor) -> Tensor:
    """The maps B H W; zeros for a network without a map."""
    try:
        return grad_cam(model, batch_BCHW, classes_B)
    except InputError:  # no layer has a height and a width, or the logits depend on none
        return torch.zeros(len(batch_BCHW), *batch_BCHW.shape[2:])


def _few(images: int, shape: tuple[int, int, int]) -> int:
    """At most this many images of a shape (H, W, C), of larger ones fewer: graphs take memory."""
    return max(1, min(images, images * TILE**2 // (shape[0] * shape[1])))


def _batches(training: Training, indices: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Test images in the network's input form, a few at a time, with their indices."""
    size = _few(MAP_BATCH, training.test.image_shape)
    for start in range(0, len(indices), size):
        part = indices[start : start + size]
        yield part, training.test_batch(part)


def _fields(training: Training) -> dict[str, np.ndarray]:
    """Effective receptive fields over the first images of the test split."""
    count = min(_few(FIELD_IMAGES, training.test.image_shape), len(training.test))
    batch_BCHW = training.test_batch(np.arange(count))
    found = effective_receptive_fields(training.evaluated, batch_BCHW)
    influences = [_reduced(field.influence_HW) for field in found.values()]
    return {
        "field_stages": np.array(list(found), dtype=str),
        "field_sides": np.array([field.side for field in found.values()]),
        "fields": np.stack(influences).astype(np.float32) if influences else np.zeros((0, 1, 1)),
    }


def _reduced(influence_HW: np.ndarray) -> np.ndarray:
    """At most `TILE` pixels a side, by means over squares."""
    height, width = influence_HW.shape
    if max(height, width) <= TILE:
        return influence_HW
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(influence_HW.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BOX))
