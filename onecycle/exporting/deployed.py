"""What is exported: a network that takes pixels, and what is known about it.

Shapes: N images, H height, W width, C channels, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from onecycle import __version__
from onecycle.data import BUILT_IN, ImageSet
from onecycle.data.batches import normalise
from onecycle.evaluate import Evaluation
from onecycle.exporting.answers import of_program
from onecycle.inference.network import LAST, TrainedNetwork
from onecycle.run_dir import RunDir
from onecycle.run_dir.files import damaged
from onecycle.run_dir.records import Environment, Network, Result
from onecycle.statistics import wilson
from onecycle.training import weights_sha256


class DeployedNetwork(nn.Module):
    """A trained network with the normalisation of its images, and the softmax of its logits.

    Args:
        network: takes normalised images N C H W.
        mean, std: of each channel, of images scaled to [0, 1].
        temperature: divisor of the logits in the softmax.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: Sequence[float], std: Sequence[float], temperature: float
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.temperature = temperature

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and probabilities, float32 N K, of uint8 images N H W C."""
        batch_NHWC = normalise(images, self.mean, self.std)
        logits_NK = self.network(batch_NHWC.permute(0, 3, 1, 2))
        return logits_NK, torch.softmax(logits_NK / self.temperature, 1)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an exported file says about itself.

    Attributes:
        onecycle: number of this list's form.
        onecycle_version: that exported it.
        classes: their names, in the order of the outputs.
        image_size: height and width of the images in pixels.
        channels: 1 or 3.
        mean, std: of each channel, of images scaled to [0, 1]; the normalisation is inside.
        resize: how other images are brought to that size: `crop` or `squash`.
        temperature: divisor of the logits in the softmax.
        weights: `float32` or `int8`.
        recipe: its name.
        data: name of the training images, or the last part of their path.
        data_fingerprint: of all images and labels.
        checkpoint: `last` or `best`.
        weights_sha256: of the network's parameters and buffers.
        test_accuracy: share of the test images that are classified correctly.
        test_accuracy_interval: its interval at 95 % over the test images (Wilson).
        test_images: their number.
    """

    onecycle: str = "1"
    onecycle_version: str
    classes: list[str]
    image_size: tuple[int, int]
    channels: int
    mean: list[float]
    std: list[float]
    resize: str
    temperature: float
    weights: str = "float32"
    recipe: str
    data: str
    data_fingerprint: str
    checkpoint: str
    weights_sha256: str
    test_accuracy: float
    test_accuracy_interval: tuple[float, float]
    test_images: int


@dataclass(frozen=True, kw_only=True)
class Deployable:
    """What a format writes.

    Attributes:
        network: in eval mode, on the CPU.
        facts: what the file says about itself.
        about: the network's name and arguments.
        evaluation: of the test split.
        of_run_NK: the logits of the test split in predictions.npz, if they are of this checkpoint.
        result: the figures of the run.
        environment: where it was trained.
    """

    network: DeployedNetwork
    facts: Facts
    about: Network
    evaluation: Evaluation
    of_run_NK: np.ndarray | None
    result: Result
    environment: Environment

    @property
    def example(self) -> Tensor:
        """Two black images, to trace the network with."""
        return torch.zeros(2, *self.facts.image_size, self.facts.channels, dtype=torch.uint8)


def gather(
    run: RunDir, result: Result, trained: TrainedNetwork, test: ImageSet, checkpoint: str
) -> Deployable:
    """The network with its normalisation, and what is known about it.

    The accuracy is the one that the run reports. Of the checkpoint `best` it is measured here, in
    float32.

    Raises:
        InputError: predictions.npz is damaged, or is not of these test images.
    """
    about, recipe, temperature = trained.about, run.read_recipe(), trained.temperature or 1.0
    network = DeployedNetwork(trained.model, about.mean, about.std, temperature).eval()
    of_run_NK = _run_logits(run, test) if checkpoint == LAST else None
    logits_NK = of_run_NK
    if logits_NK is None:
        logits_NK = of_program(network, test.images_NHWC).logits_NK
    evaluation = Evaluation(logits_NK, test.labels_N)
    hits = int((evaluation.predictions_N == evaluation.labels_N).sum())
    facts = Facts(
        onecycle_version=__version__,
        classes=list(about.classes),
        image_size=test.image_shape[:2],
        channels=about.channels,
        mean=list(about.mean),
        std=list(about.std),
        resize=about.resize or recipe.resize,
        temperature=temperature,
        recipe=recipe.recipe,
        data=recipe.data if recipe.data in BUILT_IN else Path(recipe.data).name,
        data_fingerprint=result.data_fingerprint,
        checkpoint=checkpoint,
        weights_sha256=weights_sha256(trained.model),
        test_accuracy=evaluation.accuracy,
        test_accuracy_interval=wilson(hits, len(test)),
        test_images=len(test),
    )
    return Deployable(
        network=network,
        facts=facts,
        about=about,
        evaluation=evaluation,
        of_run_NK=of_run_NK,
        result=result,
        environment=run.environment(),
    )


def _run_logits(run: RunDir, test: ImageSet) -> np.ndarray | None:
    """The logits in predictions.npz; None if there is no such file.

    Raises:
        InputError: it is damaged, or is not of these test images.
    """
    known = run.predictions()
    if known is None:
        return None
    fits = known["logits"].shape == (len(test), len(test.classes))
    if not fits or not np.array_equal(known["labels"], test.labels_N):
        raise damaged(run.path / "predictions.npz", "it is not of the run's test images")
    return known["logits"]
