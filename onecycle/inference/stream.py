"""Classify any number of files, batch by batch, in their order, while the next are decoded.

Shapes: B images of a batch, H height, W width, C channels, K classes.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from onecycle.data.folder.streaming import Chunk, decoded
from onecycle.evaluate import BATCH_SIZE
from onecycle.inference.classifier import Classifier, Predictions
from onecycle.inference.sources import Source


@dataclass(frozen=True, eq=False)
class Batch:
    """Files in their order, and what was predicted for the readable ones.

    Attributes:
        sources: all files.
        bad: the unreadable ones, by their place in `sources`.
        images_BHWC: uint8, the readable ones as the network takes them.
        predictions: of the readable ones.
    """

    sources: list[Source]
    bad: dict[int, str]
    images_BHWC: np.ndarray
    predictions: Predictions

    @property
    def good(self) -> list[Source]:
        """The readable files, in the order of `predictions`."""
        return [each for place, each in enumerate(self.sources) if place not in self.bad]


def classified(
    classifier: Classifier, sources: Iterable[Source | None], *, few: bool
) -> Iterator[Batch]:
    """The files batch by batch: `BATCH_SIZE` readable ones each, as in an evaluation.

    So the logits of a run's own test images are those of its predictions.npz, to the bit.

    Args:
        classifier: predicts.
        sources: the files. None means that the next one may take a while, so a batch ends there.
        few: whether they are too few to start worker processes for them.

    Raises:
        TrainingError: pixels can't be written to a temporary file.
    """
    waiting: deque[Source] = deque()
    batch = _Open(classifier)
    paths = (_noted(source, waiting) for source in sources)
    for chunk in decoded(paths, classifier.preprocess.form, few=few):
        if chunk is None:
            if batch.sources:
                yield batch.close()
            continue
        for place, _ in enumerate(chunk.paths):
            batch.add(waiting.popleft(), chunk, place)
            if batch.full:
                yield batch.close()
    if batch.sources:
        yield batch.close()


def _noted(source: Source | None, waiting: deque[Source]) -> str | None:
    """The path to decode, after its source was appended to those that wait for their pixels."""
    if source is None:
        return None
    waiting.append(source)
    return source.path


class _Open:
    """A batch that is being filled."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.sources: list[Source] = []
        self._bad: dict[int, str] = {}
        self._images: list[np.ndarray] = []

    @property
    def full(self) -> bool:
        """Whether there are as many readable images as a batch may have."""
        return len(self._images) == BATCH_SIZE

    def add(self, source: Source, chunk: Chunk, place: int) -> None:
        """Add the file at `place` of a decoded chunk."""
        reason = chunk.reasons.get(chunk.paths[place])
        if reason is None:
            self._images.append(chunk.images_NHWC[place])
        else:
            self._bad[len(self.sources)] = reason
        self.sources.append(source)

    def close(self) -> Batch:
        """The batch with its predictions; afterwards this one is empty."""
        shape = self._classifier.preprocess.form.shape
        images_BHWC = np.stack(self._images) if self._images else np.zeros((0, *shape), np.uint8)
        batch = Batch(self.sources, self._bad, images_BHWC, self._classifier.predict(images_BHWC))
        self.sources, self._bad, self._images = [], {}, []
        return batch
