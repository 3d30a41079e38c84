"""Evaluation: logits in, every metric out.

Shapes: N images, K classes, B batch, C channels, H height, W width.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from onecycle import runtime
from onecycle.data.batches import Images
from onecycle.data.image_set import ImageSet

BATCH_SIZE = 500
"""Images in a forward pass. Fixed, so that an evaluation repeats to the last bit."""


@dataclass(frozen=True)
class Evaluation:
    """What a set's logits say, each figure computed once when asked for, in float64.

    Attributes:
        logits_NK: float32.
        labels_N: int64, in [0, K).
    """

    logits_NK: np.ndarray
    labels_N: np.ndarray

    @cached_property
    def log_probabilities_NK(self) -> np.ndarray:
        """Natural logarithm of the softmax."""
        shifted = self.logits_NK.astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

    @property
    def probabilities_NK(self) -> np.ndarray:
        """The softmax of the logits."""
        return np.exp(self.log_probabilities_NK)

    @cached_property
    def predictions_N(self) -> np.ndarray:
        """The most probable class of each image; the first one where two are equal."""
        return self.logits_NK.argmax(axis=1)

    @cached_property
    def confidence_N(self) -> np.ndarray:
        """Probability of the predicted class, in (0, 1]."""
        return np.exp(self.log_probabilities_NK.max(axis=1))

    @cached_property
    def losses_N(self) -> np.ndarray:
        """Cross-entropy of each image, in nats, without label smoothing."""
        return -self.log_probabilities_NK[np.arange(len(self.labels_N)), self.labels_N]

    @property
    def loss(self) -> float:
        """Mean cross-entropy per image, in nats."""
        return float(self.losses_N.mean())

    @property
    def accuracy(self) -> float:
        """Share of images whose predicted class is the actual one, in [0, 1]."""
        return float((self.predictions_N == self.labels_N).mean())

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the accuracies within the classes that have images, in [0, 1].

        Each class counts the same, however many images it has (Brodersen et al., 2010, "The
        balanced accuracy and its posterior distribution"). Where all have equally many, this is
        the accuracy.
        """
        return float(np.nanmean(self.class_accuracy_K))

    @cached_property
    def confusion_KK(self) -> np.ndarray:
        """Counts, int64: rows are actual classes, columns predicted ones."""
        classes = self.logits_NK.shape[1]
        pairs_N = self.labels_N * classes + self.predictions_N
        return np.bincount(pairs_N, minlength=classes**2).reshape(classes, classes)

    @property
    def class_accuracy_K(self) -> np.ndarray:
        """Accuracy within each actual class; NaN for a class without images."""
        counts_K = self.confusion_KK.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return self.confusion_KK.diagonal() / counts_K


@torch.no_grad()
def predict(
    model: nn.Module,
    image_set: ImageSet,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    precision: str,
    mirrored: bool = False,
    images: Images | None = None,
) -> np.ndarray:
    """The model's logits on every image in order, float32 N K, in eval mode without augmentation.

    Args:
        model: on `device`; its train/eval mode is given back as it was.
        image_set: the images.
        mean, std: the channel statistics that the training used.
        device, precision: as the training used them.
        mirrored: mirror every image left to right first (for test-time augmentation).
        images: the pixels already on the device, to spare moving them again.
    """
    images = images or Images(image_set.images_NHWC, device, mean, std)
    was_training = model.training
    model.eval()
    try:
        logits = [
            _forward(model, images, indices_B, device, precision, mirrored)
            for indices_B in np.array_split(
                np.arange(len(image_set)), range(BATCH_SIZE, len(image_set), BATCH_SIZE)
            )
        ]
    finally:
        model.train(was_training)
    return torch.cat(logits).cpu().numpy()


def _forward(
    model: nn.Module,
    images: Images,
    indices_B: np.ndarray,
    device: torch.device,
    precision: str,
    mirrored: bool,
) -> Tensor:
    batch_BHWC = images.normalised(indices_B)
    if mirrored:
        batch_BHWC = batch_BHWC.flip(2)
    with runtime.autocast(device, precision):
        return model(batch_BHWC.permute(0, 3, 1, 2)).float()
