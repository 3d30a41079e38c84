"""The pictures of held-out images, gathered from the examples.npz of the runs of all folds.

Shapes: N images of all folds, E of them kept, M of these with maps, T tile side, C channels.
"""

import os
from collections.abc import Mapping

import numpy as np

from onecycle.errors import InputError
from onecycle.evaluate import Evaluation
from onecycle.examples import LABELS, LOSSES, images_of_cells
from onecycle.experiments.folds import Folded
from onecycle.interpret import likely_label_errors, most_confidently_wrong
from onecycle.run_dir import RunDir

Arrays = Mapping[str, np.ndarray]
MAPS = ("cam_predicted", "cam_actual")
KEPT = ("indices", "images", "cam_indices", *MAPS)


def gathered(
    folded: Folded, evaluation: Evaluation
) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """What a report shows of all images, as far as the folds have it, and what is missing.

    Each fold kept its own largest losses and the first images of its own cells, so those of all
    folds together are among them. A likely label error may lack its maps: then they are 0.

    Args:
        folded: the folds.
        evaluation: of their predictions.

    Returns:
        The arrays of an examples.npz that `report.predicted.Predicted` needs; and why the pictures
        of a fold are missing, by fold.
    """
    found, missing = _read(folded)
    losses = most_confidently_wrong(evaluation, LOSSES)
    labels = likely_label_errors(evaluation, LABELS)
    mapped = np.union1d(losses, labels)
    wanted = np.union1d(mapped, images_of_cells(evaluation))
    indices_E, images_ETTC = _joined(folded, found, "indices", "images", wanted)
    mapped = np.intersect1d(mapped, indices_E)
    arrays = {"losses": losses, "labels": labels, "indices": indices_E, "images": images_ETTC}
    arrays["cam_indices"] = mapped
    for name in MAPS:
        there, maps_TT = _joined(folded, found, "cam_indices", name, mapped)
        arrays[name] = np.zeros((len(mapped), *maps_TT.shape[1:]), np.uint8)
        arrays[name][np.searchsorted(mapped, there)] = maps_TT
    return arrays, missing


def _read(folded: Folded) -> tuple[dict[int, Arrays], dict[int, str]]:
    """The examples of each fold, and why some can't be used, by fold."""
    found: dict[int, Arrays] = {}
    missing: dict[int, str] = {}
    for fold, run in enumerate(folded.runs):
        try:
            arrays = RunDir(run.path).examples(len(run.test.labels_N), len(folded.classes))
        except InputError as error:
            missing[fold] = str(error).removeprefix(f"{run.path}{os.sep}")
            continue
        if arrays is None:
            missing[fold] = "examples.npz: is missing"
        elif found and _sizes(arrays) != _sizes(next(iter(found.values()))):
            missing[fold] = "its pictures have another size"
        else:
            found[fold] = {name: arrays[name] for name in KEPT}
    return found, missing


def _sizes(arrays: Arrays) -> list[tuple[int, ...]]:
    return [arrays[name].shape[1:] for name in ("images", *MAPS)]


def _joined(
    folded: Folded, found: Mapping[int, Arrays], places: str, name: str, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of an array of all folds that are wanted, and their indices, rising.

    Args:
        places: the array with the places of the rows among the test images of a run.
        name: the array.
        wanted: indices of images of all folds.
    """
    indices, rows = [np.zeros(0, np.int64)], []
    for fold, arrays in found.items():
        own_N = np.flatnonzero(folded.fold_N == fold)
        index_of = own_N[np.argsort(folded.place_N[own_N])]
        of_all = index_of[arrays[places]]
        kept = np.isin(of_all, wanted)
        indices.append(of_all[kept])
        rows.append(arrays[name][kept])
    order = np.argsort(np.concatenate(indices))
    nothing = np.zeros((0, 1, 1, 3) if name == "images" else (0, 1, 1), np.uint8)
    return np.concatenate(indices)[order], np.concatenate(rows)[order] if rows else nothing
