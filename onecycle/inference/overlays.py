"""Grad-CAM of classified images: each next to what in it speaks for the predicted class.

Shapes: B images of a batch, H height, W width, C channels.
"""

import io
from pathlib import PurePath

import numpy as np
import torch
from PIL import Image

from onecycle import plots
from onecycle.errors import InputError
from onecycle.inference.classifier import Classifier, RunClassifier
from onecycle.inference.destination import Destination, Written
from onecycle.inference.sources import Source
from onecycle.inference.stream import Batch
from onecycle.inference.takers import Taker
from onecycle.interpret import grad_cam
from onecycle.plots import style
from onecycle.writing.file_names import file_name

TOGETHER = 50
"""Images explained at a time: for the gradients, the outputs of all layers are kept."""


class Overlays(Taker):
    """A PNG file for each readable image: the image, and its Grad-CAM map over it.

    Folders and names are those of the images, below the destination.

    Args:
        destination: where they are written.
        classifier: a run's; an ONNX file has no gradients.

    Raises:
        InputError: it is not a run's.
    """

    column = "grad_cam"

    def __init__(self, destination: Destination, classifier: Classifier) -> None:
        if not isinstance(classifier, RunClassifier):
            raise InputError(
                "--grad-cam: an ONNX file has no gradients; give the run that it was exported from"
            )
        self._destination = destination
        self._classifier = classifier

    def take(self, batch: Batch) -> list[str]:
        starts = range(0, len(batch.images_BHWC), TOGETHER)
        return [
            path for start in starts for path in self._taken(batch, slice(start, start + TOGETHER))
        ]

    def _taken(self, batch: Batch, part: slice) -> list[str]:
        images_BHWC = batch.images_BHWC[part]
        maps_BHW = self._maps(images_BHWC, batch.predictions.labels_N[part])
        captions = [
            f"{name}, {style.percent_text(share)}"
            for name, share in zip(
                batch.predictions.predicted[part],
                batch.predictions.confidence_N[part],
                strict=True,
            )
        ]
        shown = zip(batch.good[part], images_BHWC, maps_BHW, captions, strict=True)
        return [
            self._written(source, plots.explained(image_HWC, map_HW, caption))
            for source, image_HWC, map_HW, caption in shown
        ]

    def _maps(self, images_BHWC: np.ndarray, labels_B: np.ndarray) -> np.ndarray:
        """In float32 whatever the training's precision, so that small gradients are kept."""
        device = self._classifier.device
        batch_BCHW = self._classifier.preprocess(images_BHWC).to(device)
        labels = torch.from_numpy(labels_B).to(device)
        return grad_cam(self._classifier.network, batch_BCHW, labels).cpu().numpy()

    def _written(self, source: Source, picture_HW3: np.ndarray) -> str:
        """The path of the picture's file; empty for an image that lies in the destination."""
        if self._destination.contains(source.path):
            return ""
        content = io.BytesIO()
        Image.fromarray(picture_HW3).save(content, "PNG")
        *folders, name = _mirrored(source.name)
        return self._destination.add(tuple(folders), name, Written(content.getvalue()))


def _mirrored(name: str) -> tuple[str, ...]:
    """The folders and the name of an image's picture, from how the user named the image."""
    path = PurePath(name)
    steps = [step for step in path.parent.parts if step not in (path.anchor, "..")]
    return (*map(file_name, steps), file_name(f"{path.stem}.png"))
