"""A contact sheet of predictions: for each predicted class its least confident images."""

import heapq
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from onecycle import plots
from onecycle.data.class_examples import FEW_CLASSES, MOST_CLASSES, OF_FEW, OF_MANY
from onecycle.data.folder.streaming import decoded
from onecycle.inference.preprocessing import FEW, Preprocess
from onecycle.inference.stream import Batch
from onecycle.inference.takers import Taker


class Sheet(Taker):
    """A picture with a row for each predicted class, with its least confident images.

    Only the paths of the images to show are kept, so memory does not grow with the number of
    images. They are decoded again at the end; one that can no longer be read is left out.

    Args:
        file: PNG file, replaced if it exists.
        preprocess: prepares the images.
    """

    def __init__(self, file: Path, preprocess: Preprocess) -> None:
        self._file = file
        self._preprocess = preprocess
        self._counts: Counter[str] = Counter()
        self._doubtful: dict[str, list[tuple[float, int, str]]] = defaultdict(list)

    def take(self, batch: Batch) -> list[str]:
        predictions = batch.predictions
        shown = zip(batch.good, predictions.predicted, predictions.confidence_N, strict=True)
        for source, name, confidence in shown:
            self._counts[name] += 1
            # A heap's first entry is its smallest: here the most confident, the last of equal ones.
            entry = (-float(confidence), -self._counts[name], source.path)
            if len(self._doubtful[name]) < OF_FEW:
                heapq.heappush(self._doubtful[name], entry)
            else:
                heapq.heappushpop(self._doubtful[name], entry)
        return []

    def finish(self) -> None:
        """Draw the picture."""
        classes, counts = (
            zip(*self._counts.most_common(), strict=True) if self._counts else ((), ())
        )
        each = OF_FEW if len(classes) <= FEW_CLASSES else OF_MANY
        rows = [
            sorted(self._doubtful[name], reverse=True)[:each] for name in classes[:MOST_CLASSES]
        ]
        found = self._decoded([path for row in rows for *_, path in row])
        kept = [[entry for entry in row if entry[2] in found] for row in rows]
        shown = [entry for row in kept for entry in row]
        images_NHWC = np.array([found[path] for *_, path in shown], np.uint8)
        figure = plots.predicted_sheet(
            images_NHWC.reshape(-1, *self._preprocess.form.shape),
            np.split(np.arange(len(shown)), np.cumsum(list(map(len, kept)))[:-1]),
            [-minus_confidence for minus_confidence, *_ in shown],
            classes,
            counts,
        )
        plots.save(figure, self._file)

    def _decoded(self, paths: list[str]) -> dict[str, np.ndarray]:
        """The readable ones of these images, by their paths: uint8 H W C."""
        return {
            path: image_HWC
            for chunk in decoded(paths, self._preprocess.form, few=len(paths) <= FEW)
            if chunk
            for path, image_HWC in zip(chunk.paths, chunk.images_NHWC, strict=True)
            if path not in chunk.reasons
        }
