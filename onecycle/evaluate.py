"""Evaluation: logits in, every metric out.

Shapes: N images, K classes, P pairs of an actual and a predicted class, B batch, C channels,
H height, W width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from onecycle import runtime
from onecycle.data.batches import Images
from onecycle.data.image_set import ImageSet
from onecycle.processes.group import SINGLE, Processes

BLOCK = 2**18
"""Logits processed at a time: 2 MiB in float64, which stay in the CPU's cache.

This avoids a second copy of all logits; for 10,000 images and classes it would take 800 MB.
"""

BATCH_SIZE = 500
"""Images per forward pass. It is fixed, so that an evaluation repeats to the last bit."""

MOST_LOGITS = 2**23
"""A temperature is fitted on at most this many logits, of images evenly spread over the set.

It is a single number: 840 images of 10,000 classes determine it within one percent, and all images
would take minutes.
"""

TEMPERATURES = (0.05, 20.0)
"""Lower and upper bound of a fitted temperature."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics of an image set's logits, in float64; each is computed once, on first use.

    Attributes:
        logits_NK: float32.
        labels_N: int64, in [0, K).
    """

    logits_NK: np.ndarray
    labels_N: np.ndarray

    @property
    def log_probabilities_NK(self) -> np.ndarray:
        """Natural logarithm of the softmax. Not kept: it takes eight bytes per logit."""
        return _log_softmax(self.logits_NK)

    @property
    def probabilities_NK(self) -> np.ndarray:
        """The softmax of the logits. Not kept."""
        return np.exp(self.log_probabilities_NK)

    @cached_property
    def predictions_N(self) -> np.ndarray:
        """The most probable class of each image; the first of equally probable ones."""
        return self.logits_NK.argmax(axis=1)

    @cached_property
    def confidence_N(self) -> np.ndarray:
        """Probability of the predicted class, in (0, 1]."""
        return self._losses_and_confidence_2N[1]

    @cached_property
    def losses_N(self) -> np.ndarray:
        """Cross-entropy of each image, in nats, without label smoothing."""
        return self._losses_and_confidence_2N[0]

    @cached_property
    def _losses_and_confidence_2N(self) -> np.ndarray:
        """Both, in one pass over the logits, `BLOCK` logits at a time."""
        count, classes = self.logits_NK.shape
        found_2N = np.empty((2, count))
        rows = max(1, BLOCK // max(classes, 1))
        for start in range(0, count, rows):
            part = slice(start, start + rows)
            log_BK, labels_B = _log_softmax(self.logits_NK[part]), self.labels_N[part]
            found_2N[0, part] = -log_BK[np.arange(len(labels_B)), labels_B]
            found_2N[1, part] = np.exp(log_BK.max(axis=1))
        return found_2N

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
        balanced accuracy and its posterior distribution"). If all classes have equally many
        images, this is the accuracy.
        """
        return float(np.nanmean(self.class_accuracy_K))

    @cached_property
    def confusion_P3(self) -> np.ndarray:
        """The nonzero cells of the confusion matrix, row by row.

        int64 P 3: actual class, predicted class, count. There are at most as many cells as images;
        the whole matrix of 10,000 classes would take 800 MB.
        """
        classes = self.logits_NK.shape[1]
        cells_N = self.labels_N.astype(np.int64) * classes + self.predictions_N
        cells_P, counts_P = np.unique(cells_N, return_counts=True)
        return np.stack([cells_P // classes, cells_P % classes, counts_P], axis=1)

    @cached_property
    def confusion_KK(self) -> np.ndarray:
        """The confusion matrix, int64: rows are actual classes, columns predicted ones."""
        classes = self.logits_NK.shape[1]
        counts_KK = np.zeros((classes, classes), dtype=np.int64)
        actual_P, predicted_P, counts_P = self.confusion_P3.T
        counts_KK[actual_P, predicted_P] = counts_P
        return counts_KK

    @cached_property
    def class_counts_2K(self) -> np.ndarray:
        """For each actual class, the number of images and of correct predictions, int64."""
        actual_P, predicted_P, counts_P = self.confusion_P3.T
        found_2K = np.zeros((2, self.logits_NK.shape[1]), dtype=np.int64)
        np.add.at(found_2K[0], actual_P, counts_P)
        right_P = actual_P == predicted_P
        found_2K[1, actual_P[right_P]] = counts_P[right_P]
        return found_2K

    @property
    def class_accuracy_K(self) -> np.ndarray:
        """Accuracy within each actual class; NaN for a class without images."""
        counts_K, right_K = self.class_counts_2K
        with np.errstate(invalid="ignore"):
            return right_K / counts_K


def _log_softmax(logits_BK: np.ndarray) -> np.ndarray:
    """Natural logarithm of the softmax, float64."""
    shifted = logits_BK.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def fitted_temperature(evaluation: Evaluation) -> float:
    """The divisor of the logits with the lowest mean cross-entropy, within [0.05, 20].

    Above 1 the network is overconfident. Predicted classes and accuracy don't change. Fit it on
    other images than those it is judged on. With more than `MOST_LOGITS` logits, only every
    second, third, … image is used. From Guo et al., "On Calibration of Modern Neural Networks",
    2017 (arXiv:1706.04599). It is 1 if no image is classified wrongly: then the cross-entropy falls
    with the temperature without end, which says nothing about other images.
    """
    if evaluation.accuracy == 1:
        return 1.0
    from scipy.optimize import minimize_scalar

    every = -(-evaluation.logits_NK.size // MOST_LOGITS) or 1
    logits_NK = evaluation.logits_NK[::every].astype(np.float64)
    logits_NK -= logits_NK.max(axis=1, keepdims=True)
    own_N = logits_NK[np.arange(len(logits_NK)), evaluation.labels_N[::every]]

    def mean_loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((np.log(np.exp(scale * logits_NK).sum(axis=1)) - scale * own_N).mean())

    found = minimize_scalar(
        mean_loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue]


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
    processes: Processes = SINGLE,
) -> np.ndarray:
    """The model's logits on every image in order, float32 N K, in eval mode without augmentation.

    Args:
        model: on `device`; the mode of each of its modules is restored afterwards.
        image_set: the images.
        mean, std: the channel statistics of the training.
        device, precision: as in the training.
        mirrored: mirror every image left to right first (for test-time augmentation).
        images: the same pixels where they are on the device already, so that they needn't be moved.
        processes: those that do it together. The passes of one process are divided among them, so
            the logits have the same bits. All get all of them.
    """
    images = images or Images(image_set.images_NHWC, device, mean, std)
    passes = np.array_split(
        np.arange(len(image_set)), range(BATCH_SIZE, len(image_set), BATCH_SIZE)
    )
    with evaluating(model):
        logits = []
        for indices_B in processes.own(passes):
            logits.append(forward(model, images, indices_B, device, precision, mirrored=mirrored))
    if processes.count > 1:
        return _of_all(logits, passes, processes)
    return torch.cat(logits).cpu().numpy()


def _of_all(logits: list[Tensor], passes: list[np.ndarray], processes: Processes) -> np.ndarray:
    """The logits of all passes, float32 N K, from those of this process."""
    processes.agree()
    classes = max(processes.gather(logits[0].shape[1] if logits else 0))
    all_NK = torch.zeros(sum(map(len, passes)), classes)
    for indices_B, logits_BK in zip(processes.own(passes), logits, strict=True):
        all_NK[torch.from_numpy(indices_B)] = logits_BK.cpu()
    return processes.sum_(all_NK).numpy()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode; every module's own mode is restored on exit."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@torch.no_grad()
def forward(
    model: nn.Module,
    images: Images,
    indices_B: np.ndarray,
    device: torch.device,
    precision: str,
    *,
    mirrored: bool = False,
) -> Tensor:
    """The model's logits on the images at `indices_B`, float32 B K on its device, in one pass."""
    batch_BHWC = images.normalised(indices_B)
    if mirrored:
        batch_BHWC = batch_BHWC.flip(2)
    with runtime.autocast(device, precision):
        return model(batch_BHWC.permute(0, 3, 1, 2)).float()
