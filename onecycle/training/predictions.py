"""A network's prediction for each image, in a file for other programs."""

import csv
import io
from pathlib import Path

import numpy as np

from onecycle.data import ImageSet
from onecycle.errors import InputError
from onecycle.evaluate import Evaluation
from onecycle.run_dir import write_atomically
from onecycle.writing.outputs import check_output

COLUMNS = ("path", "label", "predicted", "confidence", "label_confidence")
"""Columns of the table: image, class, predicted class, and the probabilities of both."""


def check_place(file: str | Path | None, data: str | None = None) -> Path | None:
    """The file to write to; None if none is wanted.

    `data`: the images, or None for those of the run.

    Raises:
        InputError: its name does not end in .csv or .npz, it can't be written there, or it would
            replace the images or a part of a run.
    """
    if file is None:
        return None
    path = Path(file)
    if path.suffix.lower() not in (".csv", ".npz"):
        raise InputError(f"predictions: '{path}' has an unknown ending; name a .csv or .npz file")
    if path.is_dir():
        raise InputError(f"predictions: '{path}' is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"predictions: there is no folder '{path.parent}'; make it first")
    return check_output("predictions", path, [data] if data else [])


def write_predictions(path: Path, images: ImageSet, evaluation: Evaluation) -> None:
    """Write a table (.csv), or arrays (.npz) with the names of a run's predictions.npz.

    The table is UTF-8. Bytes of a file name that can't be decoded are escaped.

    Raises:
        TrainingError: it can't be written.
    """
    if path.suffix.lower() == ".csv":
        write_atomically(path, _table(images, evaluation).encode("utf-8", "backslashreplace"))
        return
    content = io.BytesIO()
    np.savez_compressed(
        content,
        logits=evaluation.logits_NK,
        labels=evaluation.labels_N,
        names=np.array(images.names),
        classes=np.array(images.classes),
    )
    write_atomically(path, content.getvalue())


def _table(images: ImageSet, evaluation: Evaluation) -> str:
    rows = zip(
        images.names,
        (images.classes[label] for label in evaluation.labels_N),
        (images.classes[label] for label in evaluation.predictions_N),
        (f"{share:.6f}" for share in evaluation.confidence_N),
        (f"{share:.6f}" for share in np.exp(-evaluation.losses_N)),
        strict=True,
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()
