"""A trained network as a classifier of new images.

Shapes: N images, K classes, H height, W width, C channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from onecycle import models, runtime
from onecycle.data.batches import Images
from onecycle.errors import InputError
from onecycle.evaluate import BATCH_SIZE, Evaluation, forward
from onecycle.inference.network import LAST, described, load_network, present_device
from onecycle.inference.preprocessing import Picture, Preprocess
from onecycle.progress import SILENT, Progress
from onecycle.run_dir import RunDir
from onecycle.run_dir.records import Network


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network predicts for a number of images, in their order.

    Attributes:
        logits_NK: float32.
        classes: names of the K classes.
        temperature: divisor of the logits that calibrates the probabilities; 1 if unknown.
    """

    logits_NK: np.ndarray
    classes: tuple[str, ...]
    temperature: float = 1.0

    def __len__(self) -> int:
        return len(self.logits_NK)

    @cached_property
    def probabilities_NK(self) -> np.ndarray:
        """Probability of each class, float64, calibrated by the temperature."""
        return _softmax(self.logits_NK.astype(np.float64) / self.temperature)

    @cached_property
    def labels_N(self) -> np.ndarray:
        """Index of the most probable class, int64; the first of equally probable ones."""
        return self.logits_NK.argmax(axis=1)

    @property
    def predicted(self) -> list[str]:
        """Name of the most probable class of each image."""
        return [self.classes[label] for label in self.labels_N]

    @property
    def confidence_N(self) -> np.ndarray:
        """Probability of the most probable class, in (0, 1]."""
        return self.probabilities_NK.max(axis=1)

    def top(self, count: int = 5) -> list[list[tuple[str, float]]]:
        """For each image the most probable classes, with their probabilities, in falling order."""
        order_NK = np.argsort(-self.logits_NK, axis=1, kind="stable")[:, :count]
        return [
            [(self.classes[label], float(row_K[label])) for label in order]
            for order, row_K in zip(order_NK, self.probabilities_NK, strict=True)
        ]


def _softmax(logits_NK: np.ndarray) -> np.ndarray:
    return Evaluation(logits_NK, np.zeros(len(logits_NK), np.int64)).probabilities_NK


class Classifier(ABC):
    """A trained network, ready for new images. It can be used by several threads at once.

    Attributes:
        about: the network's name and classes, and how its images are prepared.
        preprocess: prepares images as the training did.
        temperature: divisor of the logits fitted on the run's validation split; None without one.
    """

    def __init__(self, about: Network, source: str, temperature: float | None) -> None:
        self.about = about
        self.preprocess = Preprocess.of(about, source)
        self.temperature = temperature

    @property
    def network(self) -> nn.Module:
        """The network in eval mode, on the training's device; it takes what `preprocess` gives.

        Raises:
            InputError: the classifier is an ONNX file.
        """
        raise InputError("network: an ONNX file holds no nn.Module; load the run instead")

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(self.about.classes)

    def predict(self, images: Picture | Sequence[Picture]) -> Predictions:
        """Classify images of any size.

        Args:
            images: paths, Pillow images, or uint8 arrays; a single one, a sequence, or an array
                `N H W C`.

        Raises:
            InputError: an image can't be used.
        """
        logits_NK = self.logits(self.preprocess.pixels(images))
        return Predictions(logits_NK, self.classes, self.temperature or 1.0)

    def logits(self, images_NHWC: np.ndarray) -> np.ndarray:
        """float32 `N K` of images as `preprocess.pixels` gives them, uint8 `N H W C`."""
        starts = range(0, len(images_NHWC), BATCH_SIZE)
        parts = [self._logits(images_NHWC[start : start + BATCH_SIZE]) for start in starts]
        return np.concatenate([np.zeros((0, len(self.classes)), np.float32), *parts])

    @abstractmethod
    def _logits(self, images_BHWC: np.ndarray) -> np.ndarray:
        """Those of one batch."""


class RunClassifier(Classifier):
    """The network of a run, in PyTorch.

    Attributes:
        device, precision: as in the training, if this machine has the device.
    """

    def __init__(
        self,
        network: nn.Module,
        about: Network,
        source: str,
        temperature: float | None,
        device: torch.device,
        precision: str,
    ) -> None:
        super().__init__(about, source, temperature)
        self._network = network
        self.device = device
        self.precision = precision

    @property
    def network(self) -> nn.Module:
        return self._network

    def _logits(self, images_BHWC: np.ndarray) -> np.ndarray:
        images = Images(images_BHWC, self.device, self.preprocess.mean, self.preprocess.std)
        every = np.arange(len(images_BHWC))
        return forward(self.network, images, every, self.device, self.precision).cpu().numpy()


def load(
    model: str | Path,
    *,
    network: models.Network | None = None,
    checkpoint: str = LAST,
    progress: Progress = SILENT,
) -> Classifier:
    """A trained network, ready for new images. Its data set is not needed.

    Args:
        model: the folder of a finished run, or an ONNX file that `onecycle export` wrote.
        network: the code of the run's network, if it is not built in: a function or class that
            makes it, or its name, `FILE.py:FUNCTION` or `MODULE:FUNCTION`.
        checkpoint: of a run: `last`, or `best`: that of the highest validation accuracy.
        progress: listens.

    Raises:
        InputError: it is no such folder or file, the run is unfinished, or something is damaged.
    """
    if Path(model).suffix.lower() == ".onnx" and not Path(model).is_dir():
        from onecycle.inference.onnx_file import OnnxClassifier

        if checkpoint != LAST:
            raise InputError(f"checkpoint: an ONNX file has one only; leave out '{checkpoint}'")
        if network is not None:
            raise InputError("model: an ONNX file holds its network; leave out --model")
        return OnnxClassifier(Path(model))
    return _of_run(RunDir.open(model), network, checkpoint, progress)


def _of_run(
    run: RunDir, code: models.Network | None, checkpoint: str, progress: Progress
) -> RunClassifier:
    """The classifier of a finished run.

    Raises:
        InputError: the run is unfinished or damaged, or does not describe its network.
    """
    if not run.finished:
        raise InputError(f"{run.path}: is unfinished; go on with: onecycle resume {run.path}")
    recipe = run.read_recipe()
    found = load_network(run, described(run), progress, checkpoint, network=code)
    device = runtime.resolve_device(present_device(recipe.device, progress))
    network = runtime.placed(found.model, device).eval()
    precision = runtime.resolve_precision(recipe.precision, device)
    source = str(run.path / Network.FILE)
    return RunClassifier(network, found.about, source, found.temperature, device, precision)
